"""Attacks on the change of an item table: which rows moved, to which side, and how far.

``change`` (n, d) is what a client's table has moved by, zero where it sent no row; q (n, d) is the table it had been
sent. Sets of items are found, except where ratings are. Shape letters: n items, d factors.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

FCF_SMALL = 1e-3
"""A row of FCF's residual below this part of the longest counts as zero: rounding leaves about 1e-6."""


def touched_rows(change: Tensor) -> set[int]:
    r"""The items whose rows moved, :math:`\{i : \Delta_i \ne 0\}`: a client's positives and its sampled negatives.

    The positives are all there, 1 in 1 + c of the samples with c negatives a positive. A dense upload shows the same
    set as a list of rows. Source: Chai et al., *Secure Federated Matrix Factorization*, 2021, on partial uploads.
    """
    return set(change.any(1).nonzero()[:, 0].tolist())


def intersect(changes: Iterable[Tensor]) -> set[int]:
    """The items whose rows moved in every one of a client's ``changes`` (n, d), one a round.

    Negatives, and pseudo-interacted items, are drawn anew in every round, and positives are not: an item that is no
    positive stays with a probability that falls geometrically with the rounds. No round, no item.
    """
    sets = [touched_rows(change) for change in changes]
    return reduce(set.intersection, sets) if sets else set()


def rows_by_sign(change: Tensor, k: int | None = None) -> set[int]:
    r"""The positives among the rows that moved, by the side to which they moved.

    Where a score depends on :math:`p_u^\top q_i`, row i moves along its gradient,

    .. math:: \Delta_i = -\eta e_i p_u,\qquad e_i = \omega_i(\hat r_{ui} - r_{ui}),

    so rows of positives point along :math:`+p_u` and those of negatives along :math:`-p_u`. The unknown direction is
    the leading right singular vector of the rows at unit length; there are more negatives than positives, so the
    smaller side is the positives. With ``k``, for an attacker who knows how many there are, the k rows furthest on that
    side, which also works where noise has moved every row. Exact for one full-batch step and at least two negatives a
    positive; several steps turn :math:`p_u`, and it fails only where they turn it by a right angle.
    """
    moved = change.any(1).nonzero()[:, 0]
    if not len(moved):
        return set()
    rows = change[moved]
    direction = torch.linalg.svd(normalize(rows) if k is None else rows, full_matrices=False).Vh[0]
    along = rows @ direction
    along = -along if 2 * int((along > 0).sum()) > len(along) else along
    picked = along > 0 if k is None else along.topk(min(k, len(along))).indices
    return set(moved[picked].tolist())


def from_fcf(change: Tensor, q: Tensor, l2: float, k: int | None = None) -> set[int]:
    r"""The items of a client of :class:`~fedlib.backbones.fcf.FCFALS`, from one upload :math:`F_u` = ``change``.

    The client's normal equation gives :math:`Q^\top F_u = \lambda p_u p_u^\top`, and for an item it has not chosen
    :math:`f_{ui} = -(p_u^\top q_i)p_u`. So the row i of

    .. math:: R_u = F_u + \tfrac1\lambda Q Q^\top F_u

    is zero for these, and :math:`(1 + \alpha - \alpha\,p_u^\top q_i)\,p_u` for the chosen ones. ``l2`` is
    :math:`\lambda`. With ``k`` the k longest rows instead of those that are not zero. Exact but for an item
    whose score happens to be 1 + 1/alpha; of a sum of uploads it gives the union of the clients' items. It follows from
    the equations of Ammad-ud-din et al., arXiv:1901.09888, 2019.
    """
    length = (change + q @ (q.T @ change) / l2).norm(dim=1)
    found = length > FCF_SMALL * length.max() if k is None else length.topk(k).indices
    return set(torch.arange(len(q))[found.cpu()].tolist())


def vector_from_two_rounds(first: Tensor, second: Tensor, q: Tensor, rate: float) -> Tensor:
    r"""The vector :math:`p_u` (d,) a client had before the ``first`` of two consecutive changes, but for its sign.

    A change :math:`\Delta = a v^\top` gives the direction :math:`v = p/\tau`, not the length :math:`\tau`. The client
    itself has stepped by :math:`p' - p = \tfrac{\eta_p}{\eta_q\tau} Q^\top a`, and the next change gives the direction
    :math:`v'` of p'. Together

    .. math:: (\tau\tau')\,v' - \tau^2\,v = \tfrac{\eta_p}{\eta_q}\,Q^\top a ,

    d linear equations for two numbers. ``rate`` is :math:`\eta_p/\eta_q`, the client's learning rate for its vector
    over that for item rows; q (n, d) is the table of the first change. Exact for one full-batch SGD step a round.
    The equations of two gradients are those of Chai et al., *Secure Federated Matrix Factorization*, IEEE Intelligent
    Systems 36(5), 2021, which solve for explicit ratings; that only the lengths are unknown makes them linear.
    """
    v, v2 = torch.linalg.svd(torch.stack([first, second]), full_matrices=False).Vh[:, 0]
    known = rate * q.T @ (first @ v)
    unknown = torch.linalg.lstsq(torch.stack([v2, -v], dim=1), known[:, None]).solution
    return unknown[1].clamp(min=0).sqrt() * v


class Stolen(NamedTuple):
    """A client's vector (d,), and its rating of each item (n,), NaN for items that did not move."""

    vector: Tensor
    ratings: Tensor


def ratings_from_two_rounds(
    first: Tensor, second: Tensor, q: Tensor, *, lr: float, lr_items: float, weight: float | None = None
) -> Stolen:
    r"""A client's ratings, from two consecutive changes of an item table.

    With p from :func:`vector_from_two_rounds` each error follows from its row, :math:`e_i = -\Delta_i^\top p / (\eta_q
    \lVert p\rVert^2)`, and each rating from its error. With ``weight`` :math:`\omega` the ratings are explicit and
    the loss is squared, :math:`e_i = \omega(p^\top q_i - r_i)`, so that

    .. math:: r_i = p^\top q_i - e_i/\omega ;

    :math:`\omega = 2` for Chai et al.'s sum of squares. Without it they are 0 or 1 and the loss is the cross-entropy,
    :math:`r_i = \sigma(p^\top q_i) - e_i/\omega`, where :math:`\omega`, one over the samples of a batch, is read off
    the rows that moved away, for which :math:`e_i = \omega\,\sigma(p^\top q_i)`. An item drawn twice as a negative
    comes out below 0. Of the two signs of p the right one makes explicit ratings positive, and more labels 0 than 1.
    Where the equations have no solution, as under noise, the vector is 0 and no rating is found.
    """
    p = vector_from_two_rounds(first, second, q, lr / lr_items)
    moved = first.any(1)
    e, z = -(first @ p) / (lr_items * p.square().sum()), q @ p
    if weight is not None:
        ratings = z - e / weight
        sign = -1 if ratings[moved].mean() < 0 else 1
        return Stolen(sign * p, torch.where(moved, sign * ratings, torch.nan))
    sign = -1 if 2 * int((e < 0).sum()) > int(moved.sum()) else 1
    e, z = sign * e, sign * z
    return Stolen(sign * p, torch.where(moved, torch.sigmoid(z) - e / _sample_weight(e, z), torch.nan))


def _sample_weight(e: Tensor, z: Tensor) -> Tensor:
    """What one sample counts, from the errors of those labelled 0: most of these were drawn once."""
    away = e > 0
    return (e[away] / torch.sigmoid(z[away])).median()
