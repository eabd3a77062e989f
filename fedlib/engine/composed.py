"""A backbone after its items: the one model the engine trains where what is read of an item is not what is stored.

The backbone's own gradients, which may be closed forms, are taken on what was read, and the chain rule goes back
through the reading to what is stored and learnt. So a fusion works under every backbone, and no backbone knows it.

Shape letters: K clients, R item rows, P the items a client has, d the width a backbone reads, U the users of a store.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.errors import InputError
from fedlib.items.table import ItemTable
from fedlib.shapes import Batch, Gradients, Pairs, RowGradients, Rows, Table, dense, real_of

PREFIX = "items."  # of the names of what is learnt beside the items
POSITIVES, COUNT = "items of users", "number of items"  # what a store's users have, among its params
FOLLOWED = (
    "aggregate_items", "aggregate_network", "user_std", "server", "exchange", "is_alone", "may_train_in_stores",
    "meeting",
)  # fmt: skip


def model_of(backbone: Backbone, items: ItemTable) -> Backbone:
    """What the engine trains: the backbone, or the two composed where items are read otherwise than stored."""
    return backbone if items.is_plain else Composed(backbone, items)


class Composed(Backbone):
    """``backbone`` on what ``items`` read. Parameters keep the backbone's names; the items' begin with "items."."""

    mixes = True
    backbone: Backbone
    place: ItemTable

    def __init__(self, backbone: Backbone, items: ItemTable) -> None:
        super().__init__()
        check(backbone, items)
        for name, child in backbone.named_children():
            self.add_module(name, child)
        for name, parameter in backbone.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.items = items.parameters(backbone)
        self.__dict__ |= {"backbone": backbone, "place": items}  # they are no modules of this one
        for name in FOLLOWED:
            setattr(self, name, getattr(backbone, name))
        self.tables = items.stored(backbone)
        if self.is_alone:
            self.tables = {name: replace(t, owner="client", keep=False) for name, t in self.tables.items()}
        also = {"items": ("items", "fusion")}
        self.steps = tuple(tuple(g for group in step for g in also.get(group, (group,))) for step in backbone.steps)

    def config(self) -> dict[str, Any]:
        """That of the backbone; the items are described as a place."""
        return self.backbone.config()

    @property
    def reads(self) -> dict[str, Table]:
        """What the backbone has tables for."""
        return self.backbone.tables

    def owner(self, name: str) -> str:
        """As the backbone and the items say."""
        if not name.startswith(PREFIX):
            return self.backbone.owner(name)
        for part, owner in self.place.owners.items():
            if name == PREFIX + part or name.startswith(PREFIX + part + "."):
                return owner
        return "client" if self.is_alone else "server"

    def group(self, name: str) -> str:
        """What is learnt beside the items is a group of its own, "fusion"."""
        return "fusion" if name.startswith(PREFIX) else self.backbone.group(name)

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """The backbone's."""
        return self.backbone.default_lr_items(lr, n_items=n_items, n_clients=n_clients, optimizer=optimizer)

    def initial(self, name: str, seed: int, clients: Tensor | None = None) -> Tensor:
        """The backbone's for what is its own, else as for all backbones."""
        if name.startswith(PREFIX):
            return super().initial(name, seed, clients)
        return self.backbone.initial(name, seed, clients)

    def encode_rows(self, params: dict[str, Tensor], rows: Rows) -> Rows:
        """The part of :meth:`read` that depends on no private parameter, row by row; rows (K, R, ...)."""
        fixed = {name: q for name, q in rows.items() if name not in self.tables}
        return self.place.encode(mine(params), {"id": self.meeting.ids(rows), **fixed})

    def read(self, params: dict[str, Tensor], rows: Rows, own: Tensor | None, encoded: Rows | None = None) -> Rows:
        """What the backbone sees of the stored and fixed ``rows`` (K, R, ...), which may be ``encoded`` already."""
        assert own is not None
        encoded = self.encode_rows(params, rows) if encoded is None else encoded
        stored = {name: q for name, q in rows.items() if name in self.tables}
        return self.meeting.meet(stored, self.place.read(self.items, mine(params), encoded, own))

    def logits(self, params: dict[str, Tensor], rows: Rows, masks: dict[str, Tensor] | None = None) -> Tensor:
        """The backbone's scores of rows that were read."""
        return self.backbone.logits(others(params), rows, masks)

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        r"""The backbone's on what is read, and by the chain rule those of what is stored and learnt.

        .. math:: \frac{\partial L}{\partial \theta} = \sum_{i \in R}
           \Big(\frac{\partial F_i}{\partial \theta}\Big)^\top \frac{\partial L}{\partial F_i}

        with :math:`F_i` what is read of item i: once for each row, however many samples are on it.
        """
        learns = "items" in wanted
        stored = {name: rows[name].detach().requires_grad_(learns) for name in self.tables}
        learnt = {name: p.detach().requires_grad_(learns) for name, p in params.items() if name.startswith(PREFIX)}
        with torch.set_grad_enabled(learns):
            read = self.read(learnt, {**batch.fixed, **stored}, batch.own)
        plain = {name: q.detach() for name, q in read.items()}
        loss, network, up = self.backbone.gradients(others(params), plain, batch, wanted)
        if not learns:
            return loss, network, {}
        reached = [name for name in up if read[name].requires_grad]
        back = torch.autograd.grad(
            [read[name] for name in reached], [*stored.values(), *learnt.values()],
            [dense(up[name]) for name in reached], allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        items = dict(zip(stored, back[: len(stored)], strict=True))
        return loss, network | dict(zip(learnt, back[len(stored) :], strict=True)), items

    def penalised(self, loss: Tensor, gradients: RowGradients, rows: Rows, batch: Batch) -> tuple[Tensor, RowGradients]:
        """The backbone's penalties act on what is stored."""
        return self.backbone.penalised(loss, gradients, rows, batch) if gradients else (loss, gradients)

    def in_store(self, params: dict[str, Tensor], edges: UserItems, n_rows: int) -> dict[str, Tensor]:
        """The items of each of a store's U users beside its ``params``: what a user reads may depend on them."""
        positives, count = edges.padded(torch.arange(edges.n_users, device=edges.items.device))
        return params | {POSITIVES: positives, COUNT: count}

    def pair_logits(self, params: dict[str, Tensor], rows: Rows, pairs: Pairs) -> Tensor:
        """Score pairs of a store's users and items, (B,): a user reads its own items and those it is paired with."""
        users, who = pairs.user.unique(return_inverse=True)  # (V,)
        asked, place = side_by_side(who, pairs.item, len(users))
        positives, count = params[POSITIVES][users], params[COUNT][users]
        items = torch.cat([positives, asked], 1)
        learnt = {name: p for name, p in params.items() if name.startswith(PREFIX)}
        theirs = {name: p[users] if self.owner(name) == "user" else p.expand(len(users), *p.shape)
                  for name, p in learnt.items()}  # fmt: skip
        shared = {name: p[None] for name, p in learnt.items() if self.owner(name) != "user"}
        encoded = self.encode_rows(shared, {name: q[None] for name, q in rows.items()})
        own = own_weights(positives, count, asked.shape[1], rows)
        stored = {name: rows[name][items] for name in self.tables}
        read = self.read(theirs, stored, own, {name: q[0][items] for name, q in encoded.items()})
        rest = {name: p for name, p in others(params).items() if name not in (POSITIVES, COUNT)}
        at = who * items.shape[1] + positives.shape[1] + place
        return self.backbone.pair_logits(
            rest, {name: q.flatten(0, 1) for name, q in read.items()}, Pairs(pairs.user, at, pairs.masks)
        )


def check(backbone: Backbone, items: ItemTable) -> None:
    """Raise InputError for a backbone under which ``items`` cannot learn."""
    name, other = type(backbone).__name__, "choose another backbone, or ItemTable()"
    if backbone.all_items or backbone.clients_are_stores:
        raise InputError(f"{name} does not take gradient steps on item rows, so {type(items).__name__} has no way to "
                         f"learn under it: {other}.")  # fmt: skip
    if backbone.prepares:
        raise InputError(f"{name} sums its items' vectors before it trains, so {type(items).__name__} cannot learn "
                         f"under it: {other}.")  # fmt: skip


def side_by_side(who: Tensor, items: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The items (B,) of ``who`` (B,) in n rows, one a user (n, C) padded with 0, and each one's column (B,)."""
    number, order = torch.bincount(who, minlength=n), who.argsort(stable=True)
    column = torch.empty_like(order)
    first = (number.cumsum(0) - number)[who[order]]
    column[order] = torch.arange(len(order), device=order.device) - first
    rows = torch.zeros(n, int(number.max()), dtype=torch.int64, device=order.device)
    rows[who, column] = items
    return rows, column


def mine(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The items' own parameters, under the names they have in their module."""
    return {name.removeprefix(PREFIX): p for name, p in params.items() if name.startswith(PREFIX)}


def others(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's parameters."""
    return {name: p for name, p in params.items() if not name.startswith(PREFIX)}


def own_weights(positives: Tensor, count: Tensor, more: int, like: Rows) -> Tensor:
    """1 / (a client's items) for its positives (K, P), and 0 for padding and for ``more`` items behind them."""
    dtype = next(iter(like.values())).dtype
    weight = real_of(positives, count).to(dtype) / count.clamp(min=1)[:, None].to(dtype)
    return pad(weight, (0, more))
