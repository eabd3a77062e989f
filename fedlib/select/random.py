"""Samples by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.select.base import Selection, chance, share_of
from fedlib.shapes import Samples, Work, real_of


class RandomSelection(Selection):
    """Keep a random share of what each client has, drawn anew in every round.

    ``positive_share``, for ``over="samples"``: that share of the kept are positives, as far as a client has so many,
    and the rest negatives. It is the control of a rule that keeps more of one label than there are: chance with the
    rule's balance of labels and none of its judgement. Nothing is sent for it.
    """

    def __init__(self, ratio: float, *, over: str, positive_share: float | None = None) -> None:
        super().__init__(ratio, over=over)
        self.positive_share = positive_share

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for a balance of labels that makes no sense."""
        if self.positive_share is not None and not (self.over == "samples" and 0 <= self.positive_share <= 1):
            raise InputError(f'positive_share is for over="samples" and a share in [0, 1], not {self.positive_share}.')
        return super().plan(plan)

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """All alike, so that the ties decide; with a share of positives, 1 for those that are in and 0 for others."""
        if self.positive_share is None:
            return torch.zeros_like(among.label), {}
        number = share_of(among.count, self.ratio)
        rounding = chance(work, "rounding", torch.zeros_like(work.clients)[:, None])[:, 0]
        wanted = (number * self.positive_share + rounding).floor().long()  # right on average
        positives = torch.minimum(torch.maximum(wanted, number - (among.count - work.count)), work.count)
        real, draw = real_of(among.number, among.count), chance(work, "ties", among.number)
        first = [
            draw.masked_fill(~(real & (among.label == label)), 2.0).argsort(1).argsort(1) < some[:, None]
            for label, some in ((1, positives), (0, number - positives))
        ]
        return (first[0] | first[1]).float(), {}
