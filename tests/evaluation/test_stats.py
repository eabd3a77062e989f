"""Intervals over users: known cases, agreement with the normal approximation, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedlib.errors import InputError
from fedlib.evaluation import stats
from fedlib.evaluation.stats import crossed_bootstrap, mean_and_spread, paired_bootstrap


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


def test_with_one_seed_the_interval_is_that_over_users() -> None:
    a, b = np.random.default_rng(3).random((2, 300))
    one, other = crossed_bootstrap([a - b], draws=8000), paired_bootstrap(a, b, draws=8000)
    assert one.mean_difference == pytest.approx(other.mean_difference)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_seeds_that_move_all_users_alike_widen_the_interval() -> None:
    """Two seeds, no user differs: two seeds drawn from {0, 1} have means 0, 1/2, 1 in 1/4, 1/2, 1/4 of the draws."""
    d = np.stack([np.zeros(200), np.ones(200)])
    wide, narrow = (crossed_bootstrap(d, level=level) for level in (0.6, 0.4))
    assert (wide.low, wide.high) == pytest.approx((0, 1)) and (narrow.low, narrow.high) == pytest.approx((0.5, 0.5))


def test_an_interval_over_seeds_and_users_covers_the_truth() -> None:
    """A seed's effect, a user's and noise, 8 seeds: over users alone 80 % intervals would hold it in a third."""
    generator, covered, narrow = np.random.default_rng(4), 0, 0
    for seed in range(200):
        d = generator.normal(size=(8, 1)) * 0.2 + generator.normal(size=150) + generator.normal(size=(8, 150))
        found = crossed_bootstrap(d, draws=500, level=0.8, seed=seed)
        covered += found.low <= 0 <= found.high
        alone = paired_bootstrap(d.mean(0), np.zeros(150), draws=500, level=0.8, seed=seed)
        narrow += alone.low <= 0 <= alone.high
    assert 140 <= covered <= 185 and narrow < covered


@pytest.mark.parametrize("table", [[0.5, 1.0], [[]], [[math.nan, 1.0]]])
def test_what_is_no_table_of_seeds_and_users_is_refused(table) -> None:
    with pytest.raises(InputError, match="one row a seed and one column a user"):
        crossed_bootstrap(table)


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
