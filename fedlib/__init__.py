"""Federated recommendation: one loop, and the places in it that a method may change."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AllOutside": "fedlib.augment",
    "ChatModel": "fedlib.prototypes",
    "ChatServer": "fedlib.prototypes",
    "ClusterPrototypes": "fedlib.prototypes",
    "Entropy": "fedlib.select",
    "FALE": "fedlib.select",
    "FCF": "fedlib.backbones",
    "FCFALS": "fedlib.backbones",
    "Faults": "fedlib.run.faults",
    "FedAvg": "fedlib.backbones",
    "FedMF": "fedlib.backbones",
    "FedNCF": "fedlib.backbones",
    "FedNGCF": "fedlib.backbones",
    "FedPerGNN": "fedlib.backbones",
    "FedRAP": "fedlib.backbones",
    "FedSelect": "fedlib.select",
    "HardestNegativeMargin": "fedlib.select",
    "InputError": "fedlib.errors",
    "ItemTable": "fedlib.items",
    "KeywordPrototyper": "fedlib.prototypes",
    "LSA": "fedlib.items",
    "LabelConfidence": "fedlib.select",
    "LeastConfidence": "fedlib.select",
    "LocalDP": "fedlib.protect.noise",
    "LocalTraining": "fedlib.engine.training",
    "Margin": "fedlib.select",
    "MiniLM": "fedlib.items",
    "PFedRec": "fedlib.backbones",
    "Place": "fedlib.places",
    "PlainNoise": "fedlib.protect.noise",
    "PrototypeSelection": "fedlib.select",
    "RandomOutside": "fedlib.augment",
    "RandomSelection": "fedlib.select",
    "RecordedAnswers": "fedlib.prototypes",
    "Recording": "fedlib.prototypes",
    "Result": "fedlib.run.result",
    "RobustAggregation": "fedlib.protect.robust",
    "SecureAggregation": "fedlib.protect.secure",
    "SemanticSpace": "fedlib.items",
    "SemanticTable": "fedlib.items",
    "SentenceEncoder": "fedlib.items",
    "ServerAdam": "fedlib.server.optimizers",
    "ServerSGD": "fedlib.server.optimizers",
    "ServerYogi": "fedlib.server.optimizers",
    "SoftmaxEntropy": "fedlib.select",
    "TextPrototypes": "fedlib.prototypes",
    "UserLevelDP": "fedlib.protect.noise",
    "federate": "fedlib.federation",
    "load": "fedlib.data",
    "load_result": "fedlib.run.result",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from fedlib.augment import AllOutside as AllOutside
    from fedlib.augment import RandomOutside as RandomOutside
    from fedlib.backbones import FCF as FCF
    from fedlib.backbones import FCFALS as FCFALS
    from fedlib.backbones import FedAvg as FedAvg
    from fedlib.backbones import FedMF as FedMF
    from fedlib.backbones import FedNCF as FedNCF
    from fedlib.backbones import FedNGCF as FedNGCF
    from fedlib.backbones import FedPerGNN as FedPerGNN
    from fedlib.backbones import FedRAP as FedRAP
    from fedlib.backbones import PFedRec as PFedRec
    from fedlib.data import load as load
    from fedlib.engine.training import LocalTraining as LocalTraining
    from fedlib.errors import InputError as InputError
    from fedlib.federation import federate as federate
    from fedlib.items import LSA as LSA
    from fedlib.items import ItemTable as ItemTable
    from fedlib.items import MiniLM as MiniLM
    from fedlib.items import SemanticSpace as SemanticSpace
    from fedlib.items import SemanticTable as SemanticTable
    from fedlib.items import SentenceEncoder as SentenceEncoder
    from fedlib.places import Place as Place
    from fedlib.protect.noise import LocalDP as LocalDP
    from fedlib.protect.noise import PlainNoise as PlainNoise
    from fedlib.protect.noise import UserLevelDP as UserLevelDP
    from fedlib.protect.robust import RobustAggregation as RobustAggregation
    from fedlib.protect.secure import SecureAggregation as SecureAggregation
    from fedlib.prototypes import ChatModel as ChatModel
    from fedlib.prototypes import ChatServer as ChatServer
    from fedlib.prototypes import ClusterPrototypes as ClusterPrototypes
    from fedlib.prototypes import KeywordPrototyper as KeywordPrototyper
    from fedlib.prototypes import RecordedAnswers as RecordedAnswers
    from fedlib.prototypes import Recording as Recording
    from fedlib.prototypes import TextPrototypes as TextPrototypes
    from fedlib.run.faults import Faults as Faults
    from fedlib.run.result import Result as Result
    from fedlib.run.result import load_result as load_result
    from fedlib.select import FALE as FALE
    from fedlib.select import Entropy as Entropy
    from fedlib.select import FedSelect as FedSelect
    from fedlib.select import HardestNegativeMargin as HardestNegativeMargin
    from fedlib.select import LabelConfidence as LabelConfidence
    from fedlib.select import LeastConfidence as LeastConfidence
    from fedlib.select import Margin as Margin
    from fedlib.select import PrototypeSelection as PrototypeSelection
    from fedlib.select import RandomSelection as RandomSelection
    from fedlib.select import SoftmaxEntropy as SoftmaxEntropy
    from fedlib.server.optimizers import ServerAdam as ServerAdam
    from fedlib.server.optimizers import ServerSGD as ServerSGD
    from fedlib.server.optimizers import ServerYogi as ServerYogi


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``fedlib --help`` does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'fedlib' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
