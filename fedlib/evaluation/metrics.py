"""Where the held-out items land in a ranking, and what that is worth.

Ranks come first (:func:`rank_sampled` for protocol A, :func:`rank_all` for protocol B) and metrics are functions of
ranks. Scores are logits: saturated probabilities tie where logits do not. Ties are settled by the expected rank
``r = 1 + #{>} + 1/2 #{=}``, so neither the order of the candidates nor a sort decides, and a constant scorer gets no
gift.

Shape letters: m users, n items, B users in a block, C candidates, M relevant (held-out) items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from fedlib.data.log import UserItems
from fedlib.errors import DivergedError, InputError

METRICS = ("HR", "NDCG", "NDCG*", "Precision", "Recall")
_AT_ONCE = 1 << 20  # scores compared at once: 4 MiB stay in the cache


def expected_rank(positive: Tensor, others: Tensor) -> Tensor:
    """Rank of each positive among its candidates when ties are broken at random, on average.

    ``r = 1 + #{s > s+} + 1/2 #{s = s+}`` over the other candidates. positive (M,), others (M, C) -> (M,) float64.

    >>> expected_rank(torch.tensor([2.0, 0.0]), torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])).tolist()
    [2.5, 2.5]
    """
    return _rank(*_compare(positive, others))


def hit_ratio(ranks: Tensor, k: int) -> Tensor:
    """One for an item among the first k, zero otherwise: ``H = [r <= k]``, float64."""
    return (ranks <= k).double()


def ndcg(ranks: Tensor, k: int) -> Tensor:
    """Discounted gain of one relevant item, whose ideal is 1: ``N = [r <= k] / log2(1 + r)`` (He et al., WWW 2017)."""
    return hit_ratio(ranks, k) / torch.log2(1 + ranks)


def ideal_dcg(count: Tensor) -> Tensor:
    """Discounted gain of ``count`` relevant items in the first places: ``sum_{i=1..count} 1 / log2(1 + i)``."""
    most = int(count.max()) if len(count) else 0
    gains = 1 / torch.log2(torch.arange(2, most + 2, dtype=torch.float64))
    return torch.cat([gains.new_zeros(1), gains.cumsum(0)])[count.long()]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The rank of every relevant item of one evaluated split.

    ``ranks`` (M,) float64; ``users`` (M,) int64, whose item it is; ``tied`` (M,) bool, whether another candidate
    has the same score; ``n_users`` is m. Ranks beyond ``k_max`` (if given) are infinite and their ties unknown.
    """

    ranks: Tensor
    users: Tensor
    tied: Tensor
    n_users: int
    k_max: int | None = None

    @classmethod
    def concatenate(cls, blocks: Sequence[Ranking]) -> Ranking:
        """One ranking from blocks of one split."""
        ranks, users, tied = (torch.cat([getattr(b, name) for b in blocks]) for name in ("ranks", "users", "tied"))
        return cls(ranks, users, tied, blocks[0].n_users, blocks[0].k_max)

    @property
    def n_relevant(self) -> Tensor:
        """``|T_u|``, the relevant items of each user, (m,) int64."""
        return torch.bincount(self.users, minlength=self.n_users)

    def only(self, keep: Tensor) -> Ranking:
        """The ranks marked in ``keep`` (M,) bool."""
        return Ranking(self.ranks[keep], self.users[keep], self.tied[keep], self.n_users, self.k_max)

    @property
    def tied_share(self) -> float:
        """The share of ranked items whose score another candidate has too (0 if no item reached ``k_max``)."""
        ranked = self.ranks.isfinite()
        return float(self.tied[ranked].double().mean()) if bool(ranked.any()) else 0.0

    def metrics(self, ks: Sequence[int] = (5, 10, 20)) -> dict[str, float]:
        """Means over the users with a relevant item, under names such as "HR@10"; see :meth:`per_user`."""
        return {str(name): float(value) for name, value in self.per_user(ks).mean().items()}

    def per_user(self, ks: Sequence[int] = (5, 10, 20)) -> pd.DataFrame:
        """The metrics of each user with a relevant item, index "user".

        With the hits h = #{r <= K} of a user's T relevant items, and DCG the sum of :func:`ndcg` over them:
        "HR@K" = [h > 0], "Precision@K" = h / K, "Recall@K" = h / T, "NDCG@K" = DCG / ideal DCG of min(K, T) items,
        and "NDCG*@K" = DCG / ideal DCG of h items, the larger number that NGCF's code (Wang et al., SIGIR 2019)
        prints as NDCG; it can rise when a hit is lost. With one relevant item Recall = HR and NDCG* = NDCG.
        Expected ranks of tied relevant items can put more than K of them at r <= K; a list of K places keeps the
        first K. Raises :class:`InputError` for a K below 1 or above ``k_max``, and if no user has a relevant item.
        """
        n_relevant = self.n_relevant
        users = n_relevant.nonzero()[:, 0]
        if not len(users):
            raise InputError("no user has a held-out item, so there is nothing to evaluate")
        for k in ks:
            if k < 1 or (self.k_max is not None and k > self.k_max):
                raise InputError(f"metrics at K = {k} were asked for, but K must be from 1 to {self.k_max or 'n'}")
        by_k = [self._at(k, n_relevant) for k in ks]
        table = {
            f"{name}@{k}": values[name][users].numpy() for k, values in zip(ks, by_k, strict=True) for name in values
        }
        return pd.DataFrame(table, index=pd.Index(users.numpy(), name="user"))

    def _at(self, k: int, n_relevant: Tensor) -> dict[str, Tensor]:
        listed = self._place <= k
        hits = self._sum(hit_ratio(self.ranks, k) * listed)
        dcg = self._sum(ndcg(self.ranks, k) * listed)
        return {
            "HR": (hits > 0).double(),
            "NDCG": dcg / ideal_dcg(n_relevant.clamp(max=k)),
            "Precision": hits / k,
            "Recall": hits / n_relevant,
            "NDCG*": torch.where(hits > 0, dcg / ideal_dcg(hits), 0.0),
        }

    def _sum(self, values: Tensor) -> Tensor:
        return torch.bincount(self.users, values, minlength=self.n_users)

    @property
    def _place(self) -> Tensor:
        """1 for a user's best ranked relevant item, 2 for the next, ..., (M,) int64."""
        order = self.ranks.argsort(stable=True)
        order = order[self.users[order].argsort(stable=True)]
        counts = self.n_relevant
        place = torch.empty_like(order)
        place[order] = torch.arange(1, len(order) + 1) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        return place


def rank_sampled(scores: Tensor, users: Tensor | None = None, n_users: int | None = None) -> Ranking:
    """Protocol A: one positive against sampled negatives, scores (B, 1+C) with the positive in column 0.

    Row b belongs to ``users[b]`` of ``n_users``, to user b of B if these are not given; rankings of several blocks
    are joined by :meth:`Ranking.concatenate`. Raises :class:`InputError` for a score that is not finite.
    """
    _check_finite(scores)
    above, equal = (count.cpu() for count in _compare(scores[:, 0], scores[:, 1:]))
    users = torch.arange(len(scores)) if users is None else users.cpu()
    return Ranking(_rank(above, equal), users, equal > 0, len(scores) if n_users is None else n_users)


def rank_all(
    score_block: Callable[[Tensor], Tensor],
    exclude: Sequence[UserItems],
    relevant: UserItems,
    *,
    k_max: int | None = None,
    memory_mb: float = 256,
    users: Tensor | None = None,
) -> Ranking:
    """Protocol B: every relevant item of ``users`` (default: all) among all items that are not in ``exclude``.

    ``score_block`` maps users (B,) int64 to logits (B, n) of all items; B is chosen such that the scores and what
    the ranking needs besides stay below ``memory_mb``. A user's relevant items are candidates to each other.
    With ``k_max``, ranks above it are reported as infinite, which saves most of the counting where users have
    several relevant items; without, every rank is exact. Users without relevant items are not scored. Raises
    :class:`InputError` for a score that is not finite, for a relevant item that is excluded, for an item the scores do
    not cover, and if ``memory_mb`` does not hold one user.
    """
    users = torch.arange(relevant.n_users) if users is None else users
    users = users[relevant.counts[users] > 0]
    if not len(users):
        raise InputError("no user has a held-out item, so there is nothing to rank")
    probe = score_block(users[:1])
    n = probe.shape[1]
    for log in (relevant, *exclude):
        if len(log.items) and int(log.items.max()) >= n:
            raise InputError(f"the scores cover {n} items, but item {int(log.items.max())} is to be ranked or excluded")
    bytes_each = 3 * n * probe.element_size()  # a user's scores, their masked copy, and what topk returns
    if memory_mb * 2**20 < bytes_each:
        raise InputError(f"memory_mb={memory_mb} is too little for {n} items: give at least {bytes_each / 2**20:.2g}")
    blocks = users.split(int(memory_mb * 2**20) // bytes_each)
    return Ranking.concatenate([_rank_block(score_block(block), exclude, relevant, block, k_max) for block in blocks])


def _rank_block(
    scores: Tensor, exclude: Sequence[UserItems], relevant: UserItems, users: Tensor, k_max: int | None
) -> Ranking:
    """Rank the relevant items of one block of users, whose scores are (B, n)."""
    _check_finite(scores)
    device, held_out = scores.device, relevant.of_users(users)
    for log in exclude:
        seen = log.of_users(users)
        where = (seen.users.to(device), seen.items.to(device))
        scores = scores.index_put(where, scores.new_tensor(-torch.inf))  # not in place: the scorer may keep its scores
    row = held_out.users.to(device)
    positive = scores[row, held_out.items.to(device)]
    for i in (positive == -torch.inf).nonzero()[:1, 0].tolist():
        user, item = int(users[held_out.users[i]]), int(held_out.items[i])
        raise InputError(f"item {item} of user {user} is to be ranked and excluded from the ranking at once")
    ranks, tied = _count(scores, row, positive, k_max)
    return Ranking(ranks.cpu(), users[held_out.users].cpu(), tied.cpu(), relevant.n_users, k_max)


def _count(scores: Tensor, row: Tensor, positive: Tensor, k_max: int | None) -> tuple[Tensor, Tensor]:
    """Expected ranks and ties of the items with scores ``positive`` (M,) in their rows of scores (B, n)."""
    ranks = torch.full_like(positive, torch.inf, dtype=torch.float64)
    tied = torch.zeros_like(positive, dtype=torch.bool)
    reached = torch.ones_like(tied)
    if k_max is not None and 3 * k_max <= scores.shape[1]:  # above, topk takes more memory than it spares time
        reached = positive >= scores.topk(k_max, dim=1).values[row, -1]
    for part in reached.nonzero()[:, 0].split(max(1, _AT_ONCE // scores.shape[1])):
        above, equal = _compare(positive[part], scores.index_select(0, row[part]))
        ranks[part] = _rank(above, equal - 1)  # an item does not tie with itself
        tied[part] = equal > 1
    return ranks if k_max is None else ranks.masked_fill(ranks > k_max, torch.inf), tied


def _check_finite(scores: Tensor) -> None:
    # The extremes carry any NaN and cost a fraction of isfinite().all().
    if scores.numel() and not all(bool(extreme.isfinite()) for extreme in torch.aminmax(scores)):
        raise DivergedError("scores must be finite numbers, but one is NaN or infinite: training has probably diverged")


def _compare(positive: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """#{s > s+} and #{s = s+} in each row, (M,) each; counted in float32, exactly, as C < 2^24."""
    marks = torch.empty_like(others, dtype=torch.float32)  # summing booleans takes three times as long
    above = torch.gt(others, positive[:, None], out=marks).sum(1)
    return above, torch.eq(others, positive[:, None], out=marks).sum(1)


def _rank(above: Tensor, equal: Tensor) -> Tensor:
    return 1 + above.double() + equal.double() / 2
