"""The one place where the command line's names meet the package's classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Class:
    """Where a class is. Importing it takes a second, so that waits until it is needed."""

    module: str
    name: str

    def load(self) -> Any:
        """The class itself."""
        return getattr(import_module(self.module), self.name)


@dataclass(frozen=True)
class Variant:
    """A form of a federated model: what it is built with, its optimiser, and a learning rate to begin with."""

    arguments: dict[str, Any]
    optimizer: str
    lr: float


@dataclass(frozen=True)
class Model(Class):
    """The class of a model, its variants (a centralised model has none), and its constructor's names for ``options``.

    The options of a federated model are those of :func:`~fedlib.federate`.
    """

    variants: dict[str, Variant]
    options: dict[str, str] = field(default_factory=dict)


AS = {"rounds": "epochs"}  # options whose name in a constructor is another


def federated(name: str, original: Variant, **others: Variant) -> Model:
    """A model of one client, in its authors' form and, where it has one, in FedSLLM's or that of its public code."""
    return Model("fedlib.backbones", name, {"original": original, **others})


def centralised(name: str, *options: str) -> Model:
    """A model that is trained on everybody's data in one place; a round of it is an epoch."""
    return Model("fedlib.centralized", name, {}, {option: AS.get(option, option) for option in options})


MODELS = {
    "fedmf": federated("FedMF", Variant({}, "sgd", 1.0), fedsllm=Variant({"dim": 32}, "adam", 0.01)),
    "fedncf": federated(
        "FedNCF",
        Variant({}, "adam", 0.01),
        fedsllm=Variant({"dim": 32, "hidden": (128, 64), "gmf": 0, "dropout": 0.5}, "adam", 0.01),
    ),
    "pfedrec": federated(
        "PFedRec",
        Variant({}, "sgd", 0.1),
        fedsllm=Variant({"dim": 32, "hidden": (64, 32), "dropout": 0.5}, "adam", 0.01),
    ),
    "fedneumf": federated(
        "FedNCF",
        Variant({"dim": 64, "hidden": (64, 32, 16), "gmf": 64}, "adam", 0.01),  # as FedMR counts it
    ),
    "fedrap": federated(
        "FedRAP",
        Variant({}, "sgd", 0.1),
        code=Variant({"mu": 0.001, "ramp": "constant"}, "sgd", 1e-4),  # as its README runs it on MovieLens 100K
    ),
    "fedavg": federated("FedAvg", Variant({}, "sgd", 0.1)),
    "fcf": federated("FCF", Variant({}, "sgd", 0.1)),
    "fcf-als": federated("FCFALS", Variant({}, "sgd", 0.1)),
    "fedpergnn": federated("FedPerGNN", Variant({}, "sgd", 1.0), fedsllm=Variant({"dim": 32}, "adam", 0.01)),
    "fedngcf": federated("FedNGCF", Variant({}, "adam", 0.004)),
    "random": centralised("Chance", "seed"),
    "popularity": centralised("Popularity"),
    "itemknn": centralised("ItemKNN"),
    "bpr": centralised("BPR", "seed", "dim", "lr", "rounds"),
    "ngcf": centralised("NGCF", "seed", "dim", "lr", "rounds", "device"),
}
FORMS = tuple(dict.fromkeys(form for model in MODELS.values() for form in model.variants))
UNUSED = {  # options that mean nothing to a model, which has a way of its own to train
    "fcf-als": ("local_epochs", "batch", "negatives", "negatives_from", "optimizer", "weight_decay", "lr_items",
                "grid_items", "step_decay", "stop", "server_optimizer", "server_lr"),
    "fedngcf": ("negatives", "step_decay", "stop"),
    "fedrap": ("items", "encoder"),  # it has two tables, and neither alone is what an item looks like
}  # fmt: skip
DEFAULT_LR = {"sgd": 0.1, "adam": 0.01}  # where a variant is trained with another optimiser than its own

AUGMENTS = {
    "all": Class("fedlib.augment", "AllOutside"),
    "random": Class("fedlib.augment", "RandomOutside"),
}
SELECTORS = {
    "random": Class("fedlib.select", "RandomSelection"),
    "entropy": Class("fedlib.select", "Entropy"),
    "margin": Class("fedlib.select", "Margin"),
    "least": Class("fedlib.select", "LeastConfidence"),
    "softmax-entropy": Class("fedlib.select", "SoftmaxEntropy"),
    "hard-margin": Class("fedlib.select", "HardestNegativeMargin"),
    "label": Class("fedlib.select", "LabelConfidence"),
    "fedselect": Class("fedlib.select", "FedSelect"),
    "fale": Class("fedlib.select", "FALE"),
    "prototypes": Class("fedlib.select", "PrototypeSelection"),
    "cluster": Class("fedlib.select", "PrototypeSelection"),
}
BY_PROTOTYPES = ("prototypes", "cluster")
PROTECTIONS = {
    "secagg": Class("fedlib.protect.secure", "SecureAggregation"),
    "user-dp": Class("fedlib.protect.noise", "UserLevelDP"),
    "local-dp": Class("fedlib.protect.noise", "LocalDP"),
    "noise": Class("fedlib.protect.noise", "PlainNoise"),
}
SERVERS = {
    "sgd": Class("fedlib.server.optimizers", "ServerSGD"),
    "adam": Class("fedlib.server.optimizers", "ServerAdam"),
    "yogi": Class("fedlib.server.optimizers", "ServerYogi"),
}
