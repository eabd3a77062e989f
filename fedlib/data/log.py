"""Interactions of users as tensors, and which store holds whose.

Shape letters: m users, K users in a chunk, P the longest list in a chunk, nnz interactions, J stores.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class UserItems:
    """The items of each user, one list after the other (compressed rows).

    ``indptr`` is (m+1,) int64 and ``items`` is (nnz,) int64: user u's items are ``items[indptr[u]:indptr[u+1]]``.

    >>> log = UserItems.from_pairs(torch.tensor([1, 0, 1]), torch.tensor([7, 5, 6]), n_users=3)
    >>> log[1].tolist(), log.counts.tolist()
    ([7, 6], [1, 2, 0])
    >>> log.padded(torch.tensor([1, 2]))
    (tensor([[7, 6],
            [0, 0]]), tensor([2, 0]))
    """

    indptr: Tensor
    items: Tensor

    @classmethod
    def from_pairs(cls, users: Tensor, items: Tensor, n_users: int) -> UserItems:
        """Group (nnz,) pairs by user; the order inside a user is the order of the pairs."""
        indptr = torch.zeros(n_users + 1, dtype=torch.int64, device=users.device)
        torch.cumsum(torch.bincount(users, minlength=n_users), 0, out=indptr[1:])
        return cls(indptr, items[torch.argsort(users, stable=True)])

    @property
    def n_users(self) -> int:
        """m, users without items included."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> Tensor:
        """Items of each user, (m,) int64."""
        return self.indptr.diff()

    @cached_property
    def able(self) -> Tensor:
        """The users with at least one item, ascending, int64."""
        return self.counts.nonzero()[:, 0]

    @property
    def users(self) -> Tensor:
        """The user of each interaction, (nnz,) int64, aligned with ``items``."""
        everybody = torch.arange(self.n_users, device=self.indptr.device)
        return torch.repeat_interleave(everybody, self.counts, output_size=len(self.items))

    @property
    def sha256(self) -> str:
        """SHA-256 of the (user, item) pairs, row after row, as little-endian 64-bit integers."""
        pairs = torch.stack([self.users, self.items], dim=1).cpu().numpy().astype("<i8")
        return hashlib.sha256(pairs.tobytes()).hexdigest()

    def __getitem__(self, user: int) -> Tensor:
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def to(self, device: torch.device) -> UserItems:
        """The same lists on another device."""
        return UserItems(self.indptr.to(device), self.items.to(device))

    def padded(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The lists of K users side by side: items (K, P) padded with 0, and counts (K,), both int64."""
        place, inside, counts = self._side_by_side(users)
        return torch.where(inside, self.items[place], 0), counts

    def places(self, users: Tensor) -> Tensor:
        """Where the entries of :meth:`padded` stand in ``items``, (K, P) int64, padded with 0."""
        place, inside, _ = self._side_by_side(users)
        return torch.where(inside, place, 0)

    def _side_by_side(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places in ``items`` (K, P), which of them are the user's, and counts (K,); the others are any place."""
        start = self.indptr[users]
        counts = self.indptr[users + 1] - start
        column = torch.arange(int(counts.max()) if len(counts) else 0, device=start.device)
        place = (start[:, None] + column).clamp_(max=len(self.items) - 1)
        return place, column < counts[:, None], counts

    def where(self, keep: Tensor) -> UserItems:
        """The interactions marked in ``keep`` (nnz,) bool; no user is removed."""
        return UserItems.from_pairs(self.users[keep], self.items[keep], self.n_users)

    def only(self, users: Tensor) -> UserItems:
        """The lists of ``users`` (K,) alone; no user is removed, the others have none."""
        kept = torch.zeros(self.n_users, dtype=torch.bool, device=self.indptr.device)
        kept[users] = True
        return self.where(kept[self.users])

    def of_users(self, users: Tensor) -> UserItems:
        """The lists of ``users`` (K,) in that order, as users 0 .. K-1."""
        position = _positions(self, users)
        counts = self.counts[users]
        return UserItems(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), self.items[position])


def _positions(log: UserItems, users: Tensor) -> Tensor:
    """Where the interactions of ``users`` lie in ``log.items``, user after user."""
    counts = log.counts[users]
    first = torch.repeat_interleave(log.indptr[users] - (counts.cumsum(0) - counts), counts)
    return first + torch.arange(len(first), device=first.device)


@dataclass(frozen=True, eq=False)
class Stores:
    """The store of every user: ``assignment`` (m,) int64 with values 0 to ``n_stores`` - 1.

    >>> Stores(torch.tensor([1, 0, 1]), 2).users(1)
    tensor([0, 2])
    """

    assignment: Tensor
    n_stores: int

    @property
    def sizes(self) -> Tensor:
        """How many users each store has, (J,) int64."""
        return torch.bincount(self.assignment, minlength=self.n_stores)

    @property
    def sha256(self) -> str:
        """SHA-256 of the assignment as little-endian 64-bit integers."""
        return hashlib.sha256(self.assignment.cpu().numpy().astype("<i8").tobytes()).hexdigest()

    def users(self, store: int) -> Tensor:
        """The users of one store, ascending, int64."""
        return (self.assignment == store).nonzero()[:, 0]
