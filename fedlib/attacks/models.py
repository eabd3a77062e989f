"""Attacks on what is small: counts by prototype, and a score function of a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.errors import InputError


def from_counts(counts: Tensor, prototype: Tensor, popularity: Tensor) -> Tensor:
    r"""How probable each item is to be among a client's, (n,), from how many of its items each prototype has.

    ``counts`` (J,) are a client's: how many of its items lie nearest to each prototype, a public fact of an item;
    ``prototype`` (n,) is the prototype of each item, which the server knows because it made them. Items of a prototype
    that was not counted are excluded, and where a prototype has as many items as were counted they are certain. In
    between the items of prototype j share its count in the proportion of their ``popularity`` (n,), above 0,

    .. math:: \pi_i = \min(1, \lambda_j s_i),\qquad \sum_{i \in j} \pi_i = c_j ,

    which is exact for a count of 1. Counts may be fractions, such as a cohort's mean. InputError for counts that do not
    fit the prototypes. FedSLLM's counts (Eqs. 14 and 15) are of another kind: which prototype an item falls to there
    depends on the client's own predictions, so what this finds from public shelves is an upper bound for them.
    """
    sizes = torch.bincount(prototype, minlength=len(counts))
    if len(sizes) != len(counts) or bool((counts < 0).any() or (counts > sizes).any()):
        raise InputError("counts must have a number for each prototype, from 0 to the number of its items.")
    if not bool((popularity > 0).all()):
        raise InputError("Every item needs a popularity above 0: add 1 to the counts of interactions.")
    chance = torch.zeros(len(prototype), dtype=torch.float64)
    for j, count in enumerate(counts.tolist()):
        items = (prototype == j).nonzero()[:, 0]
        chance[items] = shares(popularity[items].double(), count)
    return chance


def shares(weight: Tensor, total: float) -> Tensor:
    r"""Numbers :math:`\min(1, \lambda w_i)` that add up to ``total``, for weights (k,) above 0 and a total up to k."""
    order = weight.argsort(descending=True, stable=True)
    ranked, certain = weight[order], 0
    while certain < min(total, len(ranked)) and ranked[certain] * (total - certain) > ranked[certain:].sum():
        certain += 1
    left = ranked[certain:]
    parts = torch.ones_like(ranked)
    if len(left):
        parts[certain:] = left * ((total - certain) / left.sum())
    out = torch.empty_like(parts)
    out[order] = parts
    return out


def from_head(head: Tensor, q: Tensor) -> Tensor:
    r"""How much a linear score function tells of each item, :math:`s_i = w_u^\top q_i`, (n,): the history comes first.

    ``head`` (d,) is what a client sends of its score function: the weights themselves, or their change. The weights
    rank the client's own training items high because that is what they were trained for. The change of a step is

    .. math:: \Delta w = -\eta\sum_i e_i q_i,

    a sum over the client's samples to which positives, whose errors are negative, add their vectors, and from which
    negatives take theirs. Where item vectors are orthogonal, :math:`q_i^\top\Delta w` is positive for positives,
    negative for negatives and 0 for all others; the more items there are to a factor, the more these blur. The bias
    ranks nothing and is not needed.
    """
    return q @ head


def best(scores: Tensor, k: int) -> set[int]:
    """The ``k`` items with the highest scores (n,), of equal ones the first."""
    return set(scores.argsort(descending=True, stable=True)[:k].tolist())
