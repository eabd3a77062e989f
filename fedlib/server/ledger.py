"""What was sent, how many bytes, and by how many: the account of all that crosses between a device and the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

if TYPE_CHECKING:
    pass

COLUMNS = ["round", "direction", "tensor", "shape", "dtype", "clients", "bytes_per_client", "bytes"]


class Ledger:
    """One row a round for every kind of tensor that leaves a device ("up") or reaches one ("down").

    Bytes are those of the protocol, not of the simulation: an item table is sent whole, because a list of touched rows
    would tell the server which items a client has.
    """

    def __init__(self, rows: list[dict] | None = None) -> None:
        self.rows = rows or []

    def record(self, round: int, direction: str, tensor: str, value: Tensor, clients: int) -> None:
        """Note that each of ``clients`` clients sent or received one tensor like ``value``."""
        size = value.numel() * value.element_size()
        shape, dtype = str(tuple(value.shape)), str(value.dtype).removeprefix("torch.")
        row = (round, direction, tensor, shape, dtype, clients, size, size * clients)
        self.rows.append(dict(zip(COLUMNS, row, strict=True)))

    def record_ragged(
        self, round: int, direction: str, tensor: str, shape: str, dtype: str, clients: int, total: float
    ) -> None:
        """Note ``total`` bytes that differ from client to client; ``bytes_per_client`` is then a mean."""
        row = (round, direction, tensor, shape, dtype, clients, total / max(clients, 1), total)
        self.rows.append(dict(zip(COLUMNS, row, strict=True)))

    def bytes(self, round: int, direction: str) -> int:
        """All bytes of a round in one direction."""
        return sum(row["bytes"] for row in self.rows if row["round"] == round and row["direction"] == direction)

    def frame(self) -> pd.DataFrame:
        """The account as a table."""
        return pd.DataFrame(self.rows, columns=COLUMNS)
