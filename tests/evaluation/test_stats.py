"""Intervals over users: known cases, agreement with the normal approximation, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedlib.errors import InputError
from fedlib.evaluation import stats
from fedlib.evaluation.stats import mean_and_spread, paired_bootstrap


def test_two_users_by_hand() -> None:
    """Samples of two from {0, 1} have means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4."""
    wide = paired_bootstrap([1.0, 0.0], [0.0, 0.0], level=0.6)
    narrow = paired_bootstrap([1.0, 0.0], [0.0, 0.0], level=0.4)
    assert (wide.mean_difference, wide.low, wide.high) == (0.5, 0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_pairing_removes_what_users_share() -> None:
    easy = np.random.default_rng(0).normal(size=500)
    interval = paired_bootstrap(easy + 0.1, easy)
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)


def test_the_interval_is_the_normal_one_for_many_users() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(943), generator.random(943)
    interval = paired_bootstrap(a, b, level=0.9)
    se = (a - b).std() / math.sqrt(943)
    assert interval.mean_difference == pytest.approx((a - b).mean())
    assert interval.low == pytest.approx((a - b).mean() - 1.645 * se, abs=0.06 * se)
    assert interval.high == pytest.approx((a - b).mean() + 1.645 * se, abs=0.06 * se)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 experiments: the count of covered truths has standard deviation 5.7 around 160."""
    generator = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        a = generator.exponential(size=150)
        interval = paired_bootstrap(a, np.zeros(150), draws=500, level=0.8, seed=seed)
        covered += interval.low <= 1.0 <= interval.high
    assert 140 <= covered <= 180


def test_the_interval_depends_on_the_seed_and_not_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.arange(50.0), np.sqrt(np.arange(50.0))
    whole = paired_bootstrap(a, b, draws=300)
    monkeypatch.setattr(stats, "_AT_ONCE", 70)
    assert paired_bootstrap(a, b, draws=300) == whole
    assert paired_bootstrap(a, b, draws=300, seed=1) != whole


@pytest.mark.parametrize(
    ("a", "b", "level", "message"),
    [
        ([1.0, 2.0], [1.0], 0.95, "equally many"),
        ([], [], 0.95, "one value a user"),
        ([1.0, math.nan], [1.0, 1.0], 0.95, "finite"),
        ([1.0, 2.0], [1.0, 1.0], 95, "level is 95"),
    ],
)
def test_bad_input_is_refused(a: list[float], b: list[float], level: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_bootstrap(a, b, level=level)


def test_spread_over_seeds() -> None:
    assert mean_and_spread([0.2, 0.4, 0.6]) == pytest.approx((0.4, 0.2))
    mean, spread = mean_and_spread([0.7])
    assert mean == 0.7
    assert math.isnan(spread), "one seed says nothing about spread"
    with pytest.raises(InputError, match="no values"):
        mean_and_spread([])
