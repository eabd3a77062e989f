"""Item-kNN against similarities computed from sets of users."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from fedlib.centralized import itemknn
from fedlib.centralized.itemknn import ItemKNN
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems

M, N = 25, 9


@pytest.fixture
def split() -> Split:
    """Random choices among 8 of 9 items; nobody chose the last."""
    users, items = (torch.rand(M, N - 1, generator=torch.Generator().manual_seed(3)) < 0.35).nonzero().T
    log = UserItems.from_pairs(users, items, M)
    nobody = UserItems(torch.zeros_like(log.indptr), log.items[:0])
    ids = [str(i) for i in range(N)]
    data = Dataset("toy", M, N, log, [str(u) for u in range(M)], ids, pd.DataFrame({"title": ids}), "none", log.sha256)
    return Split(data, "full", log, nobody, nobody, None, None, nobody.sha256)


def slow_similarity(split: Split, shrinkage: float) -> list[list[float]]:
    chosen_by = [{u for u in range(M) if i in split.train[u].tolist()} for i in range(N)]

    def similarity(i: int, j: int) -> float:
        norm = math.sqrt(len(chosen_by[i]) * len(chosen_by[j])) + shrinkage
        return len(chosen_by[i] & chosen_by[j]) / norm if i != j and norm else 0.0

    return [[similarity(i, j) for j in range(N)] for i in range(N)]


@pytest.mark.parametrize("shrinkage", [0.0, 2.5])
def test_scores_are_sums_of_similarities(split: Split, shrinkage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itemknn, "_AT_ONCE", 4 * N)  # blocks of four items
    similarity = slow_similarity(split, shrinkage)
    scores = ItemKNN(neighbours=N, shrinkage=shrinkage).fit(split).score(torch.arange(M))
    for u in range(M):
        expected = [sum(similarity[i][j] for j in split.train[u].tolist()) for i in range(N)]
        assert scores[u].tolist() == pytest.approx(expected, abs=1e-6)


def test_an_item_keeps_its_most_similar_neighbours(split: Split) -> None:
    kept = torch.from_numpy(ItemKNN(neighbours=3, shrinkage=1.0).fit(split).similarity.toarray())
    for i, row in enumerate(slow_similarity(split, 1.0)):
        assert kept[:, i].sort(descending=True).values[:3].tolist() == pytest.approx(sorted(row)[::-1][:3], abs=1e-6)
        assert int((kept[:, i] > 0).sum()) <= 3
