"""What clients learn of each other, through somebody who is neither a client nor the server."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Exchange(Protocol):
    """What clients learn of each other through a third party before they train.

    ``memory``: what the third party knows before the first round, by name (m, ...), and what clients hold of each of
    their training items from it, (nnz, ...). ``learn``: those of the ``clients`` (K,) that are due in round ``round``
    tell the third party their ``private`` parameters (m, ...), and both memories are brought up to date in place;
    returns rows of the ledger, (direction, tensor, shape, dtype, clients, bytes).
    """

    def memory(self, n_users: int, n_edges: int, like: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]: ...
    def bytes_needed(self, n_users: int, n_edges: int, itemsize: int) -> int: ...
    def learn(
        self, third_party: dict[str, Tensor], held: dict[str, Tensor], private: dict[str, Tensor], clients: Tensor,
        users: Tensor, items: Tensor, n_items: int, round: int,
    ) -> list[tuple[str, str, str, str, int, float]]: ...  # fmt: skip
