"""Robust aggregation: by hand, against numpy, and by what no honest mean may give up."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import trim_mean
from torch import Tensor

from fedlib import InputError, rng
from fedlib.protect import robust
from fedlib.protect.robust import coordinate_median, krum, krum_scores, multi_krum, norm_bound, refuse, trimmed_mean

Rule = Callable[[Tensor], Tensor]
RULES: dict[str, Rule] = {
    "median": coordinate_median,
    "trimmed": partial(trimmed_mean, share=0.3),
    "norm": norm_bound,
    "krum": partial(krum, f=3),
    "multi-krum": partial(multi_krum, f=3, m=5),
}


def stack(k: int = 11, *shape: int, stream: int = 0) -> Tensor:
    """Updates of k clients that scatter around 1, float64."""
    shape = shape or (6,)
    number = torch.arange(k * math.prod(shape))
    return 1 + 0.1 * rng.normal(rng.key(stream, "updates"), number).view(k, *shape)


def test_by_hand() -> None:
    updates = torch.tensor([[1.0, 10.0], [2.0, -5.0], [3.0, 0.0], [100.0, 1.0]])
    assert coordinate_median(updates).tolist() == [2.5, 0.5]
    assert coordinate_median(updates[:3]).tolist() == [2.0, 0.0]
    assert trimmed_mean(updates, 0.25).tolist() == [2.5, 0.5]
    assert trimmed_mean(updates, 0.2).tolist() == pytest.approx([26.5, 1.5]), "0.2 of four clients is nobody"


def test_norm_bound_by_hand() -> None:
    """Norms 5, 10 and 1: at the bound 5 the second is halved; the median norm is 5 as well."""
    updates = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 1.0]])
    for bound in (5.0, None):
        assert norm_bound(updates, bound).tolist() == pytest.approx([2.0, 3.0])
    weights = torch.tensor([1.0, 3.0, 0.0])
    assert norm_bound(updates, 5.0, weights).tolist() == pytest.approx([3.0, 4.0])
    assert norm_bound(torch.zeros(3, 2)).tolist() == [0, 0]


def test_krum_by_hand() -> None:
    """Five numbers and one liar: each looks at its two nearest. Around 1 lie 0 and 2."""
    updates = torch.tensor([[0.0], [1.0], [2.0], [3.5], [50.0]])
    assert krum_scores(updates, 1).tolist() == [5.0, 2.0, 3.25, 8.5, 46.5**2 + 48**2]
    assert krum(updates, 1).tolist() == [1.0]
    assert multi_krum(updates, 1, 2).tolist() == [1.5]


@pytest.mark.parametrize("k", [1, 2, 7, 8])
def test_order_statistics_agree_with_numpy_and_scipy(k: int) -> None:
    updates = stack(k, 3, 4, 5)
    np.testing.assert_allclose(coordinate_median(updates), np.median(updates, axis=0))
    for share in (0.0, 0.1, 0.25, 0.4, 0.49):
        np.testing.assert_allclose(trimmed_mean(updates, share), trim_mean(updates, share, axis=0))


def test_a_share_that_is_a_whole_number_of_clients_counts_as_one() -> None:
    """0.29 of 100 is 28.999999999999996 in floating point."""
    updates = torch.arange(100.0)[:, None].square()
    assert trimmed_mean(updates, 0.29).item() == pytest.approx(updates[29:71].mean().item())


def test_without_outliers_they_are_the_mean() -> None:
    updates = stack()
    mean = updates.mean(0)
    torch.testing.assert_close(trimmed_mean(updates, 0.0), mean)
    torch.testing.assert_close(norm_bound(updates, 1e9), mean)
    torch.testing.assert_close(multi_krum(updates, 0, 11), mean)
    same = updates[:1].expand(11, -1)
    for rule in RULES.values():
        torch.testing.assert_close(rule(same), updates[0])


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_the_clients_does_not_matter(name: str) -> None:
    updates = stack(11, 4, 3)
    shuffled = updates[rng.permutation(11, rng.key(1, "order"))]
    torch.testing.assert_close(RULES[name](shuffled), RULES[name](updates))


@pytest.mark.parametrize("name", ["median", "trimmed", "krum", "multi-krum"])
def test_a_common_shift_and_scale_carries_over(name: str) -> None:
    updates, rule = stack(), RULES[name]
    torch.testing.assert_close(rule(updates + 7.0), rule(updates) + 7.0)
    torch.testing.assert_close(rule(-3 * updates), -3 * rule(updates))


@pytest.mark.parametrize("attack", [1e6, -1e6, 1e30, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["median", "trimmed", "krum", "multi-krum"])
def test_three_liars_of_eleven_do_not_move_the_result_out_of_the_honest_range(name: str, attack: float) -> None:
    updates = stack()
    updates[[2, 5, 9]] = attack
    honest = stack()[[0, 1, 3, 4, 6, 7, 8, 10]]
    result = RULES[name](updates)
    assert (result >= honest.min(0).values).all() and (result <= honest.max(0).values).all()


def test_one_liar_moves_the_mean_and_the_norm_bound_limits_by_how_much() -> None:
    honest, updates = stack(), stack()
    updates[4] = 1e6
    assert (updates.mean(0) - honest.mean(0)).norm() > 1e5
    moved = (norm_bound(updates) - honest.mean(0)).norm()
    assert moved < 2 * honest.norm(dim=1).max() / 11 + 0.1


def test_one_liar_more_than_they_withstand_breaks_them() -> None:
    """Six of eleven for the median, four for a mean trimmed by three; the bounds are sharp."""
    six, four = stack(), stack()
    six[:6], four[:4] = 1e6, 1e6
    assert (coordinate_median(six) == 1e6).all()
    assert (trimmed_mean(four, 0.3) > 1e4).all()
    agreed = stack()
    agreed[:8] = 1e6  # f = 3 was promised; eight who agree are nearest to each other
    assert (krum(agreed, 3) == 1e6).all()


@pytest.mark.parametrize("liars", [4, 6, 10])
def test_liars_on_one_side_move_a_median_to_the_edge_of_the_honest_ones(liars: int) -> None:
    """By hand: 11 honest numbers 0..10 and l liars at 1000 have the middle (10 + l) / 2, which is 10 for l = 10."""
    updates = torch.cat([torch.arange(11.0), torch.full((liars,), 1000.0)])[:, None]
    assert coordinate_median(updates).tolist() == [(10 + liars) / 2]


def test_krum_returns_one_of_the_updates() -> None:
    for stream in range(20):
        updates = stack(9, 4, stream=stream)
        assert any(torch.equal(krum(updates, 3), update) for update in updates)
        torch.testing.assert_close(multi_krum(updates, 3, 1), krum(updates, 3))


def test_krum_tells_apart_updates_that_differ_little_far_from_zero() -> None:
    """Distances by way of inner products cancel; in float32 these would all be noise."""
    far = (1000 + 1e-2 * torch.arange(7)[:, None]).float()
    exact = torch.cdist(far.double(), far.double()).square()
    expected = exact.fill_diagonal_(math.inf).sort(dim=1).values[:, :3].sum(dim=1)
    torch.testing.assert_close(krum_scores(far, 2), expected, rtol=1e-4, atol=1e-9)


def item_rows() -> tuple[Tensor, Tensor]:
    """Item rows (7, 4, 2): item 0 touched by all, 1 by clients 0 to 2, 2 by client 6 alone, 3 by nobody."""
    touched = torch.zeros(7, 4, dtype=torch.bool)
    touched[:, 0], touched[:3, 1], touched[6, 2] = True, True, True
    return stack(7, 4, 2) * touched[:, :, None], touched


def test_a_median_over_all_clients_forgets_items_that_few_touched() -> None:
    updates, touched = item_rows()
    assert (coordinate_median(updates)[1:] == 0).all(), "why the masked form exists"
    masked = coordinate_median(updates, touched)
    for item, clients in enumerate([range(7), range(3), [6]]):
        np.testing.assert_allclose(masked[item], np.median(updates[list(clients), item], axis=0))
    assert (masked[3] == 0).all(), "a row nobody touched stays"


def test_a_masked_trimmed_mean_trims_among_those_who_touched() -> None:
    updates, touched = item_rows()
    masked = trimmed_mean(updates, 0.34, touched)
    np.testing.assert_allclose(masked[0], np.sort(updates[:, 0], axis=0)[2:5].mean(0))
    np.testing.assert_allclose(masked[1], np.median(updates[:3, 1], axis=0))
    np.testing.assert_allclose(masked[2], updates[6, 2])
    updates[0, :2] = math.nan
    assert trimmed_mean(updates, 0.34, touched).isfinite().all(), "a liar's NaN is trimmed like any large number"


def test_with_everything_touched_the_mask_changes_nothing() -> None:
    updates = stack(8, 5, 3)
    everything = torch.ones(8, 5, dtype=torch.bool)
    assert torch.equal(coordinate_median(updates, everything), coordinate_median(updates))
    assert torch.equal(trimmed_mean(updates, 0.2, everything), trimmed_mean(updates, 0.2))


def test_working_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    updates, touched = item_rows()
    whole = coordinate_median(updates, touched), trimmed_mean(updates, 0.2), krum_scores(updates, 2)
    monkeypatch.setattr(robust, "BLOCK", 15)
    parts = coordinate_median(updates, touched), trimmed_mean(updates, 0.2), krum_scores(updates, 2)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_updates_are_refused_with_a_reason() -> None:
    shapes = {"item": (-1, 3), "w": (2,)}
    good = {"item": torch.ones(5, 3), "w": torch.zeros(2)}
    assert refuse(good, shapes) is None
    assert refuse(good, shapes, bound=3.9) is None
    assert refuse(good, shapes, bound=3.8) == "The update's norm is 3.87, above 3.8."
    assert refuse({"w": torch.zeros(2)}, shapes) == "The update holds w, not item, w."
    assert refuse({}, shapes) == "The update holds nothing, not item, w."
    for wrong in (torch.zeros(5, 4), torch.zeros(3), torch.zeros(5, 3, 1)):
        assert "not (-1, 3)" in str(refuse(good | {"item": wrong}, shapes))
    broken = good | {"w": torch.tensor([math.nan, -math.inf])}
    assert refuse(broken, shapes) == "w holds 2 numbers that are not finite."
    huge = good | {"w": torch.full((2,), 3e38)}
    assert refuse(huge, shapes, bound=10) == "The update's norm is 4.24e+38, above 10.", "its square is beyond float32"


def test_arguments_that_make_no_sense_are_refused() -> None:
    for share in (-0.1, 0.5, math.nan):
        with pytest.raises(InputError, match=r"lies in \[0, 0\.5\)"):
            trimmed_mean(stack(), share)
    with pytest.raises(InputError, match="above 0"):
        norm_bound(stack(), 0.0)
    with pytest.raises(InputError, match="8 clients are too few for f = 3"):
        krum(stack(8), 3)
    for m in (0, 9):
        with pytest.raises(InputError, match="Multi-Krum cannot average"):
            multi_krum(stack(11), 3, m)
    for rule in (coordinate_median, norm_bound):
        with pytest.raises(InputError, match="no update"):
            rule(torch.zeros(0, 3))
