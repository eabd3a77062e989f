"""Rankers that see everybody's data: what federated methods are measured against.

Every ranker has ``fit(split)``, which returns itself, and ``score(users, items=None)``; see :class:`Scorer`.
"""

from fedlib.centralized.bpr import BPR
from fedlib.centralized.chance import Chance
from fedlib.centralized.evaluate import Scorer, evaluate
from fedlib.centralized.itemknn import ItemKNN
from fedlib.centralized.ngcf import NGCF
from fedlib.centralized.popularity import Popularity

__all__ = ["BPR", "NGCF", "Chance", "ItemKNN", "Popularity", "Scorer", "evaluate"]
