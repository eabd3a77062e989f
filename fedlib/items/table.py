"""Item vectors: what is stored of an item, what is fixed, what is learnt beside it, and what a backbone reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.errors import InputError
from fedlib.places import Place
from fedlib.shapes import Rows, Table


class ItemTable(Place):
    """One free vector for each item, started from N(0, std^2), which the backbone reads as it is.

    ``dim`` and ``std`` are the backbone's own where nothing is given; a ``dim`` the backbone cannot read is refused.

    A fusion is a subclass that answers four questions of an item:

    ==============  ====================================================================================================
    ``stored``      which tables are kept, with their widths and owners: here the backbone's own, and in a fusion those
                    that its :mod:`~fedlib.backbones.meeting` keeps in their place, with free vectors ``dim`` wide
    ``fixed``       which features (n, f) are known of items: gathered like rows, never trained, sent to a client once
    ``parameters``  what is learnt beside them: a module of one client, whose ``forward(rows, own)`` gives the vectors
                    (R, d) the backbone reads. ``rows`` has the free vectors as ``"id"`` (R, dim) and the fixed features
                    by name; ``own`` (R,) weighs the items the client trains on, and sums to one
    ``read``        the same for K clients, (K, R, d): by default ``parameters`` mapped over the clients
    ==============  ====================================================================================================

    ``owners`` says which parameters are private, as a backbone's does; the others are averaged as its network is.
    ``encode`` may take the part of ``read`` that depends on shared parameters alone, row by row: evaluation does that
    once for all clients.
    """

    owners: ClassVar[Mapping[str, str]] = {}

    def __init__(self, dim: int | None = None, std: float | None = None) -> None:
        self.dim, self.std = dim, std

    @property
    def is_plain(self) -> bool:
        """Whether the backbone reads what is stored."""
        return type(self).parameters is ItemTable.parameters and type(self).read is ItemTable.read

    def stored(self, backbone: Backbone) -> dict[str, Table]:
        """The item tables that are kept; InputError for a width that the backbone cannot read."""
        if not self.is_plain:
            width = backbone.meeting.width(backbone.tables) if self.dim is None else self.dim
            return backbone.meeting.stored(backbone.tables, width, 0.1 if self.std is None else self.std)
        for name, table in backbone.tables.items():
            if self.dim not in (None, table.dim):
                raise InputError(
                    f"The items are {self.dim} wide, but the backbone reads a table {name!r} of {table.dim}."
                )
        return backbone.tables

    def fixed(self) -> dict[str, Tensor]:
        """The features that are known of all items, (n, f) each."""
        return {}

    def parameters(self, backbone: Backbone) -> nn.Module:
        """What one client learns beside its rows, with shapes and no values (torch's ``meta`` device)."""
        return nn.Module()

    def encode(self, params: dict[str, Tensor], rows: Rows) -> Rows:
        """What ``read`` gets in the place of ``rows``: params and rows (K, ...), each row by itself."""
        return rows

    def read(self, module: nn.Module, params: dict[str, Tensor], rows: Rows, own: Tensor) -> Tensor:
        """The vectors (K, R, d) that K clients read: ``module`` is what :meth:`parameters` gave, ``params`` its values.

        rows (K, R, ...), own (K, R).
        """

        def one_client(values: dict[str, Tensor], item_rows: Rows, weight: Tensor) -> Tensor:
            return functional_call(module, values, (item_rows, weight))

        return vmap(one_client)(params, rows, own)

    def tables(self, backbone: Backbone, n_items: int, seed: int) -> dict[str, Tensor]:
        """The initial item tables (n, d) that are stored, float64; the same for every client."""
        item = torch.arange(n_items)[:, None]

        def std(table: Table) -> float:
            given = table.std if self.std is None else self.std
            return math.sqrt(2 / (n_items + table.dim)) if given is None else given

        return {
            name: rng.normal(rng.key(seed, "init table " + name), item, torch.arange(table.dim)[None, :]) * std(table)
            for name, table in self.stored(backbone).items()
        }
