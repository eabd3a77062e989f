"""What a store has before it in a round: its users, their interactions, and what it may look at of others'.

Shape letters: U users of a store, G others it has heard of, E edges of the global log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.state import State
from fedlib.places import Outside
from fedlib.shapes import Upload, Work


@dataclass
class StoreWork(Upload):
    """One store's part of a round.

    clients (1,) is the ``store``; users (U,) are its users, and row u of ``edges`` are the training items of
    ``users[u]``. ``log`` is the global log, which everybody may read, row u for user u of the split; an ``augment``
    place makes an :class:`~fedlib.places.Outside` of it. ``of_users`` is what a ``select`` place has worked on: the
    store's users, each with its own positives, which ``make_users`` gives.
    After local training ``update`` is ``{"item": (1, n, d), "w1.0": (1, d, d)}``.
    """

    store: int
    users: Tensor
    edges: UserItems
    given: State
    samplers: Samplers
    log: UserItems | None = None
    make_users: Callable[[StoreWork], Work] | None = None
    of_users: Work | None = None
    outside: Outside | None = None

    def as_seen_by(self, place: str) -> Any:
        """What a place works on: the users for a selector of samples, the store for all others."""
        if place != "select" or self.make_users is None:
            return self
        self.of_users = self.of_users or self.make_users(self)
        return self.of_users

    def as_sent(self, work: Any, uploads: Tensor) -> tuple[Tensor, Tensor]:
        """Who sends the ``uploads`` (K, ...) that a place made of ``work``, and what: the store, its users' sum."""
        return self.clients, uploads if work is self else uploads.sum(0, keepdim=True)

    def nodes(self) -> Tensor:
        """Everybody whose interactions the store may train on, (U + G,): its own users first, then the strangers."""
        if self.outside is None:
            return self.users
        others = self.outside.users[self.outside.edges.counts > 0].unique()
        return torch.cat([self.users, others[~torch.isin(others, self.users)]])

    def training_edges(self, nodes: Tensor, joined: Tensor | None) -> UserItems:
        """The interactions of ``nodes`` to train on: the store's own, and what has ``joined`` (E,) from outside."""
        if self.outside is None or joined is None:
            return self.edges
        more = self.outside.edges.where(joined)
        place = position(nodes)[self.outside.users[more.users]]
        users, items = torch.cat([self.edges.users, place]), torch.cat([self.edges.items, more.items])
        return UserItems.from_pairs(users, items, len(nodes))


@dataclass(frozen=True)
class Samplers:
    """Negatives by what a store may know: its own users' items and, where it looks outside, the global log.

    ``excluded`` are the items that are nobody's negatives, user by user; ``made`` keeps the stores' own samplers.
    """

    excluded: UserItems
    n_items: int
    made: dict[int, NegativeSampler] = field(default_factory=dict, repr=False)

    def of(self, work: StoreWork) -> NegativeSampler:
        """The sampler of a store in this round."""
        if work.outside is not None:
            known, theirs = self.excluded.only(work.users), work.outside.edges
            users = torch.cat([known.users, work.outside.users[theirs.users]])
            both = UserItems.from_pairs(users, torch.cat([known.items, theirs.items]), known.n_users)
            return NegativeSampler(both, self.n_items)
        if work.store not in self.made:
            self.made[work.store] = NegativeSampler(self.excluded.only(work.users), self.n_items)
        return self.made[work.store]


def position(nodes: Tensor) -> Tensor:
    """Where each user stands among ``nodes``, by the user's number."""
    place = torch.full((int(nodes.max()) + 1,), -1, dtype=torch.int64, device=nodes.device)
    place[nodes] = torch.arange(len(nodes), device=nodes.device)
    return place
