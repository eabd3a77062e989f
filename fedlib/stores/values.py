"""What a store holds for the model of one user, and the scores it gives.

Shape letters: U users of a store, G strangers, V = U + G, R item rows, B pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.engine.state import State
from fedlib.shapes import Pairs, Rows

PAIRS = 1 << 16  # scored at once


def store_values(state: State, model: Backbone, store: int, users: Tensor, strangers: Tensor) -> dict[str, Tensor]:
    """All parameters a store has in its hands, by name: (V, ...) where every user has its own.

    Those of its ``users`` (U,) come first, then its own copies of those of ``strangers`` (G,).
    """
    own = {}
    for name, value in state.private.items():
        own[name] = value[users if model.owner(name) == "user" else store]
        if model.owner(name) == "user" and len(strangers):
            own[name] = torch.cat([own[name], state.guests[name][store, strangers]])
    return own | state.shared


def store_params(
    state: State, model: Backbone, store: int, users: Tensor, strangers: Tensor, edges: UserItems, n_rows: int
) -> dict[str, Tensor]:
    """What a store trains and scores with besides item rows: :func:`store_values`, and what follows from its graph.

    ``edges`` are the interactions of all V users, with rows from 0 to ``n_rows`` - 1 for items.
    """
    return model.in_store(store_values(state, model, store, users, strangers), edges, n_rows)


def pair_scores(model: Backbone, params: dict[str, Tensor], rows: Rows, who: Tensor, items: Tensor) -> Tensor:
    """Logits of users ``who`` (U,), by their place among the store's, for items (U, C), (U, C)."""
    both = [x.reshape(-1).split(PAIRS) for x in (who[:, None].expand_as(items), items)]
    with torch.no_grad():
        parts = [model.pair_logits(params, rows, Pairs(*part)) for part in zip(*both, strict=True)]
    return torch.cat(parts).view(items.shape)
