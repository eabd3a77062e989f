"""Two simple answers to the question which edges of the global log join a store: all of them, or some by chance.

They are rows of FedGDVE's tables (arXiv:2509.11196), beside which a store's own choice has to stand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.places import Outside, Place


class AllOutside(Place):
    """Every edge of the global log joins every store, as it does for the baselines of FedGDVE.

    What a store learns of users that are not its own stays with it: their vectors are its own copies. Nothing is sent.
    """

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """Nothing; InputError where the clients are no stores, or there is no global log."""
        check(self, split)
        return {}

    def client(self, work: Any, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let everything join."""
        everything = torch.ones_like(work.log.items, dtype=torch.bool)
        work.outside = Outside(everybody(work), work.log, lambda step: everything)
        return {}


class RandomOutside(Place):
    """A random ``share`` of the global log joins each store, the same edges all along."""

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """Nothing; InputError for a share that makes no sense, or where there is nothing to share."""
        check(self, split)
        if not (isinstance(self.share, int | float) and 0 < self.share <= 1):
            raise InputError(f"share must be a share of the global log in (0, 1], not {self.share}.")
        return {}

    def client(self, work: Any, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let those join that a store's own draw says."""
        edge = torch.arange(len(work.log.items), device=work.log.items.device)
        number = rng.uniform(rng.key(work.seed, "outside", work.store), edge)
        wanted = max(1, round(self.share * len(edge)))
        chosen = torch.zeros_like(edge, dtype=torch.bool)
        chosen[number.argsort(stable=True)[:wanted]] = True
        work.outside = Outside(everybody(work), work.log, lambda step: chosen)
        return {}


def everybody(work: Any) -> Tensor:
    """The users behind the rows of the global log: all of the split."""
    return torch.arange(work.log.n_users, device=work.log.items.device)


def check(place: Place, split: Split) -> None:
    """Raise InputError where a place cannot augment the clients of a split."""
    name = type(place).__name__
    if split.stores is None:
        raise InputError(
            f"{name} brings interactions to stores, and the clients here are users: give the split stores."
        )
    if split.global_log is None or not len(split.global_log.items):
        raise InputError(f"{name} takes from a global log, and this split has none: make one with share_edges.")
