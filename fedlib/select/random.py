"""Samples by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.select.base import Selection
from fedlib.shapes import Work


class RandomSelection(Selection):
    """Keep a random share of each client's positives, drawn anew in every round.

    Nothing is sent for it.
    """

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """All alike, so that the ties decide."""
        return torch.zeros_like(work.positives, dtype=torch.float32), {}
