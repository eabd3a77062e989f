"""What a store has before it in a round: its users, their interactions, and what it may look at of others'.

Shape letters: U users of a store, G others it has heard of, E edges of the global log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.state import State
from fedlib.places import Outside
from fedlib.shapes import EMPTY, Work


@dataclass
class StoreWork:
    """One store's part of a round.

    clients (1,) is the store; users (U,) are its users, and row u of ``edges`` are the training items of ``users[u]``.
    ``log`` is the global log, which everybody may read, row u for user u of the split; an ``augment`` place makes an
    :class:`~fedlib.places.Outside` of it. ``of_users`` is what a ``select`` place works on: the store's users, each
    with its own positives.
    After local training ``update`` holds what the store is about to send: ``{"item": (1, n, d), "w1.0": (1, d, d)}``,
    with ``ids``, ``real``, ``size`` and ``loss`` as in :class:`~fedlib.shapes.Work`.
    """

    round: int
    seed: int
    clients: Tensor
    users: Tensor
    edges: UserItems
    given: State
    excluded: UserItems
    log: UserItems | None = None
    of_users: Work | None = None
    outside: Outside | None = None
    update: dict[str, Tensor] = field(default_factory=dict)
    ids: Tensor = EMPTY
    real: Tensor = EMPTY
    size: Tensor = EMPTY
    loss: Tensor = EMPTY
    tables: tuple[str, ...] = ()
    n_items: int = 0
    flipped: Tensor = EMPTY
    memory: dict[str, Tensor] = field(default_factory=dict)

    def as_seen_by(self, place: str) -> Any:
        """What a place works on: the users for a selector of samples, the store for all others."""
        return self.of_users if place == "select" and self.of_users is not None else self

    def as_sent(self, work: Any, uploads: Tensor) -> tuple[Tensor, Tensor]:
        """Who sends the ``uploads`` (K, ...) that a place made of ``work``, and what: the store, its users' sum."""
        return self.clients, uploads if work is self else uploads.sum(0, keepdim=True)

    @property
    def store(self) -> int:
        """The store's number."""
        return int(self.clients)

    @property
    def strangers(self) -> Tensor:
        """The users (G,) of ``outside`` that are not its own, ascending."""
        if self.outside is None:
            return self.users[:0]
        others = self.outside.users[self.outside.edges.counts > 0].unique()
        return others[~torch.isin(others, self.users)]

    def nodes(self) -> Tensor:
        """Everybody whose interactions the store may train on, (U + G,): its own users first."""
        return torch.cat([self.users, self.strangers])

    def training_edges(self, nodes: Tensor, joined: Tensor | None) -> UserItems:
        """The interactions of ``nodes`` to train on: the store's own, and what has ``joined`` (E,) from outside."""
        if self.outside is None or joined is None:
            return self.edges
        more = self.outside.edges.where(joined)
        place = position(nodes)[self.outside.users[more.users]]
        users, items = torch.cat([self.edges.users, place]), torch.cat([self.edges.items, more.items])
        return UserItems.from_pairs(users, items, len(nodes))

    def sampler(self, n_items: int) -> NegativeSampler:
        """Negatives by what the store may know: its own users' items and, where it looks outside, the global log."""
        known = self.excluded.only(self.users)
        if self.outside is not None:
            theirs = self.outside.edges
            users = torch.cat([known.users, self.outside.users[theirs.users]])
            known = UserItems.from_pairs(users, torch.cat([known.items, theirs.items]), known.n_users)
        return NegativeSampler(known, n_items)


def position(nodes: Tensor) -> Tensor:
    """Where each user stands among ``nodes``, by the user's number."""
    place = torch.full((int(nodes.max()) + 1,), -1, dtype=torch.int64, device=nodes.device)
    place[nodes] = torch.arange(len(nodes), device=nodes.device)
    return place
