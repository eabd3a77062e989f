"""The clients' counts of prototypes, as a prompt or a rule reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.errors import InputError


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
