"""Item rows that a client keeps for itself between rounds."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.data.log import Stores, UserItems


class KeptRows:
    """Each client's tuned copy of a server table: the rows of its last participation over the table they came from.

    Only touched rows are stored. The rest of client u's table is the server's table of that round, and a server table
    is held as long as one client refers to it. A client that never took part has the initial table.

    rows (T, d) and ids (T,) hold client u's rows at ``start[u] : start[u] + count[u]``;
    ``version`` (m,) says which table they came from. The last row is spare: padding is written there.
    """

    def __init__(self, initial: Tensor, capacity: Tensor) -> None:
        """initial (n, d) the table before any training; capacity (m,) the most rows a client can touch in a round."""
        device = initial.device
        self.start = torch.zeros(len(capacity) + 1, dtype=torch.int64, device=device)
        torch.cumsum(capacity, 0, out=self.start[1:])
        total = int(self.start[-1]) + 1
        self.rows = torch.zeros(total, initial.shape[1], dtype=initial.dtype, device=device)
        self.ids = torch.zeros(total, dtype=torch.int64, device=device)
        self.count = torch.zeros_like(capacity)
        self.version = torch.zeros_like(capacity)
        self.versions = {0: initial.clone()}
        self.n_items = len(initial)
        self.slot = torch.zeros(0, self.n_items + 1, dtype=torch.int64, device=device)

    @staticmethod
    def bytes_needed(capacity: Tensor, dim: int, itemsize: int) -> int:
        """Memory of the stored rows."""
        return int(capacity.sum()) * (dim * itemsize + 8)

    def open_version(self, version: int, table: Tensor) -> None:
        """Remember the server's table that this round's clients receive, and forget those no client refers to."""
        self.versions[version] = table.clone()
        in_use = {version, *self.version.unique().tolist()}
        self.versions = {v: t for v, t in self.versions.items() if v in in_use}

    def write(self, clients: Tensor, ids: Tensor, real: Tensor, rows: Tensor, version: int) -> None:
        """Store what K clients tuned: ids (K, R), real (K, R) and rows (K, R, d).

        Raises ValueError for a client with more rows than its capacity: they would end up in its neighbour's place.
        """
        count, room = real.sum(1), self.start[clients + 1] - self.start[clients]
        if bool((count > room).any()):
            worst = int((count - room).argmax())
            raise ValueError(f"client {int(clients[worst])} has {int(count[worst])} rows, room for {int(room[worst])}")
        place = self.start[clients][:, None] + torch.arange(ids.shape[1], device=ids.device)
        place = torch.where(real, place, self.start[-1]).flatten()  # padding goes to the spare row
        self.rows.index_copy_(0, place, rows.flatten(0, 1))
        self.ids.index_copy_(0, place, ids.flatten())
        self.count[clients] = count
        self.version[clients] = version

    def read(self, clients: Tensor, items: Tensor) -> Tensor:
        """The item vectors K clients recommend with: items (K, C) -> (K, C, d)."""
        place, known = self._find(clients, items)
        return torch.where(known[:, :, None], self.rows[place], self._server_rows(clients, items))

    def own(self, clients: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Which of items (K, C) each client has a copy of its own of, (K, C), and these copies (M, d)."""
        place, known = self._find(clients, items)
        return known, self.rows[place[known]]

    def _server_rows(self, clients: Tensor, items: Tensor) -> Tensor:
        version = self.version[clients]
        if bool((version == version[0]).all()):
            return self.versions[int(version[0])][items]
        out = torch.empty(*items.shape, self.rows.shape[1], dtype=self.rows.dtype, device=items.device)
        for v in version.unique().tolist():
            out[version == v] = self.versions[v][items[version == v]]
        return out

    def _find(self, clients: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Where each client's copy of an item is stored (K, C), and whether there is one (K, C).

        ``slot[k, i]`` says at which of the client's places item i was last noted; the note is believed only if that
        place really holds i, so the scratch table is never cleared.
        """
        start, count = self.start[clients][:, None], self.count[clients][:, None]
        if len(self.slot) < len(clients):
            self.slot = torch.zeros(len(clients), self.n_items + 1, dtype=torch.int64, device=items.device)
        column = torch.arange(int(count.max()), device=items.device).expand(len(clients), -1)
        stored = self.ids[(start + column).clamp_(max=len(self.ids) - 1)]  # (K, R)
        stored = torch.where(column < count, stored, self.n_items)
        noted = self.slot[: len(clients)].scatter_(1, stored, column).gather(1, items)
        place = (start + noted).clamp_(max=len(self.ids) - 1)
        return place, (noted < count) & (self.ids[place] == items)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs."""
        self.rows[-1], self.ids[-1] = 0, 0  # what lies in the spare row is nothing
        own = {"rows": self.rows, "ids": self.ids, "count": self.count, "version": self.version}
        return own | {f"versions/{v}": table for v, table in self.versions.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the values that :meth:`tensors` gave."""
        self.rows, self.ids = tensors["rows"], tensors["ids"]
        self.count, self.version = tensors["count"], tensors["version"]
        self.versions = {int(k.partition("/")[2]): t for k, t in tensors.items() if k.startswith("versions/")}


def capacity(positives: UserItems, negatives: int, n_items: int, stores: Stores | None = None) -> Tensor:
    """The most item rows each client can touch in a round, (m,), or (J,) where clients are ``stores``.

    They are those of its positives and negatives, at most all items.
    """
    room = (positives.counts * (1 + negatives)).clamp(max=n_items)
    if stores is None:
        return room
    return room.new_zeros(stores.n_stores).index_add_(0, stores.assignment, room).clamp(max=n_items)
