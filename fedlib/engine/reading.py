"""Reading a state: which parameters and item rows a client has in its hands, and the scores they give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.engine.state import State


def received_params(state: State, clients: Tensor) -> dict[str, Tensor]:
    """The parameters K clients start a round with, (K, ...): their private ones and a view of the shared ones."""
    private = {name: value[clients] for name, value in state.private.items()}
    shared = {name: value.expand(len(clients), *value.shape) for name, value in state.shared.items()}
    return private | shared


def received_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients start a round with, for items (K, R): the server's and their own -> (K, R, d)."""
    served = {name: embedding(items, table) for name, table in state.tables.items()}
    return served | own_rows(state, clients, items)


def personal_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients recommend with: like :func:`received_rows`, but kept rows before the server's."""
    served = {
        name: state.kept[name].read(clients, items) if name in state.kept else embedding(items, table)
        for name, table in state.tables.items()
    }
    return served | own_rows(state, clients, items)


def own_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The rows of K clients' own tables for items (K, R), gathered as rows of one long table: that is fastest."""
    place = clients[:, None] * state.n_items + items
    return {name: embedding(place, table.flatten(0, 1)) for name, table in state.own_tables.items()}


def prepared_params(
    state: State, backbone: Backbone, clients: Tensor, items: Tensor, own: UserItems
) -> dict[str, Tensor]:
    """:func:`received_params` after K clients have worked out what they can from their ``own`` items.

    ``items`` (K, R) are those whose rows they are about to train or score.
    """
    params = received_params(state, clients)
    if not prepares(backbone):
        return params
    tables = state.tables | {name: table[clients] for name, table in state.own_tables.items()}
    return prepared(state, backbone, params, tables, clients, items, own)


def prepares(backbone: Backbone) -> bool:
    """Whether clients work anything out from their own items before they train or score."""
    return type(backbone).prepare is not Backbone.prepare


def prepared(
    state: State, backbone: Backbone, params: dict[str, Tensor], tables: dict[str, Tensor], clients: Tensor,
    items: Tensor, own: UserItems,
) -> dict[str, Tensor]:  # fmt: skip
    """What K clients work out from given ``params`` (K, ...) and ``tables`` (n, d) or (K, n, d)."""
    if state.held:
        place = own.places(clients)
        params = params | {name: value[place] for name, value in state.held.items()}
    return backbone.prepare(params, tables, *own.padded(clients), items)


def score(
    state: State, backbone: Backbone, clients: Tensor, items: Tensor, own: UserItems, *, personal: bool = True
) -> Tensor:
    """Logits (K, C) of K clients for items (K, C), without dropout; ``own`` are all users' training items."""
    rows = (personal_rows if personal else received_rows)(state, clients, items)
    with torch.no_grad():
        return backbone.logits(prepared_params(state, backbone, clients, items, own), rows)


def score_all(state: State, backbone: Backbone, clients: Tensor, own: UserItems, *, block: int = 4096) -> Tensor:
    """Logits (K, n) of K clients for all n items, ``block`` items at a time."""
    items = torch.arange(state.n_items, device=clients.device)
    parts = [score(state, backbone, clients, part.expand(len(clients), -1), own) for part in items.split(block)]
    return torch.cat(parts, dim=1)
