r"""Samples the received model is unsure about: textbook active learning, and three forms that differ from it.

With p the predicted probability of a like, entropy, margin and least confidence are all functions of
:math:`|p - \frac12|`, so that for feedback with two values **they select the same samples**, but for ties. FedSLLM's
tables nevertheless list three rows with different numbers. The forms at the end of this file are three different ones,
under names of their own.

Everything is scored by the received model without dropout, once a round, and nothing is sent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.select.base import Selection
from fedlib.shapes import Work


def entropy(p: Tensor) -> Tensor:
    r""":math:`H(p) = -p\ln p - (1-p)\ln(1-p)`, large where the model is unsure.

    Source: Holub, Perona and Burl, *Entropy-based active learning for object recognition*, CVPR Workshops 2008.
    """
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def margin(p: Tensor) -> Tensor:
    r""":math:`|p - (1-p)| = |2p - 1|`, small where the model is unsure.

    Source: Balcan, Broder and Zhang, *Margin based active learning*, COLT 2007.
    """
    return (2 * p - 1).abs()


def least_confidence(p: Tensor) -> Tensor:
    r""":math:`1 - \max(p, 1-p)`, large where the model is unsure.

    Source: Li and Sethi, *Confidence-based active learning*, IEEE TPAMI 28(8), 2006.
    """
    return 1 - torch.maximum(p, 1 - p)


def softmax_entropy(z: Tensor) -> Tensor:
    r"""Entropy of the softmax over a positive and its negatives, logits z (..., 1 + c) -> (...)."""
    log_p = z.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def hardest_negative_margin(z: Tensor) -> Tensor:
    r""":math:`z_i - \max_j z_j` of a positive i and its negatives j, logits z (..., 1 + c) -> (...); small is hard."""
    return z[..., 0] - z[..., 1:].amax(-1)


def label_confidence(p: Tensor) -> Tensor:
    """1 - p_label, for positives 1 - p: large where the model is wrong, not where it is unsure."""
    return 1 - p


def probability(work: Work) -> Tensor:
    """The received model's probability of each positive, (K, P), float64."""
    return torch.sigmoid(work.score(work.positives).double())


def with_negatives(work: Work) -> Tensor:
    """Logits (K, P, 1 + c) of each positive and the negatives that would be drawn for it in this round."""
    items = torch.cat([work.positives[:, :, None], work.received.negatives(work.positives)], dim=2)
    return work.score(items.flatten(1)).view(items.shape).double()


class Entropy(Selection):
    """Keep the positives with the largest :func:`entropy`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """H(p)."""
        return entropy(probability(work)), {}


class Margin(Selection):
    """Keep the positives with the smallest :func:`margin`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        r""":math:`-|2p - 1|`."""
        return -margin(probability(work)), {}


class LeastConfidence(Selection):
    """Keep the positives with the largest :func:`least_confidence`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """1 - max(p, 1-p)."""
        return least_confidence(probability(work)), {}


class SoftmaxEntropy(Selection):
    """Keep the positives with the largest :func:`softmax_entropy`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Entropy over the positive and its negatives."""
        return softmax_entropy(with_negatives(work)), {}


class HardestNegativeMargin(Selection):
    """Keep the positives with the smallest :func:`hardest_negative_margin`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative margin."""
        return -hardest_negative_margin(with_negatives(work)), {}


class LabelConfidence(Selection):
    """Keep the positives with the largest :func:`label_confidence`."""

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """1 - p."""
        return label_confidence(probability(work)), {}
