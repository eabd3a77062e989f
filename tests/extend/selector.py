"""A selector of one's own: train on what the received model likes least."""

import math

import torch
from torch import Tensor

from fedlib import InputError, Place
from fedlib.shapes import Work


class Hardest(Place):
    """Keep a ``share`` of each client's positives, those that score lowest.

    Scores and choice stay on the device: nothing is added to what is sent.
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        if not 0 < self.share <= 1:
            raise InputError(f"share must be in (0, 1], not {self.share}.")
        column = torch.arange(work.positives.shape[1], device=work.count.device)
        padding = column >= work.count[:, None]
        score = work.score(work.positives).masked_fill(padding, math.inf)
        order = score.argsort(dim=1, stable=True)  # lowest first, padding last
        work.positives = work.positives.gather(1, order)  # (K, P)
        work.count = (self.share * work.count).ceil().long()
        return {}
