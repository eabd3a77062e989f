"""The gradients of a linear score function, written out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedlib.backbones.losses import errors
from fedlib.scatter import add_columns_
from fedlib.shapes import Batch, RankOne


def linear_gradients(w: Tensor, b: Tensor | None, q: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, RankOne]:
    r"""Loss and gradients of :math:`\hat r_i = \sigma(w^\top q_i + b)` for K clients at once.

    With :math:`z_s = w^\top q_{i(s)} + b`, label :math:`r_s` and weight :math:`\omega_s` of sample :math:`s`,

    .. math::

        e_s = \omega_s(\sigma(z_s) - r_s),\quad
        \frac{\partial L}{\partial w} = \sum_s e_s\,q_{i(s)},\quad
        \frac{\partial L}{\partial b} = \sum_s e_s,\quad
        \frac{\partial L}{\partial q_i} = \Big(\sum_{s:\,i(s)=i} e_s\Big)\,w .

    Shapes: w (K, d), b (K,) or None, q (K, R, d).
    Returns the loss (K,) and the gradients with respect to w (K, d), b (K,) and q, the last one as its two factors.
    """
    z = linear_scores(w, q, batch.local)
    if b is not None:
        z = z + b[:, None]
    loss, e = errors(z, batch)
    g, items = linear_backwards(e, w, q, batch.local)
    return loss, g, e.sum(1), items


def linear_scores(w: Tensor, q: Tensor, local: Tensor) -> Tensor:
    """z_s = w . q_i(s). w (K, d), q (K, R, d), local (K, B) -> (K, B)."""
    return torch.bmm(w[:, None, :], q.transpose(1, 2)).squeeze(1).gather(1, local)  # (K, R) -> (K, B)


def linear_backwards(e: Tensor, w: Tensor, q: Tensor, local: Tensor) -> tuple[Tensor, RankOne]:
    r"""The gradients of :func:`linear_scores` with respect to w (K, d) and q from those of its scores, e (K, B).

    Errors are summed per item *before* they meet a vector, so an item that occurs twice costs and counts as it should,
    and no (K, B, d) tensor is ever built.
    """
    per_row = add_columns_(q.new_zeros(q.shape[:2]), local, e)  # (K, R)
    # A copy of w: the optimiser may change w in place before it gets to the items.
    return torch.bmm(per_row[:, None, :], q).squeeze(1), RankOne(per_row, w.clone())


def head_gradients(params: Mapping[str, Tensor], q: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor], RankOne]:
    """:func:`linear_gradients` for a head ``score = nn.Linear(d, 1)``, under the names of its parameters.

    ``params`` holds score.weight (K, 1, d) and score.bias (K, 1); q (K, R, d). Returns the loss (K,), the gradients of
    the two parameters in their own shapes, and that of q.
    """
    loss, w, b, items = linear_gradients(params["score.weight"].squeeze(1), params["score.bias"].squeeze(1), q, batch)
    return loss, {"score.weight": w[:, None, :], "score.bias": b[:, None]}, items
