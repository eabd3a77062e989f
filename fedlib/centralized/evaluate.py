"""Evaluating a ranker that sees everybody's data, under the same protocols as the federated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from fedlib.data.interactions import Split
from fedlib.evaluation.metrics import Ranking, rank_all, rank_sampled


class Scorer(Protocol):
    """What can rank: logits of users (B,) for items (B, C), or for all n items if ``items`` is None, (B, n)."""

    def score(self, users: Tensor, items: Tensor | None = None) -> Tensor: ...


def evaluate(
    scorer: Scorer,
    split: Split,
    which: Literal["valid", "test"] = "test",
    *,
    ks: Sequence[int] = (5, 10, 20),
    memory_mb: float = 256,
) -> Ranking:
    """Rank the held-out items of ``which`` as the split's protocol says.

    With evaluation negatives ("loo99"), each held-out item among its user's; without ("full", "ratio80"), among all
    items but the user's training items, so that validation items stay candidates at test. Ranks above ``max(ks)``
    are infinite in the second case.
    """
    held_out = split.valid if which == "valid" else split.test
    negatives = split.valid_negatives if which == "valid" else split.test_negatives
    if negatives is None:
        return rank_all(scorer.score, [split.train], held_out, k_max=max(ks), memory_mb=memory_mb)
    candidates = torch.cat([held_out.items[:, None], negatives[held_out.users]], dim=1)
    rows = max(1, int(memory_mb * 2**20) // (8 * max(candidates.shape[1], split.data.n_items)))
    blocks = [
        rank_sampled(scorer.score(users, items), users, split.data.n_users)
        for users, items in zip(held_out.users.split(rows), candidates.split(rows), strict=True)
    ]
    return Ranking.concatenate(blocks)
