r"""How much privacy a run has spent: :math:`\epsilon` at a given :math:`\delta`, with a whole client as the unit.

What is accounted for is one mechanism, repeated in ``steps`` rounds: the server draws clients, adds up their updates,
each clipped to the norm S (:func:`~fedlib.protect.mechanisms.clip_update`), and adds :math:`\mathcal N(0, (zS)^2)` to
every coordinate of the sum; z is the noise multiplier. What the figure means depends on how the clients are drawn:

=============  ====================================  ============================================================
``sampling``   the clients of a round                neighbouring data sets: those that differ in
=============  ====================================  ============================================================
``"poisson"``  each of the m with probability q      one client more or less
``"fixed"``    q m of them, without replacement      one client's data replaced by other data
``"all"``      all of them, so that q = 1            one client more or less
=============  ====================================  ============================================================

A replaced client moves the sum by up to 2S, one that is added by S; the two kinds of :math:`\epsilon` are therefore not
to be compared as if they were one. The gain from drawing clients at random ("amplification") is claimed only if every
round's draw is independent of all others and kept secret. A rule such as "not those of the last round" breaks that.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, logsumexp

from fedlib.errors import InputError

SAMPLINGS = ("poisson", "fixed", "all")
ACCOUNTANTS = ("rdp", "prv")

# Fine where epsilon is large and coarse where it is small; 1024 serves an epsilon of .01 and less.
ORDERS = np.array(
    [*np.arange(1.05, 2, 0.05), *np.arange(2, 11, 0.25), *range(11, 64), *np.geomspace(64, 1024, 13).round()]
)


def epsilon(
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    delta: float,
    sampling: str = "poisson",
    accountant: str = "rdp",
) -> float:
    r"""The :math:`\epsilon` with which ``steps`` rounds are :math:`(\epsilon, \delta)`-differentially private.

    ``noise_multiplier`` z; ``sample_rate`` q, the share of the clients a round expects; ``sampling``: see the module,
    which says what the figure protects. ``accountant``: "rdp" is the Renyi bound; "prv" follows the distribution of the
    privacy loss, which gives a smaller figure, takes longer, and is not to be had for "fixed". For "poisson" both are
    Opacus'. InputError for numbers that make no sense and where Opacus is missing.
    """
    _validate(noise_multiplier, sample_rate, steps, delta, sampling, accountant)
    if steps == 0:
        return 0.0
    if accountant == "prv" and sample_rate == 1:
        return gaussian_epsilon(noise_multiplier, steps, delta)
    if accountant == "prv":
        return _poisson_prv(noise_multiplier, sample_rate, steps, delta)
    return rdp_to_epsilon(steps * np.array(_rdp_of_a_round(noise_multiplier, sample_rate, sampling)), delta)


def rdp_to_epsilon(rdp: np.ndarray, delta: float) -> float:
    r"""The best :math:`\epsilon` that Renyi bounds :math:`\rho_\alpha` at ``ORDERS`` give, never below 0.

    .. math:: \epsilon = \min_\alpha\ \rho_\alpha
       + \ln\frac{\alpha-1}{\alpha} - \frac{\ln\delta + \ln\alpha}{\alpha - 1}

    Source: Balle et al., *Hypothesis Testing Interpretations and Renyi Differential Privacy*, AISTATS 2020, Theorem 21.
    """
    bound = rdp + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(bound.min()))


def gaussian_rdp(noise_multiplier: float) -> np.ndarray:
    r"""The Renyi bound of one round with all clients, :math:`\alpha / (2 z^2)` (Mironov, CSF 2017, Corollary 3)."""
    return ORDERS / (2 * noise_multiplier**2)


def fixed_size_rdp(noise_multiplier: float, sample_rate: float) -> np.ndarray:
    r"""The Renyi bound of one round with exactly q m of m clients, for one client's data replaced.

    Without sampling the round is a Gaussian mechanism with :math:`\mu = 2/z`, whose privacy profile is
    :math:`\delta(e) = \Phi(\mu/2 - e/\mu) - \mathrm e^{e}\,\Phi(-\mu/2 - e/\mu)`. Sampling turns it into
    :math:`q\,\delta(e)` at :math:`t = \ln(1 + q(\mathrm e^{e}-1))`. A profile that holds in both directions bounds the
    Renyi divergence:

    .. math:: \rho_\alpha = \frac{1}{\alpha-1} \ln\Big(1 + \alpha(\alpha-1)\int_0^\infty
       \big(\mathrm e^{(\alpha-1)t} + \mathrm e^{-\alpha t}\big)\, q\,\delta(e(t))\,\mathrm dt\Big)

    Sources: Balle, Barthe and Gaboardi, *Privacy Amplification by Subsampling*, NeurIPS 2018, on sampling without
    replacement (the profile); Sason and Verdu, *f-Divergence Inequalities*, IEEE Trans. Inf. Theory 62(11), 2016 (the
    integral). It is well below the bound of Wang, Balle and Kasiviswanathan, AISTATS 2019, Theorem 9, which holds for
    more mechanisms than the Gaussian one.
    """
    mu, q = 2 / noise_multiplier, sample_rate
    if q == 1:
        return gaussian_rdp(noise_multiplier / 2)
    alpha = ORDERS[:, None]
    e = np.linspace(0, mu * (mu * ORDERS + 10), 4001, axis=1)  # the integrand peaks near mu^2 alpha, about mu wide
    upper, lower = log_ndtr(mu / 2 - e / mu), e + log_ndtr(-mu / 2 - e / mu)
    profile = math.log(q) + upper + np.log(-np.expm1(lower - upper))
    t = np.logaddexp(math.log1p(-q), math.log(q) + e)
    integrand = np.logaddexp((alpha - 1) * t, -alpha * t) + profile + (math.log(q) + e - t)  # the last is dt/de
    width = np.full(e.shape[1], 1.0)
    width[[0, -1]] = 0.5  # the trapezoidal rule
    integral = logsumexp(integrand, axis=1, b=width) + np.log(e[:, 1])
    return np.logaddexp(0, np.log(ORDERS * (ORDERS - 1)) + integral) / (ORDERS - 1)


def gaussian_epsilon(noise_multiplier: float, steps: int, delta: float) -> float:
    r"""The exact :math:`\epsilon` of ``steps`` rounds with all clients.

    They are one Gaussian mechanism with :math:`\mu = \sqrt T / z`, and :math:`\epsilon` solves

    .. math:: \delta = \Phi(\mu/2 - \epsilon/\mu) - \mathrm e^{\epsilon}\,\Phi(-\mu/2 - \epsilon/\mu)

    Source: Balle and Wang, *Improving the Gaussian Mechanism for Differential Privacy*, ICML 2018, Theorem 8.
    """
    mu = math.sqrt(steps) / noise_multiplier

    def excess(e: float) -> float:
        return math.exp(log_ndtr(mu / 2 - e / mu)) - math.exp(e + log_ndtr(-mu / 2 - e / mu)) - delta

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, zcdp_epsilon(noise_multiplier, steps, delta)))


def zcdp_epsilon(noise_multiplier: float, steps: int, delta: float) -> float:
    r"""A bound for rounds with all clients that needs a pencil only: :math:`\rho + 2\sqrt{\rho\ln(1/\delta)}`.

    :math:`\rho = T / (2 z^2)`. Source: Bun and Steinke, *Concentrated Differential Privacy*, TCC 2016,
    Proposition 1.3.

    >>> round(zcdp_epsilon(2, 100, 1e-5), 3)
    36.493
    """
    rho = steps / (2 * noise_multiplier**2)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def calibrate(
    target_epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    sampling: str = "poisson",
    accountant: str = "rdp",
) -> float:
    """The noise multiplier with which ``steps`` rounds spend ``target_epsilon``, or up to half a percent less.

    The other arguments are those of :func:`epsilon`. InputError if no noise multiplier between 0.1 and 10,000 does.
    """

    def spent(noise_multiplier: float) -> float:
        return epsilon(noise_multiplier, sample_rate, steps, delta, sampling, accountant)

    if not (0 < target_epsilon < math.inf and steps > 0):
        raise InputError(f"An epsilon of {target_epsilon} in {steps} rounds is no target: both have to be above 0.")
    low, high = 0.1, 1.0
    while (at_high := spent(high)) > target_epsilon:
        low, high = high, 2 * high
        if high > 10_000:
            raise InputError(f"An epsilon of {target_epsilon} would take a noise multiplier above 10,000: allow more.")
    while at_high < 0.995 * target_epsilon:
        middle = math.sqrt(low * high)
        if high / middle < 1 + 1e-9:
            raise InputError(f"An epsilon of {target_epsilon} would take a noise multiplier below 0.1: allow less.")
        if (at_middle := spent(middle)) > target_epsilon:
            low = middle
        else:
            high, at_high = middle, at_middle
    return high


@lru_cache(maxsize=64)
def _rdp_of_a_round(noise_multiplier: float, sample_rate: float, sampling: str) -> tuple[float, ...]:
    """The Renyi bound of one round at ``ORDERS``; every round of a run asks for the same."""
    if sampling == "fixed":
        return tuple(fixed_size_rdp(noise_multiplier, sample_rate))
    if sampling == "all":
        return tuple(gaussian_rdp(noise_multiplier))
    compute_rdp, _ = _opacus()
    return tuple(compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS.tolist()))


def _poisson_prv(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon by Opacus' PRV accountant, set so that its figure is above the true one by .3 % or so."""
    bound = epsilon(noise_multiplier, sample_rate, steps, delta)
    accountant = _opacus()[1]()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    with warnings.catch_warnings():
        # Said of the Renyi bound that sets the width of its grid: a looser one makes the grid wider, not wrong.
        warnings.filterwarnings("ignore", "Optimal order is the (small|larg)est alpha", UserWarning)
        return float(accountant.get_epsilon(delta=delta, eps_error=min(1.0, max(1e-4, bound / 500))))


def _opacus() -> tuple[Any, Any]:
    """Opacus' Renyi bound of the sampled Gaussian mechanism, and its PRV accountant."""
    try:
        from opacus.accountants import PRVAccountant
        from opacus.accountants.analysis.rdp import compute_rdp
    except ImportError as missing:
        raise InputError(
            'Accounting for clients drawn with a probability needs Opacus: pip install "fedlib[privacy]".'
        ) from missing
    return compute_rdp, PRVAccountant


def _validate(
    noise_multiplier: float, sample_rate: float, steps: int, delta: float, sampling: str, accountant: str
) -> None:
    if sampling not in SAMPLINGS:
        raise InputError(f'There is no sampling "{sampling}": choose from {", ".join(SAMPLINGS)}.')
    if accountant not in ACCOUNTANTS:
        raise InputError(f'There is no accountant "{accountant}": choose from {", ".join(ACCOUNTANTS)}.')
    if not 0 < noise_multiplier < math.inf:
        raise InputError(f"A noise multiplier of {noise_multiplier} gives no finite epsilon: it has to be above 0.")
    if not 0 < sample_rate <= 1:
        raise InputError(f"A sample rate of {sample_rate} is no share of the clients: it lies in (0, 1].")
    if not 0 < delta < 1:
        raise InputError(f"A delta of {delta} is no probability: it lies between 0 and 1, well below 1 / clients.")
    if steps < 0:
        raise InputError(f"There are no {steps} rounds: the number is 0 or more.")
    if sampling == "all" and sample_rate != 1:
        raise InputError(f'The sampling "all" takes every client, not a share of {sample_rate}: set it to 1.')
    if sampling == "fixed" and accountant == "prv":
        raise InputError('The accountant "prv" knows no cohorts of a fixed size: use "rdp", or the sampling "poisson".')
