"""The models of one client, one file a method."""

from fedlib.backbones.base import Backbone, Table
from fedlib.backbones.fedmf import FedMF
from fedlib.backbones.fedncf import FedNCF
from fedlib.backbones.pfedrec import PFedRec

__all__ = ["Backbone", "FedMF", "FedNCF", "PFedRec", "Table"]
