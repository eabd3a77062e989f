"""What comes back from the clients about the prototypes, as a prompt or a rule reads it (FedSLLM, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib.errors import InputError


@dataclass(frozen=True, eq=False)
class Feedback:
    """J prototypes as ``texts`` and ``vectors`` (J, d), their summed ``counts`` (J,) (Eq. 15), and the state of things.

    ``table`` (n, d) are the item vectors after ``round`` rounds. ``counts_mean`` is ``"usage"`` or ``"difficulty"``,
    what a prompt calls the counts.
    """

    texts: tuple[str, ...]
    vectors: Tensor
    counts: Tensor
    table: Tensor
    round: int
    counts_mean: str = "usage"


def percentages(counts: Tensor) -> list[int]:
    r"""Whole percentages of the summed counts, :math:`\mathbf c_t / \sum_j c_t[j]`, that add up to 100.

    counts (J,), Eq. 15 of FedSLLM. Counts are rounded to whole numbers first, so that the last bit of a sum cannot
    change a prompt; one that noise has made negative counts as 0. What rounding down leaves goes to the largest
    remainders, and among equal ones to the first. Raises :class:`InputError` if nothing was counted.

    >>> percentages(torch.tensor([1, 1, 1]))
    [34, 33, 33]
    """
    if not bool(torch.isfinite(counts.double()).all()):
        raise InputError("The counts of the prototypes are not all finite numbers.")
    whole = [max(0, round(count)) for count in counts.tolist()]
    total = sum(whole)
    if total == 0:
        raise InputError("No sample was counted for any prototype: there is nothing to update them by.")
    shares = [100 * count // total for count in whole]
    largest = sorted(range(len(whole)), key=lambda j: -(100 * whole[j] % total))
    for j in largest[: 100 - sum(shares)]:
        shares[j] += 1
    return shares
