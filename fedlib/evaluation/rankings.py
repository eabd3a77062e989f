"""Evaluating a federated state: every client ranks with the model it would recommend with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.engine.reading import Encoded, score, score_all
from fedlib.engine.state import State
from fedlib.evaluation.metrics import Ranking, rank_all, rank_sampled
from fedlib.stores.clients import store_scorer
from fedlib.stores.users import store_users_scorer

BLOCK = 64  # clients scored at once: what they read fits a CPU's cache
Scorer = Callable[[Tensor, Tensor | None], Tensor]


def rankings(state: State, model: Backbone, data: Split) -> dict[str, Ranking]:
    """The ranks of the validation and test items of all users, under the split's protocol.

    "loo99": the held-out item among its 99 fixed negatives. "full" and "ratio80": among all items but the user's
    training items and those the user has in the global log.
    """
    rank = _rank_among_all if data.test_negatives is None else _rank_among_sampled
    held_out = data.valid.counts + data.test.counts
    parts = [
        rank(data, users, scorer(state, model, data, store))
        for store, users in enumerate(_groups(data))
        if bool((held_out[users] > 0).any())
    ]
    return {which: Ranking.concatenate([part[which] for part in parts]) for which in ("valid", "test")}


def exposure(state: State, model: Backbone, data: Split, k: int) -> Tensor:
    """How many users get each item among the ``k`` best of those they have not trained on, (n,)."""
    shown = torch.zeros(data.data.n_items, dtype=torch.int64)
    for store, users in enumerate(_groups(data)):
        score_items = scorer(state, model, data, store)
        for part in users.split(BLOCK):
            scores = score_items(part, None).cpu()
            seen = data.train.of_users(part)
            scores[seen.users, seen.items] = -torch.inf
            shown += torch.bincount(scores.topk(k).indices.flatten(), minlength=len(shown))
    return shown


def scorer(state: State, model: Backbone, data: Split, store: int) -> Scorer:
    """Logits of users (B,) for items (B, C) or, without, for all n items, (B, n).

    Where the clients are stores, the users are those of ``store``.
    """
    if model.clients_are_stores:
        return store_scorer(state, model, data, store)
    if data.stores is not None:
        return store_users_scorer(state, model, data, store)
    device = state.device
    own, encoded = data.train.to(device), Encoded.of(state, model)

    def user_scores(users: Tensor, items: Tensor | None = None) -> Tensor:
        parts = users.to(device).split(BLOCK)
        if items is None:
            return torch.cat([score_all(state, model, part, own, encoded=encoded) for part in parts])
        blocks = zip(parts, items.to(device).split(BLOCK), strict=True)
        return torch.cat([score(state, model, *block, own, encoded=encoded) for block in blocks])

    return user_scores


def _groups(data: Split) -> list[Tensor]:
    if data.stores is None:
        return [torch.arange(data.data.n_users)]
    # Store after store, so that one store's item vectors are held at a time.
    return [data.stores.users(store) for store in range(data.stores.n_stores)]


def _rank_among_sampled(data: Split, users: Tensor, score: Scorer) -> dict[str, Ranking]:
    assert data.valid_negatives is not None and data.test_negatives is not None
    candidates = torch.cat(
        [data.valid.items[:, None], data.valid_negatives, data.test.items[:, None], data.test_negatives], dim=1
    )
    scores = score(users, candidates[users])
    half = 1 + data.valid_negatives.shape[1]
    halves = {"valid": scores[:, :half], "test": scores[:, half:]}
    return {which: rank_sampled(part, users, data.data.n_users) for which, part in halves.items()}


def _rank_among_all(data: Split, users: Tensor, score: Scorer) -> dict[str, Ranking]:
    # Validation and test items are candidates to each other, so one scoring of all items ranks both.
    m = data.data.n_users
    owners, items = (torch.cat([getattr(log, what) for log in (data.valid, data.test)]) for what in ("users", "items"))
    origin = UserItems.from_pairs(owners, torch.arange(len(owners)), m).of_users(users).items
    is_test = origin >= len(data.valid.items)
    seen = [data.train] if data.global_log is None else [data.train, data.global_log]
    both = rank_all(lambda part: score(part, None), seen, UserItems.from_pairs(owners, items, m), users=users)
    return {"valid": both.only(~is_test), "test": both.only(is_test)}


def evaluate(state: State, model: Backbone, data: Split, ks: tuple[int, ...]) -> dict[str, float]:
    """Metrics of the validation items ("valid HR@10", ...), where there are any, and the test items ("HR@10", ...).

    "ties" is the share of test items whose score another candidate has too; saturated scores drive it up.
    """
    ranked = rankings(state, model, data)
    valid = ranked["valid"].metrics(ks) if len(data.valid.items) else {}
    named = {f"valid {name}": value for name, value in valid.items()}
    return named | ranked["test"].metrics(ks) | {"ties": ranked["test"].tied_share}


def timed_evaluation(state: State, model: Backbone, data: Split, ks: tuple[int, ...]) -> dict[str, float]:
    """All metrics of the state, and the seconds they took."""
    start = time.perf_counter()
    metrics = evaluate(state, model, data, ks)
    return metrics | {"seconds_evaluate": time.perf_counter() - start}


def is_best(row: dict[str, Any], history: list[dict[str, Any]], metric: str) -> bool:
    """Whether a round is better than all before it that were evaluated."""
    return all(row[metric] > earlier[metric] for earlier in history if not math.isnan(earlier.get(metric, math.nan)))
