"""Items a user has not touched, drawn uniformly: one counter-based number a negative, nothing drawn twice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.log import UserItems
from fedlib.errors import InputError


@dataclass(frozen=True, eq=False)
class NegativeSampler:
    """Uniform draws from the items that are not among a user's positives.

    With the user's distinct positives I_u in ascending order and n items in all,
    ``r ~ U{0, ..., n - |I_u| - 1}`` and ``item = r + #{j : I_u[j] - j <= r}``, the r-th item outside I_u:
    ``I_u[j] - j`` counts the negatives below I_u[j], so the sum steps over exactly the positives in the way.

    >>> sampler = NegativeSampler(UserItems(torch.tensor([0, 2]), torch.tensor([3, 0])), n_items=4)
    >>> sorted(set(sampler.draw(7, torch.tensor([0]), torch.arange(50)).tolist()))
    [1, 2]
    """

    positives: UserItems
    n_items: int

    def draw(self, stream: int, users: Tensor, counters: Tensor) -> Tensor:
        """A negative for each element of the broadcast ``users`` and ``counters`` (int64), int64.

        ``stream`` is a :func:`fedlib.rng.key`. Raises :class:`InputError` if one of ``users`` has no negative.
        """
        choices = self.n_items - self._counts[users]
        if self._any_full and bool((choices <= 0).any()):
            user = int(users[choices <= 0][0])
            raise InputError(f"user {user} has all {self.n_items} items as positives, so there is none to draw")
        rank = rng.integers(choices, stream, users, counters)
        passed = torch.searchsorted(self._keys, users * self.n_items + rank, right=True)
        return rank + passed.sub_(self._first[users])

    @cached_property
    def _distinct(self) -> Tensor:
        """The distinct pairs as ``user * n_items + item``, ascending, (nnz,)."""
        return torch.unique(self.positives.users * self.n_items + self.positives.items)

    @cached_property
    def _counts(self) -> Tensor:
        """|I_u|, (m,)."""
        return torch.bincount(self._distinct // self.n_items, minlength=self.positives.n_users)

    @cached_property
    def _any_full(self) -> bool:
        """Whether some user has no negative: asked once, because on a GPU every answer has to be waited for."""
        return bool((self._counts >= self.n_items).any())

    @cached_property
    def _first(self) -> Tensor:
        """Where each user's pairs begin in ``_distinct``, (m,)."""
        return self._counts.cumsum(0) - self._counts

    @cached_property
    def _keys(self) -> Tensor:
        """``user * n_items + I_u[j] - j``, (nnz,), never descending, so one search serves all users."""
        position = torch.arange(len(self._distinct), device=self._distinct.device)
        return self._distinct - (position - self._first[self._distinct // self.n_items])
