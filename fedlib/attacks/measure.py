"""How well an attack has worked, beside what a guess would have reached."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import torch
from torch import Tensor

from fedlib.attacks.models import best
from fedlib.errors import InputError


class Success(NamedTuple):
    """Of a found set: its ``precision`` and ``recall``, and the precision of two guesses of the same size.

    ``popularity`` guesses the most popular items, ``random`` any.
    """

    precision: float
    recall: float
    popularity: float
    random: float


def success(found: Set[int], truth: Set[int], popularity: Tensor) -> Success:
    r"""Precision :math:`|F \cap T|/|F|` and recall :math:`|F \cap T|/|T|` of a ``found`` set F, beside guesses.

    ``truth`` is T; ``popularity`` (n,) orders the guesses and should not count the victim's own items. A precision of
    nothing found is 0. InputError for a victim without items.
    """
    if not truth:
        raise InputError("A user without items has nothing to lose: leave those out.")
    hits = len(found & truth)
    guessed = len(best(popularity, len(found)) & truth)
    size = max(len(found), 1)
    return Success(hits / size, hits / len(truth), guessed / size, len(truth) / len(popularity))


class Membership(NamedTuple):
    """How well losses tell training pairs from others: the area under the curve, and the advantage."""

    auc: float
    advantage: float


def membership(member: Tensor, other: Tensor) -> Membership:
    r"""Membership inference: a pair whose loss is small is said to have been trained on.

    .. math:: \mathrm{AUC} = P(\ell_{in} < \ell_{out}) + \tfrac12 P(\ell_{in} = \ell_{out}),\qquad
       \mathrm{Adv} = \max_\tau\;\mathrm{TPR}(\tau) - \mathrm{FPR}(\tau)

    ``member`` (M,) are the losses of training pairs, ``other`` (N,) those of pairs that might have been and were not.
    A guess has an AUC of 1/2 and an advantage of 0; an advantage is never below 0, and its sample value somewhat above.
    Source: Yeom et al., *Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting*, CSF 2018, with the
    best threshold where they take the mean training loss.
    """
    if not len(member) or not len(other):
        raise InputError("Membership needs losses of at least one pair that was trained on and one that was not.")
    member, other = member.double().sort().values, other.double().sort().values
    low, high = (torch.searchsorted(other, member, right=right) for right in (False, True))
    auc = float((len(other) - (low + high) / 2).mean() / len(other))
    thresholds = torch.cat([member, other])
    true, false = (torch.searchsorted(x, thresholds, right=True) / len(x) for x in (member, other))
    return Membership(auc, max(0.0, float((true - false).max())))
