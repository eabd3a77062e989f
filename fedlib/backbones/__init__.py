"""The models of one client, one file a method."""

from fedlib.backbones.base import Backbone
from fedlib.backbones.fcf import FCFALS
from fedlib.backbones.fedavg import FCF, FedAvg
from fedlib.backbones.fedmf import FedMF
from fedlib.backbones.fedncf import FedNCF
from fedlib.backbones.fedpergnn import FedPerGNN
from fedlib.backbones.fedrap import FedRAP
from fedlib.backbones.ngcf import FedNGCF
from fedlib.backbones.pfedrec import PFedRec
from fedlib.shapes import Table

__all__ = [
    "FCF",
    "FCFALS",
    "Backbone",
    "FedAvg",
    "FedMF",
    "FedNCF",
    "FedNGCF",
    "FedPerGNN",
    "FedRAP",
    "PFedRec",
    "Table",
]
