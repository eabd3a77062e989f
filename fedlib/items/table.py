"""Item vectors from an ID table: the plain case, one free vector an item."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.errors import InputError
from fedlib.places import Place
from fedlib.shapes import Table


class ItemTable(Place):
    """One free vector for each item, started from N(0, std^2).

    ``dim`` and ``std`` are the backbone's own where nothing is given; a ``dim`` the backbone cannot read is refused.
    """

    def __init__(self, dim: int | None = None, std: float | None = None) -> None:
        self.dim, self.std = dim, std

    def tables(self, backbone: Backbone, n_items: int, seed: int) -> dict[str, Tensor]:
        """The initial item tables (n, d) that ``backbone`` reads, float64; the same for every client."""
        for name, table in backbone.tables.items():
            if self.dim not in (None, table.dim):
                raise InputError(
                    f"The items are {self.dim} wide, but the backbone reads a table {name!r} of {table.dim}."
                )
        item = torch.arange(n_items)[:, None]

        def std(table: Table) -> float:
            given = table.std if self.std is None else self.std
            return math.sqrt(2 / (n_items + table.dim)) if given is None else given

        return {
            name: rng.normal(rng.key(seed, "init table " + name), item, torch.arange(table.dim)[None, :]) * std(table)
            for name, table in backbone.tables.items()
        }
