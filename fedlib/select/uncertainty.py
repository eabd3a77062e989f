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

from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.select.base import Selection
from fedlib.shapes import Samples, Work


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


def label_confidence(p: Tensor, label: Tensor) -> Tensor:
    """1 - p_label, for positives 1 - p and for negatives p: large where the model is wrong, not where it is unsure."""
    return torch.where(label == 1, 1 - p, p)


def probability(work: Work, among: Samples) -> Tensor:
    """The received model's probability of a like for each sample, (K, N), float64."""
    return torch.sigmoid(work.score(among.items).double())


class AmongNegatives(Selection):
    """What judges a positive beside its own negatives, which leaves no rule for these: over positives only."""

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for another D_u."""
        if self.over != "positives":
            raise InputError(f"{type(self).__name__} judges a positive beside its negatives and has no rule for these: "
                             'over="positives".')  # fmt: skip
        return super().plan(plan)

    def logits(self, work: Work) -> Tensor:
        """Logits (K, P, 1 + c) of each positive and the negatives that would be drawn for it in this round."""
        among = work.received.samples(work.positives, work.count)
        return work.score(among.items).view(*work.positives.shape, -1).double()


class Entropy(Selection):
    """Keep the samples with the largest :func:`entropy`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """H(p)."""
        return entropy(probability(work, among)), {}


class Margin(Selection):
    """Keep the samples with the smallest :func:`margin`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        r""":math:`-|2p - 1|`."""
        return -margin(probability(work, among)), {}


class LeastConfidence(Selection):
    """Keep the samples with the largest :func:`least_confidence`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """1 - max(p, 1-p)."""
        return least_confidence(probability(work, among)), {}


class SoftmaxEntropy(AmongNegatives):
    """Keep the positives with the largest :func:`softmax_entropy`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Entropy over the positive and its negatives."""
        return softmax_entropy(self.logits(work)), {}


class HardestNegativeMargin(AmongNegatives):
    """Keep the positives with the smallest :func:`hardest_negative_margin`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative margin."""
        return -hardest_negative_margin(self.logits(work)), {}


class LabelConfidence(Selection):
    """Keep the samples with the largest :func:`label_confidence`."""

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """1 - p_label."""
        return label_confidence(probability(work, among), among.label), {}
