"""How much memory a run is going to need, before any of it is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import Stores, UserItems
from fedlib.engine.kept import KeptRows, capacity
from fedlib.errors import InputError


def check_memory(
    model: Backbone, train: UserItems, n_items: int, negatives: int, *, dtype: torch.dtype, max_memory: float,
    stores: Stores | None = None, own_tables: bool = True, outside: bool = False, uploads: float = 0.0,
) -> None:  # fmt: skip
    """Raise InputError where clients and server hold more than ``max_memory`` bytes between and during rounds.

    ``own_tables`` False: the clients' own item tables are files, and not counted. ``outside``: stores keep copies of
    other stores' users. ``uploads``: how many clients' whole uploads the server holds at once.
    """
    clients = train.n_users if stores is None else stores.n_stores
    itemsize, room = torch.empty((), dtype=dtype).itemsize, capacity(train, negatives, n_items, stores)
    needed = private_bytes(model, train.n_users, clients, n_items, room, itemsize, own_tables=own_tables)
    if model.exchange is not None and stores is None:
        needed += model.exchange.bytes_needed(train.n_users, len(train.items), itemsize)
    if outside:
        of_users = sum(p.numel() for name, p in model.named_parameters() if model.owner(name) == "user")
        needed += clients * train.n_users * of_users * itemsize
    if needed > max_memory:
        raise InputError(
            f"The clients' private state would take {needed / 2**30:.1f} GiB, more than the allowed "
            f"{max_memory / 2**30:.1f} GiB: raise --max-memory, put item tables on the disk with --own-tables-in, "
            "or choose a smaller dimension or another backbone."
        )
    held = uploads * upload_bytes(model, n_items, itemsize)
    if needed + held > max_memory:
        raise InputError(
            f"The protection holds every client's upload apart, {held / 2**30:.1f} GiB beside {needed / 2**30:.1f} GiB "
            f"of private state, more than the allowed {max_memory / 2**30:.1f} GiB: raise --max-memory, or choose "
            "fewer clients a round, a smaller dimension or another protection."
        )


def private_bytes(
    model: Backbone, n_users: int, n_clients: int, n_items: int, room: Tensor, itemsize: int,
    *, own_tables: bool = True,
) -> int:  # fmt: skip
    """What the clients keep between rounds, in bytes: private parameters, ``own_tables`` and kept rows."""
    total = 0
    for name, p in model.named_parameters():
        if model.is_private(name):
            total += p.numel() * itemsize * (n_users if model.owner(name) == "user" else n_clients)
    for table in model.tables.values():
        if table.owner == "client" and own_tables:
            total += n_clients * n_items * table.dim * itemsize
        if table.keep:
            total += KeptRows.bytes_needed(room, table.dim, itemsize)
    return total


def upload_bytes(model: Backbone, n_items: int, itemsize: int) -> int:
    """One client's whole upload, dense: item tables and shared parameters."""
    tables = sum(n_items * table.dim for table in model.tables.values() if table.owner == "server")
    return itemsize * (tables + sum(p.numel() for name, p in model.named_parameters() if not model.is_private(name)))


def copy_bytes(model: Backbone, room: Tensor, itemsize: int) -> int:
    """What one client of average size works on in a round: its copy of all parameters, and its item rows."""
    rows = float(room.double().mean()) * sum(table.dim for table in model.tables.values())
    return int(itemsize * (rows + sum(p.numel() for p in model.parameters())))
