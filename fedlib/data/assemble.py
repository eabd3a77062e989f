"""From raw rows to a :class:`~fedlib.data.interactions.Dataset`: order in time, and each pair once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlib.data.interactions import Dataset
from fedlib.data.log import UserItems

CATALOGUE = ["title", "description", "categories", "image"]


def assemble(
    name: str,
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray[np.generic] | None,
    *,
    user_ids: list[str],
    item_ids: list[str],
    catalogue: Sequence[Sequence[str]],
    licence: str,
    stores: Tensor | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Order the rows inside each user by (time, position in the file) and keep the earliest of repeated pairs.

    ``users`` and ``items`` (rows,) are indices, ``times`` (rows,) are comparable numbers, or None where the order of
    the file is the order in time. ``catalogue`` has one row an item: title, description, categories, image.
    """
    if times is not None:
        order = np.argsort(times, kind="stable")
        users, items = users[order], items[order]
    first = np.sort(np.unique(users * len(item_ids) + items, return_index=True)[1])
    dropped = len(users) - len(first)
    if dropped:
        notes += (f"dropped {dropped} repeated user-item {'pair' if dropped == 1 else 'pairs'}, keeping the earliest",)
    log = UserItems.from_pairs(torch.from_numpy(users[first]), torch.from_numpy(items[first]), len(user_ids))
    return Dataset(
        name=name,
        n_users=len(user_ids),
        n_items=len(item_ids),
        interactions=log,
        user_ids=user_ids,
        item_ids=item_ids,
        catalogue=pd.DataFrame(catalogue, columns=CATALOGUE, dtype=str),
        licence=licence,
        sha256=log.sha256,
        stores=stores,
        notes=notes,
    )
