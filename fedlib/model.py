"""Reading a state: which parameters and item rows a client has in its hands, and the scores they give."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.state import State


def received_params(state: State, clients: Tensor) -> dict[str, Tensor]:
    """The parameters K clients start a round with, (K, ...): their private ones and a view of the shared ones."""
    private = {name: value[clients] for name, value in state.private.items()}
    shared = {name: value.expand(len(clients), *value.shape) for name, value in state.shared.items()}
    return private | shared


def received_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients start a round with, for items (K, R): the server's and their own -> (K, R, d)."""
    served = {name: table[items] for name, table in state.tables.items()}
    own = {name: table[clients[:, None], items] for name, table in state.own_tables.items()}
    return served | own


def personal_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients recommend with: like :func:`received_rows`, but kept rows before the server's."""
    served = {
        name: state.kept[name].read(clients, items) if name in state.kept else table[items]
        for name, table in state.tables.items()
    }
    return served | {name: table[clients[:, None], items] for name, table in state.own_tables.items()}


def score(state: State, backbone: Backbone, clients: Tensor, items: Tensor, *, personal: bool = True) -> Tensor:
    """Logits (K, C) of K clients for items (K, C), without dropout."""
    rows = (personal_rows if personal else received_rows)(state, clients, items)
    with torch.no_grad():
        return backbone.logits(received_params(state, clients), rows)


def score_all(state: State, backbone: Backbone, clients: Tensor, *, block: int = 4096) -> Tensor:
    """Logits (K, n) of K clients for all n items, ``block`` items at a time."""
    items = torch.arange(state.n_items, device=clients.device)
    parts = [score(state, backbone, clients, part.expand(len(clients), -1)) for part in items.split(block)]
    return torch.cat(parts, dim=1)
