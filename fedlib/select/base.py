"""What selectors of samples have in common: which share they keep, how ties are broken, and what of it is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.places import Place, Plan
from fedlib.shapes import Work, real_of


class Selection(Place):
    r"""Keep a share S of each client's positives, those with the highest scores.

    .. math:: \tilde D_u \subseteq D_u,\qquad |\tilde D_u| = \max(1, \lceil S\,|D_u| \rceil)

    (FedSLLM, Eq. 1; S is ``ratio``). Negatives are drawn for the kept positives alone, and the weight of a client in a
    mean over samples is the number of those it used. Equal scores are told apart by a random number of client, item and
    round. The order in which a client lists its samples plays no part. "coverage" in the history is the share of
    all training positives that have been trained on so far; no server could know it.

    A subclass says what the scores are.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for a share or a backbone that makes no sense."""
        if not (isinstance(self.ratio, int | float) and 0 < self.ratio <= 1):
            raise InputError(f"ratio must be a share in (0, 1], not {self.ratio}.")
        if plan.backbone.all_items:
            raise InputError(
                f"{type(plan.backbone).__name__} trains on all items, so a positive that is left out would count as a "
                "dislike: choose another backbone, or no selection."
            )
        return {}

    def memory(self, split: Split) -> dict[str, Tensor]:
        """Which training positives have been trained on, (nnz,)."""
        return {"used": torch.zeros(len(split.train.items), dtype=torch.bool)}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Score the positives of K clients and leave the best of them in ``work``."""
        by_item(work)
        scores, uploads = self.judge(work, message)
        kept = top(scores, work.count, self.ratio, chance(work, "ties", work.positives))
        work.count = share_of(work.count, self.ratio)
        real = real_of(kept, work.count)
        work.memory["used"][work.positions.gather(1, kept)[real]] = True
        work.positives = work.positives.gather(1, kept)
        return uploads

    def judge(self, work: Work, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The scores (K, P) of the positives, the highest of which are kept, and what K clients upload."""
        raise NotImplementedError

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """The share of all training positives that have been trained on so far."""
        return {"coverage": float(own["used"].float().mean())}


def share_of(count: Tensor, ratio: float) -> Tensor:
    """max(1, ceil(S n)) for counts n (K,). What only rounding has put above a whole number is that number.

    >>> share_of(torch.tensor([1, 10, 11]), 0.7)
    tensor([1, 7, 8])
    """
    return (count.double() * ratio - 1e-9).ceil().clamp(min=1).to(count.dtype)


def by_item(work: Work) -> None:
    """Put what each client owns in the order of its items, padding last."""
    padding = ~real_of(work.owned, work.owned_count)
    order = work.owned.masked_fill(padding, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
    work.owned, work.positions = work.owned.gather(1, order), work.positions.gather(1, order)
    work.positives = work.owned


def chance(work: Work, purpose: str, items: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each of K clients' items (K, P), by client, item and round."""
    return rng.uniform(rng.key(work.seed, f"select {purpose}", work.round), work.clients[:, None], items)


def top(scores: Tensor, count: Tensor, ratio: float, tie: Tensor) -> Tensor:
    """Which columns of ``scores`` (K, P) are kept, best first: (K, the most kept by anybody).

    Of the first ``count[k]`` columns of row k; equal scores in the order of ``tie`` (K, P).
    """
    padding = ~real_of(scores, count)
    order = tie.masked_fill(padding, math.inf).argsort(dim=1)  # padding last, and it stays last among equals
    ranked = scores.masked_fill(padding, -math.inf).gather(1, order).argsort(dim=1, descending=True, stable=True)
    return order.gather(1, ranked)[:, : int(share_of(count, ratio).max())]


def gumbel(log_weight: Tensor, draw: Tensor) -> Tensor:
    r"""Scores (K, P) whose largest are a draw without replacement in proportion to the weights.

    .. math:: \log w_i - \log(-\log u_i),\qquad u_i \sim U(0, 1)

    The order of these is that of drawing one sample after the other, each in proportion to the weights of those left.
    Source: Yellott, *The relationship between Luce's Choice Axiom, Thurstone's theory of comparative judgment, and the
    double exponential distribution*, Journal of Mathematical Psychology 15, 1977.
    """
    return log_weight.double() - torch.log(-torch.log(draw.clamp(min=2.0**-54)))
