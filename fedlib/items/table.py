"""Item vectors from an ID table: the plain case, one free vector an item."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.places import Place


class ItemTable(Place):
    """One free vector for each item, started from N(0, std^2) (std None: what the backbone asks for)."""

    def __init__(self, std: float | None = None) -> None:
        self.std = std

    def tables(self, backbone: Backbone, n_items: int, seed: int) -> dict[str, Tensor]:
        """The initial item tables (n, d) that ``backbone`` reads, float64; the same for every client."""
        item = torch.arange(n_items)[:, None]
        return {
            name: rng.normal(rng.key(seed, "init table " + name), item, torch.arange(table.dim)[None, :])
            * (table.std if self.std is None else self.std)
            for name, table in backbone.tables.items()
        }
