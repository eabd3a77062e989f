"""How sure one may be of a difference: intervals over users, spread over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError

_AT_ONCE = 1 << 21  # users drawn at once: about 50 MiB


@dataclass(frozen=True)
class Interval:
    """A mean difference with the bounds of its confidence interval."""

    mean_difference: float
    low: float
    high: float


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of the mean of ``a - b`` over users, by resampling users (Efron and Tibshirani 1993, chapter 13).

    ``a`` and ``b`` (m,) are one metric of the same users, in the same order, under two methods: pairing removes what
    makes a user easy or hard for both. Each of ``draws`` samples takes m users with replacement; the bounds are the
    ``(1 - level) / 2`` and ``(1 + level) / 2`` quantiles of the sample means. Raises :class:`InputError` for
    unequal or empty vectors, values that are not finite, and a level outside (0, 1).

    >>> paired_bootstrap([0.5, 1.0], [0.25, 0.75])
    Interval(mean_difference=0.25, low=0.25, high=0.25)
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InputError(f"a and b must be one value a user each, equally many, not {first.shape} and {second.shape}")
    if not 0 < level < 1:
        raise InputError(f"level is {level}, but must lie strictly between 0 and 1")
    difference = torch.from_numpy(first - second)
    if not bool(difference.isfinite().all()):
        raise InputError("a and b must be finite numbers, but one is NaN or infinite")
    means = torch.cat([difference[sample].mean(1) for sample in _samples(len(difference), draws, seed)])
    low, high = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Interval(float(difference.mean()), low, high)


def crossed_bootstrap(
    difference: ArrayLike, *, draws: int | None = None, level: float = 0.95, seed: int = 0
) -> Interval:
    r"""Interval of the mean of ``difference`` (S, m), one row a seed and one column a user: both are resampled.

    .. math:: \bar d^* = \frac{1}{S m} \sum_{s, u} a_s b_u\, d_{su}

    with :math:`a_s` and :math:`b_u` how often a seed and a user are drawn, S and m times with replacement and each for
    itself (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1(2), 2007). It answers what other users *and*
    another run would have shown; :func:`paired_bootstrap` answers for these runs. A few seeds show little of how seeds
    spread: the bootstrap sees (S - 1) / S of their variance, and nothing of it with one. ``draws``: as many as four
    million users make, at least 1,000. Raises :class:`InputError` for what is not such a table.

    >>> crossed_bootstrap([[0.25, 0.25], [0.25, 0.25]])
    Interval(mean_difference=0.25, low=0.25, high=0.25)
    """
    d = np.asarray(difference, dtype=np.float64)
    if d.ndim != 2 or not d.size or not np.isfinite(d).all():
        raise InputError(f"difference must be finite, one row a seed and one column a user, not of shape {d.shape}")
    if not 0 < level < 1:
        raise InputError(f"level is {level}, but must lie strictly between 0 and 1")
    seeds, users = d.shape
    draws = draws or max(1000, 4_000_000 // users)
    b, a = _shares(users, draws, seed, "paired bootstrap"), _shares(seeds, draws, seed, "bootstrap of seeds")
    low, high = np.quantile((b @ d.T * a).sum(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(d.mean()), float(low), float(high))


@lru_cache(maxsize=8)  # a table has hundreds of intervals over the same users
def _shares(number: int, draws: int, seed: int, purpose: str) -> np.ndarray:
    """The share of each of ``number`` users or seeds in so many samples with replacement, (draws, number)."""
    counts = [torch.zeros(len(s), number).scatter_add_(1, s, torch.ones(s.shape))
              for s in _samples(number, draws, seed, purpose)]  # fmt: skip
    return torch.cat(counts).double().div_(number).numpy()


def _samples(users: int, draws: int, seed: int, purpose: str = "paired bootstrap") -> Iterator[Tensor]:
    """``draws`` samples of as many users, with replacement, a block (B, users) at a time."""
    stream, user = rng.key(seed, purpose), torch.arange(users)
    for draw in torch.arange(draws).split(max(1, _AT_ONCE // users)):
        yield rng.integers(users, stream, draw[:, None], user)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation ``sqrt(sum (x - mean)^2 / (S - 1))`` of one result under S seeds.

    One seed says nothing about spread: it is NaN then. Raises :class:`InputError` for no values.

    >>> mean_and_spread([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    if not len(values):
        raise InputError("there are no values to average")
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), spread
