"""Metrics against plain loops, against numbers worked out by hand, and against what must hold for any ranking."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fedlib.data.log import UserItems
from fedlib.errors import InputError
from fedlib.evaluation.metrics import (
    Ranking,
    expected_rank,
    hit_ratio,
    ideal_dcg,
    ndcg,
    rank_all,
    rank_sampled,
)

examples = settings(max_examples=60, deadline=None)  # a deadline measures the machine's other work
NAMES = ("HR", "NDCG", "Precision", "Recall", "NDCG*")
INF = float("inf")


# ---- The oracle: one user, plain Python, written from the definitions. ----


def slow_rank(item: int, scores: list[float], candidates: list[int]) -> float:
    higher = sum(scores[c] > scores[item] for c in candidates if c != item)
    same = sum(scores[c] == scores[item] for c in candidates if c != item)
    return 1 + higher + same / 2


def slow_metrics(ranks: list[float], k: int) -> dict[str, float]:
    """One user's metrics from the ranks of its relevant items."""
    top = sorted(ranks)[:k]
    hits = [r for r in top if r <= k]
    gain = sum(1 / math.log2(1 + r) for r in hits)
    ideal = sum(1 / math.log2(1 + i) for i in range(1, min(k, len(ranks)) + 1))
    retrieved = sum(1 / math.log2(1 + i) for i in range(1, len(hits) + 1))
    return {
        "HR": float(bool(hits)),
        "NDCG": gain / ideal,
        "Precision": len(hits) / k,
        "Recall": len(hits) / len(ranks),
        "NDCG*": gain / retrieved if hits else 0.0,
    }


def log(lists: list[list[int]]) -> UserItems:
    users = torch.tensor([u for u, items in enumerate(lists) for _ in items], dtype=torch.int64)
    items = torch.tensor([i for items in lists for i in items], dtype=torch.int64)
    return UserItems.from_pairs(users, items, len(lists))


def same_up_to(k_max: int | None, ranks: list[float]) -> list[float]:
    return [r if k_max is None or r <= k_max else INF for r in ranks]


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Scores with many ties, users with and without held-out items, masked items; m < n and m > n."""
    m, n = draw(st.integers(1, 7)), draw(st.integers(2, 12))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    scores = draw(st.lists(st.lists(st.integers(-levels, levels), min_size=n, max_size=n), min_size=m, max_size=m))
    relevant, first, second = [], [], []
    for _ in range(m):
        order = draw(st.permutations(range(n)))
        a, b, c = sorted(draw(st.lists(st.integers(0, n), min_size=3, max_size=3)))
        relevant.append(order[:a])
        first.append(order[a:b])
        second.append(order[b:c])
    relevant[0] = relevant[0] or [next(i for i in range(n) if i not in first[0] + second[0] or i == n - 1)]
    first[0] = [i for i in first[0] if i not in relevant[0]]
    second[0] = [i for i in second[0] if i not in relevant[0]]
    k_max = draw(st.sampled_from([None, 1, 2, 3, 5, 50]))
    users_at_once = draw(st.integers(1, 3))
    return {"scores": scores, "relevant": relevant, "exclude": [first, second], "k_max": k_max, "rows": users_at_once}


def rank(problem: dict[str, Any]) -> Ranking:
    scores = torch.tensor(problem["scores"], dtype=torch.float32) / 8
    memory = problem["rows"] * 3 * 4 * scores.shape[1] / 2**20
    exclude = [log(lists) for lists in problem["exclude"]]
    return rank_all(lambda u: scores[u], exclude, log(problem["relevant"]), k_max=problem["k_max"], memory_mb=memory)


def slow_ranks(problem: dict[str, Any]) -> list[list[float]]:
    """The ranks of each user's relevant items, in order."""
    masked = [set(a) | set(b) for a, b in zip(*problem["exclude"], strict=True)]
    return [
        [slow_rank(item, scores, [c for c in range(len(scores)) if c not in out]) for item in items]
        for scores, items, out in zip(problem["scores"], problem["relevant"], masked, strict=True)
    ]


# ---- Protocol B ----


@examples
@given(problems())
def test_full_ranking_and_all_metrics_are_those_of_plain_loops(problem: dict[str, Any]) -> None:
    result, expected = rank(problem), slow_ranks(problem)
    flat = same_up_to(problem["k_max"], [r for user in expected for r in user])
    assert result.ranks.tolist() == flat
    assert result.users.tolist() == [u for u, items in enumerate(problem["relevant"]) for _ in items]
    assert result.n_relevant.tolist() == [len(items) for items in problem["relevant"]]

    ks = [k for k in (1, 2, 3, 5) if problem["k_max"] is None or k <= problem["k_max"]]
    by_user = {
        u: {f"{name}@{k}": v for k in ks for name, v in slow_metrics(ranks, k).items()}
        for u, ranks in enumerate(expected)
        if ranks
    }
    table = result.per_user(ks)
    assert table.index.tolist() == list(by_user)
    for name in table:
        assert table[name].tolist() == pytest.approx([values[str(name)] for values in by_user.values()], abs=1e-12)
        mean = sum(values[str(name)] for values in by_user.values()) / len(by_user)
        assert result.metrics(ks)[str(name)] == pytest.approx(mean, abs=1e-12)


@examples
@given(problems())
def test_every_metric_lies_between_zero_and_one(problem: dict[str, Any]) -> None:
    """Three relevant items tied for the first three places all have rank 2, and a list of two places holds two."""
    assert rank({**problem, "k_max": None}).per_user((1, 2, 3, 5)).stack().between(0, 1 + 1e-12).all()


@examples
@given(problems(), st.randoms(use_true_random=False))
def test_numbering_users_and_items_differently_changes_nothing(problem: dict[str, Any], random: Any) -> None:
    m, n = len(problem["scores"]), len(problem["scores"][0])
    user, item = random.sample(range(m), m), random.sample(range(n), n)

    def moved(lists: list[list[int]]) -> list[list[int]]:
        return [[item.index(i) for i in lists[u]] for u in user]

    other = {
        **problem,
        "scores": [[problem["scores"][u][i] for i in item] for u in user],
        "relevant": moved(problem["relevant"]),
        "exclude": [moved(lists) for lists in problem["exclude"]],
    }
    assert rank(other).metrics((1,)) == pytest.approx(rank(problem).metrics((1,)), abs=1e-12)
    assert sorted(rank(other).ranks.tolist()) == sorted(rank(problem).ranks.tolist())


@examples
@given(problems(), st.integers(-9, 9))
def test_another_irrelevant_item_never_improves_anything(problem: dict[str, Any], score: int) -> None:
    """NGCF's NDCG is left out: its ideal shrinks with the hits, so a user who loses the worse of two hits gains."""
    problem = {**problem, "k_max": None}
    before, after = rank(problem), rank({**problem, "scores": [[*row, score] for row in problem["scores"]]})
    assert bool((after.ranks >= before.ranks).all())
    names = [f"{name}@{k}" for name in ("HR", "NDCG", "Precision", "Recall") for k in (1, 2, 5)]
    assert (after.per_user((1, 2, 5))[names] <= before.per_user((1, 2, 5))[names] + 1e-12).all(axis=None)


def test_ties_at_the_threshold_of_k_max_are_counted_beyond_it() -> None:
    """Nine items tie with the relevant one for places 2 to 11: its rank is 6.5, whatever part of them top-k returns."""
    scores = torch.zeros(1, 60)
    scores[0, 30], scores[0, :10] = 3.0, 1.0
    for k_max, expected in [(2, INF), (6, INF), (7, 6.5), (20, 6.5), (None, 6.5)]:
        result = rank_all(lambda u: scores[u], [], log([[9]]), k_max=k_max)
        assert result.ranks.tolist() == [expected]
        assert result.tied_share == (0.0 if expected == INF else 1.0)


def test_memory_bounds_the_block_of_scores_and_results_do_not_depend_on_it() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 40, generator=generator)
    held_out = log([[u % 40] for u in range(50)])
    sizes: list[int] = []

    def score_block(users: Tensor) -> Tensor:
        sizes.append(len(users))
        return scores[users]

    whole = rank_all(score_block, [], held_out)
    assert sizes == [1, 50]
    sizes.clear()
    parts = rank_all(score_block, [], held_out, memory_mb=7 * 40 * 4 * 3 / 2**20)
    assert max(sizes) == 7
    assert torch.equal(parts.ranks, whole.ranks)
    with pytest.raises(InputError, match=r"memory_mb=1e-05 is too little for 40 items: give at least 0.00046"):
        rank_all(score_block, [], held_out, memory_mb=1e-5)


def test_scores_that_are_a_view_of_the_scorers_own_numbers_stay_as_they_are() -> None:
    counts = torch.tensor([3.0, 2.0, 1.0])
    result = rank_all(lambda u: counts.expand(len(u), -1), [log([[0], [1]])], log([[1], [2]]))
    assert result.ranks.tolist() == [1.0, 2.0]
    assert counts.tolist() == [3.0, 2.0, 1.0]


def test_a_choice_of_users_is_ranked_alone_and_users_without_items_are_not_scored() -> None:
    asked: list[int] = []

    def score_block(users: Tensor) -> Tensor:
        asked.extend(users.tolist())
        return torch.arange(4.0).expand(len(users), -1)

    result = rank_all(score_block, [], log([[0], [], [2], [3]]), users=torch.tensor([3, 1, 2]))
    assert set(asked) == {3, 2}
    assert dict(zip(result.users.tolist(), result.ranks.tolist(), strict=True)) == {3: 1.0, 2: 2.0}
    assert result.per_user((1,))["HR@1"].to_dict() == {2: 0.0, 3: 1.0}


# ---- Protocol A ----


@examples
@given(st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=8), st.integers(1, 8))
def test_sampled_ranking_is_that_of_plain_loops_whole_or_in_blocks(rows: list[list[int]], block: int) -> None:
    scores = torch.tensor(rows, dtype=torch.float64)
    expected = [slow_rank(0, [float(s) for s in row], list(range(6))) for row in rows]
    result = rank_sampled(scores)
    assert result.ranks.tolist() == expected
    assert result.tied_share == pytest.approx(sum(row.count(row[0]) > 1 for row in rows) / len(rows))
    users = torch.arange(len(rows))
    parts = [rank_sampled(scores[part], part, len(rows)) for part in users.split(block)]
    assert_close(Ranking.concatenate(parts).metrics((1, 3)), result.metrics((1, 3)))
    by_hand = [slow_metrics([r], 3) for r in expected]
    for name in NAMES:
        assert result.per_user((3,))[f"{name}@3"].tolist() == pytest.approx([values[name] for values in by_hand])


ranks_of_users = st.lists(st.integers(2, 200).map(lambda r: r / 2), min_size=1, max_size=20)


@examples
@given(ranks_of_users, st.integers(1, 60), st.integers(1, 60))
def test_hit_ratio_and_ndcg_of_one_item_bound_each_other(ranks: list[float], k1: int, k2: int) -> None:
    """What any table of HR and NDCG must obey; it has found misprints in published ones."""
    k1, k2 = min(k1, k2), max(k1, k2) + 1
    one_each = Ranking(torch.tensor(ranks).double(), torch.arange(len(ranks)), torch.zeros(len(ranks)) > 0, len(ranks))
    found = one_each.metrics((k1, k2))
    h1, h2, n1, n2 = found[f"HR@{k1}"], found[f"HR@{k2}"], found[f"NDCG@{k1}"], found[f"NDCG@{k2}"]
    assert h1 <= h2
    assert n1 <= n2 + 1e-12
    for h, n, k in [(h1, n1, k1), (h2, n2, k2)]:
        assert h / math.log2(k + 1) - 1e-12 <= n <= h + 1e-12
        assert found[f"Recall@{k}"] == h
        assert found[f"NDCG*@{k}"] == pytest.approx(n)
    # With half ranks the first rank beyond k1 is k1 + 1/2, hence 3/2 where whole ranks have 2.
    assert (h2 - h1) / math.log2(k2 + 1) - 1e-12 <= n2 - n1 <= (h2 - h1) / math.log2(k1 + 1.5) + 1e-12


# ---- Known cases ----


def test_metrics_of_two_users_by_hand() -> None:
    """User 0: ranks 1 and 4 of three relevant items (the third beyond reach); user 2: its one item at rank 3."""
    result = Ranking(
        torch.tensor([4.0, 1.0, 50.0, 3.0]), torch.tensor([0, 0, 0, 2]), torch.tensor([False, True, False, False]), 3
    )
    table = result.per_user((5,))
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    gain = 1 + 1 / math.log2(5)
    assert table.index.tolist() == [0, 2]
    assert table.index.name == "user"
    assert table["HR@5"].tolist() == [1.0, 1.0]
    assert table["Precision@5"].tolist() == pytest.approx([2 / 5, 1 / 5])
    assert table["Recall@5"].tolist() == pytest.approx([2 / 3, 1.0])
    assert table["NDCG@5"].tolist() == pytest.approx([gain / ideal, 0.5])
    assert table["NDCG*@5"].tolist() == pytest.approx([gain / (1 + 1 / math.log2(3)), 0.5])
    assert result.tied_share == 0.25


def test_chance_level_of_99_negatives() -> None:
    """A uniform rank among 100 gives HR@K = K/100 and the NDCG of a random list."""
    uniform = Ranking(torch.arange(1.0, 101), torch.arange(100), torch.zeros(100) > 0, 100).metrics((5, 10, 20))
    assert [uniform[f"HR@{k}"] for k in (5, 10, 20)] == pytest.approx([0.05, 0.10, 0.20])
    assert [uniform[f"NDCG@{k}"] for k in (5, 10, 20)] == pytest.approx([0.0295, 0.0454, 0.0704], abs=5e-5)


def test_a_constant_scorer_is_ranked_in_the_middle() -> None:
    assert expected_rank(torch.zeros(1), torch.zeros(1, 99)).tolist() == [50.5]


def test_elementary_formulas() -> None:
    ranks = torch.tensor([1.0, 3.0, 3.5, INF], dtype=torch.float64)
    assert hit_ratio(ranks, 3).tolist() == [1, 1, 0, 0]
    assert ndcg(ranks, 3).tolist() == [1, 0.5, 0, 0]
    assert ideal_dcg(torch.tensor([3, 0, 1])).tolist() == pytest.approx([1 + 1 / math.log2(3) + 0.5, 0, 1])


# ---- Bad input ----


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = torch.zeros(2, 5)
    scores[1, 3] = bad
    with pytest.raises(InputError, match="scores must be finite"):
        rank_sampled(scores)
    with pytest.raises(InputError, match="scores must be finite"):
        rank_all(lambda u: scores[u], [], log([[0], [0]]))


def test_what_cannot_be_ranked_is_named() -> None:
    scores = torch.zeros(2, 5)
    with pytest.raises(InputError, match="item 3 of user 1 is to be ranked and excluded"):
        rank_all(lambda u: scores[u], [log([[], [2, 3]])], log([[0], [3]]))
    with pytest.raises(InputError, match="scores cover 5 items, but item 7"):
        rank_all(lambda u: scores[u], [log([[], [7]])], log([[0], [3]]))
    with pytest.raises(InputError, match="no user has a held-out item"):
        rank_all(lambda u: scores[u], [], log([[], []]))
    with pytest.raises(InputError, match="no user has a held-out item"):
        Ranking(torch.zeros(0), torch.zeros(0).long(), torch.zeros(0) > 0, 3).metrics()


@pytest.mark.parametrize("k", [0, 21])
def test_metrics_beyond_what_was_ranked_are_refused(k: int) -> None:
    result = rank_all(lambda u: torch.arange(100.0).expand(len(u), -1), [], log([[99]]), k_max=20)
    with pytest.raises(InputError, match=f"K = {k} were asked for, but K must be from 1 to 20"):
        result.metrics((10, k))
