"""What users did, as tensors: interactions, a data set with its catalogue, and a split of it.

Shape letters: m users, n items, K users in a chunk, P the longest list in a chunk, nnz interactions, E edges of a
global log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from fedlib.data.log import UserItems, _positions
from fedlib.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from fedlib.data.log import Stores
    from fedlib.data.truth import SyntheticTruth


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Interactions with the catalogue they are about.

    ``interactions`` is ordered inside a user by (time, position in the file) and holds no (user, item) pair twice.
    ``catalogue`` has one row an item, in item order: title, description, categories (joined by ``|``) and image
    (a path, or empty). ``sha256`` is that of the interactions, so that a result can name its data. ``stores`` (m,)
    is the store of each user where the data says so; ``global_log`` and ``truth`` belong to the synthetic shop;
    ``given_test`` are the test interactions of data that was published with a split.
    """

    name: str
    n_users: int
    n_items: int
    interactions: UserItems
    user_ids: list[str]
    item_ids: list[str]
    catalogue: pd.DataFrame
    licence: str
    sha256: str
    stores: Tensor | None = None
    global_log: UserItems | None = None
    truth: SyntheticTruth | None = None
    given_test: UserItems | None = None
    notes: tuple[str, ...] = ()

    def identity(self) -> str:
        """What tells it from other data."""
        return f"{self.name} {self.sha256}"

    def __repr__(self) -> str:
        size = f"{self.n_users:,} users, {self.n_items:,} items, {len(self.interactions.items):,} interactions"
        return f"Dataset({self.name}: {size})"

    def leave_one_out(self, *, seed: int = 0, negatives: int = 99) -> Split:
        """Last item of each user for test, last but one for validation, ranked against fixed negatives.

        Users with fewer than three items are left out, and a note counts them. See
        :func:`fedlib.data.splits.leave_one_out`.
        """
        from fedlib.data import splits  # splits imports this module

        return splits.leave_one_out(self, seed=seed, negatives=negatives)

    def full_ranking(self) -> Split:
        """The leave-one-out split, ranked against all items (protocol B of FedMR)."""
        from fedlib.data import splits

        return splits.full_ranking(self)

    def ratio_split(self, *, share: float = 0.8, seed: int = 0) -> Split:
        """A random ``share`` of each user for training and the rest for test (protocol B of NGCF and FedGDVE)."""
        from fedlib.data import splits

        return splits.ratio_split(self, share=share, seed=seed)

    def given_split(self, *, valid: bool = True, seed: int = 0) -> Split:
        """The split the data was published with (protocol B of NGCF), a tenth of the training part for validation."""
        from fedlib.data import splits

        return splits.given_split(self, valid=valid, seed=seed)

    def keep_users(self, users: Tensor, note: str) -> Dataset:
        """The same data with ``users`` (K,) only, re-numbered 0 .. K-1 in that order; items keep their index."""
        interactions = self.interactions.of_users(users)
        edges = None if self.global_log is None else _positions(self.global_log, users)
        truth = self.truth and self.truth.keep(users, _positions(self.interactions, users), edges)
        return replace(
            self,
            n_users=len(users),
            interactions=interactions,
            user_ids=[self.user_ids[user] for user in users.tolist()],
            sha256=interactions.sha256,
            stores=None if self.stores is None else self.stores[users],
            global_log=self.global_log and self.global_log.of_users(users),
            truth=truth,
            given_test=self.given_test and self.given_test.of_users(users),
            notes=(*self.notes, note),
        )

    def cover(self, item: int) -> Image:
        """The picture of one item, RGB: its image file, or drawn for the synthetic shop.

        Raises :class:`InputError` if the item has no picture, its file cannot be read, or there is no such item.
        """
        if not 0 <= item < self.n_items:
            raise InputError(f"{self.name} has no item {item}: items are 0 to {self.n_items - 1}")
        from fedlib.data import covers  # Pillow is for those who look at pictures

        if self.truth is not None:
            return covers.draw(self.truth, item)
        path = str(self.catalogue["image"].iloc[item])
        if not path:
            raise InputError(f"item {self.item_ids[item]} of {self.name} has no image; give one in items.csv")
        return covers.read(path)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """A data set cut into training, validation and test interactions under one evaluation protocol.

    ``protocol`` is ``"loo99"`` (one test item against 99 negatives), ``"full"`` (one test item against all items)
    or ``"ratio80"`` (a fifth of each user against all items). The negatives are (m, 99) int64, and None except
    under ``loo99``. ``test_sha256`` is the SHA-256 of the test pairs (see :attr:`UserItems.sha256`).

    ``stores`` says which store holds a user's interactions where the clients are stores; without it every user is a
    client. ``global_log`` holds interactions of the users that lie in a log anybody may read: no client trains on them
    unless a method brings them in, and the ranking leaves them out like training items.
    """

    data: Dataset
    protocol: str
    train: UserItems
    valid: UserItems
    test: UserItems
    valid_negatives: Tensor | None
    test_negatives: Tensor | None
    test_sha256: str
    stores: Stores | None = None
    global_log: UserItems | None = None

    @property
    def client_sizes(self) -> Tensor:
        """The training interactions of each client, (m,) where clients are users and (J,) where they are stores."""
        counts = self.train.counts
        if self.stores is None:
            return counts
        return counts.new_zeros(self.stores.n_stores).index_add_(0, self.stores.assignment, counts)

    def with_stores(self, stores: Stores) -> Split:
        """The same split with stores as clients. Raises :class:`InputError` if they are not the stores of its users."""
        if len(stores.assignment) != self.data.n_users:
            raise InputError(f"The stores have {len(stores.assignment)} users, but the split {self.data.n_users}.")
        return replace(self, stores=stores)

    def __repr__(self) -> str:
        train, valid, test = (f"{len(part.items):,}" for part in (self.train, self.valid, self.test))
        return f"Split({self.data.name}, {self.protocol}: {train} to train, {valid} to validate, {test} to test)"
