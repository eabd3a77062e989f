"""The losses of training: the cross-entropy of single samples, and the pairwise loss of BPR."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from fedlib.shapes import Batch


def cross_entropy(z: Tensor, batch: Batch) -> Tensor:
    r"""The mean loss of each client's batch, from logits z (K, B); (K,), and it can be differentiated.

    .. math:: L = -\sum_s \omega_s\big(r_s \ln\sigma(z_s) + (1 - r_s)\ln(1 - \sigma(z_s))\big)

    with label :math:`r_s` and weight :math:`\omega_s`, one over the samples of the batch and 0 in padding.
    """
    return (binary_cross_entropy_with_logits(z, batch.labels, reduction="none") * batch.weights).sum(1)


def errors(z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    r""":func:`cross_entropy` (K,) and :math:`e_s = \partial L/\partial z_s = \omega_s(\sigma(z_s) - r_s)`, (K, B)."""
    return cross_entropy(z, batch), (torch.sigmoid(z) - batch.labels) * batch.weights


def bpr_loss(user: Tensor, positive: Tensor, negative: Tensor, l2: float) -> Tensor:
    """Mean of ``-ln sigma(w . (h_i - h_j)) + l2 / 2 (|w|^2 + |h_i|^2 + |h_j|^2)`` over the rows (B, d), a scalar.

    ``-ln sigma(x) = softplus(-x)``, which does not underflow. Source: Rendle et al., *BPR: Bayesian Personalized
    Ranking from Implicit Feedback*, UAI 2009, section 4.1.
    """
    margin = (user * (positive - negative)).sum(1)
    norms = (user.square() + positive.square() + negative.square()).sum(1)
    return (softplus(-margin) + l2 / 2 * norms).mean()
