"""Evaluating a federated state: every client ranks with the model it would recommend with."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split, UserItems
from fedlib.metrics import Ranking, rank_all, rank_sampled
from fedlib.model import score, score_all
from fedlib.state import State

BLOCK = 64  # clients scored at once: what they read fits a CPU's cache


def rankings(state: State, backbone: Backbone, data: Split) -> dict[str, Ranking]:
    """The ranks of the validation and test items of all users, under the split's protocol.

    "loo99": the held-out item among its 99 fixed negatives. "full" and "ratio80": among all items but the user's
    training items.
    """
    users = torch.arange(data.data.n_users, device=state.device)
    if data.valid_negatives is not None and data.test_negatives is not None:
        candidates = torch.cat(
            [data.valid.items[:, None], data.valid_negatives, data.test.items[:, None], data.test_negatives], dim=1
        ).to(state.device)
        scores = torch.cat([score(state, backbone, part, candidates[part]) for part in users.split(BLOCK)])
        half = 1 + data.valid_negatives.shape[1]
        return {"valid": rank_sampled(scores[:, :half]), "test": rank_sampled(scores[:, half:])}

    def all_scores(part: Tensor) -> Tensor:
        return torch.cat([score_all(state, backbone, users) for users in part.to(state.device).split(BLOCK)])

    # Validation and test items are candidates to each other, so one scoring of all items ranks both.
    users, items = (torch.cat([getattr(log, what) for log in (data.valid, data.test)]) for what in ("users", "items"))
    is_test = (torch.arange(len(users)) >= len(data.valid.items))[torch.argsort(users, stable=True)]
    both = rank_all(all_scores, [data.train], UserItems.from_pairs(users, items, data.data.n_users), k_max=None)
    return {"valid": both.only(~is_test), "test": both.only(is_test)}


def evaluate(state: State, backbone: Backbone, data: Split, ks: tuple[int, ...]) -> dict[str, float]:
    """Metrics of the validation items ("valid HR@10", ...) and the test items ("HR@10", ...).

    "ties" is the share of test items whose score another candidate has too; saturated scores drive it up.
    """
    ranked = rankings(state, backbone, data)
    valid = {f"valid {name}": value for name, value in ranked["valid"].metrics(ks).items()}
    return valid | ranked["test"].metrics(ks) | {"ties": ranked["test"].tied_share}
