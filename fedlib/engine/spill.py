"""Tables that are too large for the machine's memory, on its disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from fedlib.errors import InputError


def on_disk(table: Tensor, clients: int, folder: str | Path) -> Tensor:
    """A copy of ``table`` (n, d) for each of ``clients``, (clients, n, d), in a file that memory mirrors.

    What does not fit in memory, the system reads from and writes to the disk, page by page. The file has lost its name
    when this returns, so it is gone once nothing refers to the tensor, however the process ends. Raises
    :class:`InputError` where there is no such ``folder`` or too little room in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is no folder: tables can be put only into one that exists.")
    needed, free = clients * table.nbytes, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"The clients' tables take {needed / 2**30:.1f} GiB, but {folder} has room for "
                         f"{free / 2**30:.1f} GiB: name a folder on a larger disk.")  # fmt: skip
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        size = clients * table.numel()
        tables = torch.from_file(file.name, shared=True, size=size, dtype=table.dtype).view(clients, *table.shape)
    for own in tables:
        own.copy_(table)
    return tables
