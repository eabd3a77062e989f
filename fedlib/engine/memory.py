"""How much memory a run is going to need, before any of it is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import Stores, UserItems
from fedlib.engine.kept import KeptRows, capacity
from fedlib.errors import InputError


def check_memory(
    backbone: Backbone, train: UserItems, n_items: int, negatives: int, *, dtype: torch.dtype, max_memory: float,
    stores: Stores | None = None, own_tables: bool = True,
) -> None:  # fmt: skip
    """Raise InputError where what the clients keep takes more than ``max_memory`` bytes.

    ``own_tables`` False: their own item tables are files, and not counted.
    """
    clients = train.n_users if stores is None else stores.n_stores
    itemsize, room = torch.empty((), dtype=dtype).itemsize, capacity(train, negatives, n_items, stores)
    needed = private_bytes(backbone, train.n_users, clients, n_items, room, itemsize, own_tables=own_tables)
    if backbone.exchange is not None and stores is None:
        needed += backbone.exchange.bytes_needed(train.n_users, len(train.items), itemsize)
    if needed > max_memory:
        raise InputError(
            f"The clients' private state would take {needed / 2**30:.1f} GiB, more than the allowed "
            f"{max_memory / 2**30:.1f} GiB: raise --max-memory, put item tables on the disk with --own-tables-in, "
            "or choose a smaller dimension or another backbone."
        )


def private_bytes(
    backbone: Backbone, n_users: int, n_clients: int, n_items: int, room: Tensor, itemsize: int,
    *, own_tables: bool = True,
) -> int:  # fmt: skip
    """What the clients keep between rounds, in bytes: private parameters, ``own_tables`` and kept rows."""
    total = 0
    for name, p in backbone.named_parameters():
        if backbone.is_private(name):
            total += p.numel() * itemsize * (n_users if backbone.is_of_user(name) else n_clients)
    for table in backbone.tables.values():
        if table.owner == "client" and own_tables:
            total += n_clients * n_items * table.dim * itemsize
        if table.keep:
            total += KeptRows.bytes_needed(room, table.dim, itemsize)
    return total
