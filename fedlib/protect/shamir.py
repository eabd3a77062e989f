"""Secrets cut into shares: any t of them give the secret back, t - 1 say nothing about it.

The secret is the value at 0 of a polynomial of degree t - 1 with random coefficients over a prime field, and a share is
its value at another point. Through t - 1 points and any value at 0 there passes exactly one such polynomial, so all
secrets stay equally likely. Source: Shamir, *How to Share a Secret*, Communications of the ACM 22(11), 1979.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

from fedlib.errors import InputError

PRIME = 2**256 + 297
"""The field: 2^256 + 297, the smallest prime that leaves room for every secret of 32 bytes.

:meta hide-value:
"""
SECRET_BYTES = 32
SHARE_BYTES = 33
"""What a share's value takes; its point goes without saying wherever shares are sent."""

Entropy = Callable[[int], bytes]
"""A source of secret random bytes: ``entropy(n)`` gives n of them, as ``os.urandom`` does."""


class Share(NamedTuple):
    """One point (x, y) of a secret's polynomial."""

    x: int
    y: int


def share(secret: bytes, points: Sequence[int], threshold: int, entropy: Entropy = os.urandom) -> list[Share]:
    """Cut a secret of 32 bytes into one share a point, any ``threshold`` of which are enough.

    points: whole numbers from 1 on in ascending order, ``range(1, n + 1)`` for n holders. Raises InputError for other
    points (at 0 stands the secret itself), another length, and a threshold that is not from 1 to the number of points.
    """
    if len(secret) != SECRET_BYTES:
        raise InputError(f"A secret has {SECRET_BYTES} bytes, not {len(secret)}.")
    _check_points(points)
    if not 1 <= threshold <= len(points):
        raise InputError(f"The threshold is {threshold}, but must be from 1 to the {len(points)} shares.")
    coefficients = [int.from_bytes(secret, "little"), *(_random_element(entropy) for _ in range(threshold - 1))]
    return [Share(x, evaluate(coefficients, x)) for x in points]


def evaluate(coefficients: Sequence[int], x: int, prime: int = PRIME) -> int:
    """The polynomial's value at x, the constant coefficient first (Horner)."""
    value = 0
    for a in reversed(coefficients):
        value = (value * x + a) % prime
    return value


def combine(shares: Iterable[Share], threshold: int) -> bytes:
    """The secret of which these are shares; see :func:`combine_all`."""
    ordered = sorted(shares)
    return combine_all([one.x for one in ordered], [[one.y for one in ordered]], threshold)[0]


def combine_all(points: Sequence[int], rows: Iterable[Sequence[int]], threshold: int) -> list[bytes]:
    """The secrets whose shares the same holders have: ``rows`` has the shares' values of one secret each, by point.

    The first ``threshold`` shares decide. Where there are more, all together must give the same, so that one altered
    share is noticed. Raises InputError for too few, repeated or contradictory shares.
    """
    _check_points(points)
    if len(points) < threshold:
        raise InputError(f"{len(points)} shares are too few: {threshold} are needed.")
    few, every = lagrange_at_zero(points[:threshold]), lagrange_at_zero(points)
    secrets = []
    for values in rows:
        if any(not 0 <= y < PRIME for y in values):
            raise InputError("A share lies outside the field: it was not made by this scheme.")
        secret = _dot(few, values)
        if secret != _dot(every, values) or secret >= 256**SECRET_BYTES:
            raise InputError("The shares do not belong to one secret: at least one of them was altered.")
        secrets.append(secret.to_bytes(SECRET_BYTES, "little"))
    return secrets


def lagrange_at_zero(points: Sequence[int], prime: int = PRIME) -> list[int]:
    r"""The weights :math:`\prod_{j \ne i} x_j / (x_j - x_i)` that make the value at 0 of the values at ``points``."""
    weights = []
    for x in points:
        others = [other for other in points if other != x]
        weights.append(prod(others) * pow(prod(other - x for other in others), -1, prime) % prime)
    return weights


def _dot(weights: Sequence[int], values: Sequence[int]) -> int:
    return sum(w * y for w, y in zip(weights, values, strict=False)) % PRIME  # the first len(weights) values


def _random_element(entropy: Entropy) -> int:
    # 16 bytes more than the prime has, so that no element is likelier than another by more than 2^-127 of itself.
    return int.from_bytes(entropy(SHARE_BYTES + 15), "little") % PRIME


def _check_points(points: Sequence[int]) -> None:
    if any(not before < x < PRIME for before, x in pairwise([0, *points])):
        raise InputError("The points of shares must be ascending from 1 on: one is repeated, out of order, or 0.")
