"""Epsilon: published figures, closed forms, and bounds from both sides where nobody publishes any."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

from fedlib import InputError
from fedlib.protect.accounting import ORDERS, calibrate, epsilon, fixed_size_rdp, gaussian_rdp, zcdp_epsilon

DELTA = 1e-5

# dp-accounting 0.6.0 (Google) at delta 1e-5: rate, rounds, noise multiplier, by Renyi bounds, by loss distributions.
GOLDEN = [
    (0.1, 200, 1, 11.063, 9.971),
    (0.1, 200, 2, 3.680, 3.360),
    (0.1, 200, 5, 1.203, 1.098),
    (0.1, 100, 1, 7.904, 7.047),
    (1, 100, 2, 35.082, 33.104),
    (1, 100, 5, 10.726, 9.997),
]


@pytest.fixture(scope="module")
def opacus() -> None:
    pytest.importorskip("opacus", reason="the privacy extra is not installed")


@pytest.mark.usefixtures("opacus")
@pytest.mark.parametrize(("rate", "rounds", "z", "rdp", "pld"), GOLDEN)
def test_golden_figures(rate: float, rounds: int, z: float, rdp: float, pld: float) -> None:
    for sampling in ["poisson"] if rate < 1 else ["poisson", "all"]:
        assert epsilon(z, rate, rounds, DELTA, sampling) == pytest.approx(rdp, rel=0.01)
        assert epsilon(z, rate, rounds, DELTA, sampling, "prv") == pytest.approx(pld, rel=0.01)


@pytest.mark.parametrize(("rounds", "z", "golden"), [(100, 2, 36.493), (100, 5, 11.597)])
def test_golden_figures_of_zcdp(rounds: int, z: float, golden: float) -> None:
    assert zcdp_epsilon(z, rounds, DELTA) == pytest.approx(golden, abs=5e-4)
    assert epsilon(z, 1, rounds, DELTA, "all", "prv") < epsilon(z, 1, rounds, DELTA, "all") < golden


def test_one_gaussian_release_of_epsilon_one() -> None:
    """The multiplier at which the best Renyi bound is exactly (1, 1e-6), from the tests of dp-accounting."""
    assert epsilon(4.530877117, 1, 1, 1e-6, "all") == pytest.approx(1, rel=1e-4)


@pytest.mark.usefixtures("opacus")
def test_poisson_sampling_of_everybody_is_the_gaussian_mechanism() -> None:
    from opacus.accountants.analysis.rdp import compute_rdp

    assert np.allclose(compute_rdp(q=1.0, noise_multiplier=3.0, steps=1, orders=ORDERS.tolist()), gaussian_rdp(3))


def mixture_rdp(p: tuple[float, float], q: tuple[float, float], rate: float, z: float, alpha: np.ndarray) -> np.ndarray:
    """Renyi divergence of two mixtures (1 - rate) N(a, z^2) + rate N(b, z^2), by a sum over a fine grid."""
    x = np.linspace(-1, 1, 200_001) * (40 + 10 * z)  # at order 12 the mass lies about 24 from the centre
    kernel = [[-((x - centre) ** 2) / (2 * z * z) for centre in pair] for pair in (p, q)]
    log_p, log_q = (np.logaddexp(math.log1p(-rate) + a, math.log(rate) + b) for a, b in kernel)
    unit = math.log(x[1] - x[0]) - math.log(z * math.sqrt(2 * math.pi))
    return np.array([(logsumexp(a * log_p + (1 - a) * log_q) + unit) / (a - 1) for a in alpha])


def general_bound(rate: float, z: float, alpha: int) -> float:
    """Wang, Balle and Kasiviswanathan, AISTATS 2019, Theorem 9, for a mechanism without pure epsilon; 2/z apart."""
    rho = 2 / z**2  # at order one
    j = np.arange(2, alpha + 1)
    choose = gammaln(alpha + 1) - gammaln(j + 1) - gammaln(alpha - j + 1)
    factor = math.log(2) + (j - 1) * j * rho
    factor[0] = min(math.log(4) + math.log(math.expm1(2 * rho)), math.log(2) + 2 * rho)
    return float(np.logaddexp(0, logsumexp(choose + j * math.log(rate) + factor)) / (alpha - 1))


CASES = [(0.01, 1.0), (0.1, 2.0), (0.1, 10.0), (0.5, 4.0), (0.9, 3.0)]


@pytest.mark.parametrize(("rate", "z"), CASES)
def test_fixed_size_bound_is_above_what_neighbours_give_away(rate: float, z: float) -> None:
    """Others' sum at o while a client is drawn or not: its data +1 or -1 in one world and the other."""
    some = np.flatnonzero(ORDERS <= 12)[::5]
    bound = fixed_size_rdp(z, rate)[some]
    for other in (-1.0, -0.5, 0.0, 1.0):
        for mine, instead in ((1.0, -1.0), (-1.0, 1.0)):
            actual = mixture_rdp((other, mine), (other, instead), rate, z, ORDERS[some])
            assert (actual <= bound * (1 + 1e-6)).all()


@pytest.mark.parametrize(("rate", "z"), CASES)
def test_fixed_size_bound_is_below_the_bound_for_any_mechanism_and_the_one_without_sampling(
    rate: float, z: float
) -> None:
    ours, plain = fixed_size_rdp(z, rate), gaussian_rdp(z / 2)
    assert (ours < plain).all()
    whole = [(place, int(alpha)) for place, alpha in enumerate(ORDERS) if alpha.is_integer()]
    assert all(ours[place] < general_bound(rate, z, alpha) for place, alpha in whole)


@pytest.mark.parametrize("z", [1e-3, 0.1, 100.0, 1e6])
def test_fixed_size_bound_at_extreme_settings(z: float) -> None:
    """No overflow, growing with the order as Renyi divergences do, and never above the bound without sampling."""
    for rate in (1e-6, 0.1, 1 - 1e-6):
        bound = fixed_size_rdp(z, rate)
        assert np.isfinite(bound).all() and (bound > 0).all() and (np.diff(bound) > 0).all()
        assert (bound < gaussian_rdp(z / 2) * (1 + 1e-5)).all()


def test_fixed_size_bound_without_sampling_is_the_gaussian_mechanism_of_twice_the_sensitivity() -> None:
    """Replacing a client moves the sum by 2S. Just below q = 1 the integral must arrive there by itself."""
    assert np.array_equal(fixed_size_rdp(3.0, 1.0), 4 * gaussian_rdp(3.0))
    for z in (0.5, 3.0, 50.0):
        assert np.allclose(fixed_size_rdp(z, 1 - 1e-12), 4 * gaussian_rdp(z), rtol=1e-5)


@pytest.mark.usefixtures("opacus")
def test_fixed_size_epsilon_is_above_what_is_known_to_be_spent() -> None:
    """1.9931 is what the Fourier accountant of Koskela et al. gives for two of these neighbours, in its example.

    Poisson sampling at half the noise is another pair of neighbours: others at -1, where the client adds 2.
    """
    ours = epsilon(4, 0.01, 10_000, DELTA, "fixed")
    assert ours > 1.9931
    assert epsilon(2, 0.01, 10_000, DELTA, "poisson") < ours < 1.3 * epsilon(2, 0.01, 10_000, DELTA, "poisson")


@pytest.mark.usefixtures("opacus")
@pytest.mark.parametrize(("sampling", "rate"), [("poisson", 0.1), ("fixed", 0.1), ("all", 1)])
def test_more_noise_less_data_and_fewer_rounds_spend_less(sampling: str, rate: float) -> None:
    base = epsilon(2, rate, 50, DELTA, sampling)
    assert epsilon(2.1, rate, 50, DELTA, sampling) < base < epsilon(2, rate, 51, DELTA, sampling)
    assert epsilon(2, rate, 50, 1e-4, sampling) < base
    assert epsilon(2, rate, 0, DELTA, sampling) == 0
    assert rate == 1 or base < epsilon(2, 2 * rate, 50, DELTA, sampling)


@pytest.mark.usefixtures("opacus")
@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_epsilon_over_a_wide_range_of_settings(accountant: str) -> None:
    """No warning escapes (warnings are errors), no figure is negative or not finite, and none exceeds q = 1."""
    for rate, z, rounds in [(1e-3, 0.8, 1000), (0.1, 0.5, 100), (0.1, 50, 100), (0.5, 1, 10), (0.99, 300, 10)]:
        figure = epsilon(z, rate, rounds, DELTA, "poisson", accountant)
        assert 0 <= figure <= epsilon(z, 1, rounds, DELTA, "all", accountant) * 1.01 + 1e-3


@pytest.mark.usefixtures("opacus")
@pytest.mark.parametrize("target", [0.5, 8.0, 60.0])
@pytest.mark.parametrize(
    ("sampling", "rate", "accountant"),
    [("poisson", 0.1, "rdp"), ("fixed", 0.1, "rdp"), ("all", 1, "rdp"), ("all", 1, "prv")],
)
def test_calibration_meets_its_target(sampling: str, rate: float, accountant: str, target: float) -> None:
    z = calibrate(target, DELTA, rate, 100, sampling, accountant)
    assert 0.99 * target <= epsilon(z, rate, 100, DELTA, sampling, accountant) <= target


@pytest.mark.usefixtures("opacus")
def test_calibration_agrees_with_opacus() -> None:
    from opacus.accountants.utils import get_noise_multiplier

    theirs = get_noise_multiplier(
        target_epsilon=2.0, target_delta=DELTA, sample_rate=0.1, steps=100, alphas=ORDERS.tolist()
    )
    assert calibrate(2.0, DELTA, 0.1, 100) == pytest.approx(theirs, rel=0.01)
    z = calibrate(2.0, DELTA, 0.1, 100, accountant="prv")
    assert z < theirs and 1.98 <= epsilon(z, 0.1, 100, DELTA, accountant="prv") <= 2.0


def test_without_opacus_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(InputError, match=r"fedlib\[privacy\]"):
        epsilon(1.2345, 0.1, 10, DELTA)
    assert epsilon(2, 0.1, 10, DELTA, "fixed") > epsilon(2, 1, 10, DELTA, "all", "prv") / 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((1, 0.1, 10, DELTA, "round-robin"), "choose from poisson, fixed, all"),
        ((1, 0.1, 10, DELTA, "poisson", "moments"), "choose from rdp, prv"),
        ((0, 0.1, 10, DELTA), "has to be above 0"),
        ((math.nan, 0.1, 10, DELTA), "has to be above 0"),
        ((1, 0, 10, DELTA), r"lies in \(0, 1\]"),
        ((1, 1.1, 10, DELTA), r"lies in \(0, 1\]"),
        ((1, 0.1, -1, DELTA), "0 or more"),
        ((1, 0.1, 10, 1), "between 0 and 1"),
        ((1, 0.5, 10, DELTA, "all"), "takes every client"),
        ((1, 0.5, 10, DELTA, "fixed", "prv"), "cohorts of a fixed size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        epsilon(*arguments)


def test_targets_out_of_reach_are_refused() -> None:
    for target in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="is no target"):
            calibrate(target, DELTA, 1, 10, "all")
    with pytest.raises(InputError, match="above 10,000"):
        calibrate(1e-9, DELTA, 1, 10, "all")
    with pytest.raises(InputError, match=r"below 0\.1"):
        calibrate(1e9, DELTA, 1, 10, "all")
