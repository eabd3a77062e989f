"""What selectors of samples have in common: which share they keep, how ties are broken, and what of it is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fedlib import rng
from fedlib.choices import OVER
from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.places import Place, Plan
from fedlib.shapes import Samples, Work, real_of


class Selection(Place):
    r"""Keep a share S of what each client has, the samples with the highest scores.

    .. math:: \tilde D_u \subseteq D_u,\qquad |\tilde D_u| = \max(1, \lceil S\,|D_u| \rceil)

    (FedSLLM, Eq. 1; S is ``ratio``). ``over`` says what :math:`D_u` is, and there is no default, because results hang
    on it (see the ambiguity log):

    - "positives": what the client liked. Negatives are then drawn for the kept positives alone.
    - "samples": its positives and all negatives drawn for them in this round, :math:`D_u = \{(i, r_{ui})\}` with both
      labels, as the paper defines it. One rule for both; how many positives are kept is the rule's affair.

    The weight of a client in a mean over samples is the number of those it used. Equal scores are told apart by a
    random number of client, sample and round. The order in which a client lists its samples plays no part.

    In the history, and known to no server, "coverage" is the share of all training positives that have been trained on
    so far, and "positives kept", for "samples", that of positives among all that has been kept so far.

    A subclass says what the scores are.
    """

    def __init__(self, ratio: float, *, over: str) -> None:
        self.ratio, self.over = ratio, over

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for a share, a D_u or a backbone that makes no sense."""
        if not (isinstance(self.ratio, int | float) and 0 < self.ratio <= 1):
            raise InputError(f"ratio must be a share in (0, 1], not {self.ratio}.")
        if self.over not in OVER:
            raise InputError(f"over must be {' or '.join(OVER)}, what a client chooses from, not {self.over!r}.")
        if self.over == "samples" and plan.stores:
            raise InputError("Stores draw negatives for all their users together, so a user chooses among positives "
                             'only: over="positives".')  # fmt: skip
        if plan.backbone.all_items:
            raise InputError(
                f"{type(plan.backbone).__name__} trains on all items, so a positive that is left out would count as a "
                "dislike: choose another backbone, or no selection."
            )
        return {}

    def memory(self, split: Split) -> dict[str, Tensor]:
        """Which training positives have been trained on, (nnz,), and how many samples and positives were, (m, 2)."""
        used = torch.zeros(len(split.train.items), dtype=torch.bool)
        if self.over == "positives":
            return {"used": used}
        return {"used": used, "kept": torch.zeros(split.data.n_users, 2, dtype=torch.int64)}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Score what K clients have and leave the best of it in ``work``."""
        by_item(work)
        among = candidates(work, self.over)
        scores, uploads = self.judge(work, among, message)
        kept = top(scores, among.count, self.ratio, chance(work, "ties", among.number))
        best = among.take(kept, share_of(among.count, self.ratio))
        liked = real_of(kept, best.count) & (best.label == 1)
        positive = kept // (among.label.shape[1] // work.positives.shape[1])  # its column, and that of its negatives
        work.memory["used"][work.positions.gather(1, positive)[liked]] = True
        if self.over == "samples":
            work.samples = best
            work.memory["kept"][work.clients] += torch.stack([best.count, liked.sum(1)], dim=1)
        else:
            work.positives, work.count = best.items, best.count
        return uploads

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The scores (K, N) of the samples to choose ``among``, whose highest are kept, and what K clients upload."""
        raise NotImplementedError

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """The share of all training positives that have been trained on so far, and that of positives in all kept."""
        told = {"coverage": float(own["used"].float().mean())}
        if self.over == "samples":
            samples, positives = own["kept"].sum(0).tolist()
            told["positives kept"] = positives / max(1, samples)
        return told


def candidates(work: Work, over: str) -> Samples:
    """What K clients choose from, each positive before its negatives: (K, P), or (K, P (1 + c)) for "samples"."""
    if over == "samples":
        return work.received.samples(work.positives, work.count)
    ones = torch.ones(work.positives.shape, device=work.positives.device)
    return Samples(work.positives, work.positives, ones, work.count)


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


def chance(work: Work, purpose: str, number: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each of K clients' items or samples ``number`` (K, P), by client and round."""
    return rng.uniform(rng.key(work.seed, f"select {purpose}", work.round), work.clients[:, None], number)


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
