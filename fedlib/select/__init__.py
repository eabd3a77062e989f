"""Places for ``select``: which of its positives a client trains on."""

from fedlib.select.base import Selection
from fedlib.select.fale import FALE
from fedlib.select.fedselect import FedSelect
from fedlib.select.prototypes import PrototypeSelection
from fedlib.select.random import RandomSelection
from fedlib.select.uncertainty import (
    Entropy,
    HardestNegativeMargin,
    LabelConfidence,
    LeastConfidence,
    Margin,
    SoftmaxEntropy,
)

__all__ = [
    "FALE",
    "Entropy",
    "FedSelect",
    "HardestNegativeMargin",
    "LabelConfidence",
    "LeastConfidence",
    "Margin",
    "PrototypeSelection",
    "RandomSelection",
    "Selection",
    "SoftmaxEntropy",
]
