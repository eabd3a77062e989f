r"""Means that a few lying or broken clients cannot move at will.

The weighted mean of the loop follows whoever sends the largest numbers. The functions here take the updates of K
clients as a stack, (K, ...), and give one update. They need to see each client's update by itself, so they exclude
secure aggregation, and none of them uses the weights clients claim for themselves, except where a caller hands them in.

Most clients touch few of the n items, so most of the rows they send are exactly zero. A median or trimmed mean over all
clients then takes the zeros for the majority and returns zero for every item that less than half of them touched. With
``touched`` (K, n) a row is decided among those that touched it. The server then has to know who touched what, which is
what the clients may want to hide. And a row is in the hands of those who touch it in a round, its raters and whoever
drew it as a negative: a fifth of all clients that sends one row in every round may be half of those who decide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.places import Place, Plan
from fedlib.server.sums import SeparateUploads, Sums

if TYPE_CHECKING:
    from fedlib.engine.state import State

BLOCK = 2**20  # numbers sorted at a time: temporary memory stays far below a second stack


def coordinate_median(updates: Tensor, touched: Tensor | None = None) -> Tensor:
    r"""The median of each coordinate, :math:`\mathrm{med}_k\,\Delta_{kj}`; the mean of the two middle ones for even K.

    updates (K, ...) or, with ``touched`` (K, n), item rows (K, n, d), where a row nobody touched gives zero. What is
    no number (NaN) counts as very large. With less than half of the clients lying it stays among the honest numbers;
    with nearly half, all on one side, at their edge.
    Source: Yin et al., *Byzantine-Robust Distributed Learning*, ICML 2018, Definition 1.
    """
    return _mean_within(updates, lambda count: (count - 1).clamp(min=0) // 2, touched)


def trimmed_mean(updates: Tensor, share: float, touched: Tensor | None = None) -> Tensor:
    r"""The mean of each coordinate without its :math:`\lfloor\beta K\rfloor` smallest and as many largest values.

    ``share`` :math:`\beta` in [0, .5) is that of the clients to be withstood; 0 gives the mean. The other arguments are
    those of :func:`coordinate_median`.
    Source: Yin et al., *Byzantine-Robust Distributed Learning*, ICML 2018, Definition 2.
    """
    if not 0 <= share < 0.5:
        raise InputError(f"A share of {share} cannot be cut off at both ends: it lies in [0, 0.5).")
    return _mean_within(updates, lambda count: (count.double() * share + 1e-9).long(), touched)


def norm_bound(updates: Tensor, bound: float | None = None, weights: Tensor | None = None) -> Tensor:
    r"""The mean of updates that are scaled down to the norm M where they are longer.

    .. math:: \sum_k w_k\,\Delta_k \min(1, M / \lVert\Delta_k\rVert_2) \Big/ \sum_k w_k

    updates (K, ...), finite numbers; ``bound`` M, by default the median norm; ``weights`` (K,), by default equal.
    Source: Sun et al., *Can You Really Backdoor Federated Learning?*, 2019, section 4 (norm thresholding).
    """
    if bound is not None and not bound > 0:
        raise InputError(f"Updates cannot be held to a norm of {bound}: the bound has to be above 0.")
    flat = _clients_first(updates)
    norms = torch.linalg.vector_norm(flat, dim=1)
    limit = norms.quantile(0.5) if bound is None else norms.new_tensor(bound)
    weights = torch.ones_like(norms) if weights is None else weights.to(norms.dtype)
    factor = torch.where(norms > limit, limit / norms, 1.0)
    return ((weights * factor) @ flat / weights.sum()).view(updates.shape[1:])


def krum_scores(updates: Tensor, f: int) -> Tensor:
    r"""How far each client is from those nearest to it, :math:`s_k = \sum_{j\in N_k}\lVert\Delta_k-\Delta_j\rVert^2`.

    :math:`N_k` are the :math:`K-f-2` nearest others. An update with numbers that are not finite is infinitely far from
    all. Returns (K,), float64. InputError unless :math:`K \ge 2f + 3`.
    """
    flat = _clients_first(updates)
    k = len(flat)
    if f < 0 or k < 2 * f + 3:
        raise InputError(f"Krum withstands f liars among 2f + 3 clients or more: {k} clients are too few for f = {f}.")
    products = flat.new_zeros(k, k, dtype=torch.float64)
    for block in flat.split(max(1, BLOCK // k), dim=1):
        products += block.double() @ block.double().T
    squares = products.diagonal()
    distance = (squares[:, None] + squares - 2 * products).clamp(min=0).nan_to_num(nan=math.inf, posinf=math.inf)
    distance.fill_diagonal_(math.inf)
    return distance.sort(dim=1).values[:, : k - f - 2].sum(dim=1)


def krum(updates: Tensor, f: int) -> Tensor:
    r"""The one update with the smallest :func:`krum_scores`, the first of them if there are several.

    Source: Blanchard et al., *Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent*, NeurIPS 2017.
    """
    return updates[krum_scores(updates, f).argmin()]


def multi_krum(updates: Tensor, f: int, m: int) -> Tensor:
    """The mean of the ``m`` updates with the smallest :func:`krum_scores`; 1 gives :func:`krum`.

    InputError unless m is between 1 and K - f. Source: Blanchard et al., NeurIPS 2017, section 5.
    """
    if not 1 <= m <= len(updates) - f:
        raise InputError(f"Multi-Krum cannot average {m} of {len(updates)} updates with {f} liars: at most all but f.")
    best = krum_scores(updates, f).argsort(stable=True)[:m]
    return updates[best].mean(dim=0)


def refuse(
    update: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], bound: float | None = None
) -> str | None:
    """Why one client's update is not to be used, in one sentence, or None if nothing speaks against it.

    ``shapes`` names the expected tensors; a length of -1 may be any. ``bound`` is the largest norm that is believed.
    """
    if update.keys() != shapes.keys():
        return f"The update holds {', '.join(sorted(update)) or 'nothing'}, not {', '.join(sorted(shapes))}."
    for name, value in update.items():
        wanted = tuple(shapes[name])
        fits = value.dim() == len(wanted) and all(
            want in (-1, got) for want, got in zip(wanted, value.shape, strict=True)
        )
        if not fits:
            return f"{name} has the shape {tuple(value.shape)}, not {wanted}."
        if not value.isfinite().all():
            return f"{name} holds {int((~value.isfinite()).sum())} numbers that are not finite."
    norm = math.hypot(*(float(torch.linalg.vector_norm(value, dtype=torch.float64)) for value in update.values()))
    if bound is not None and norm > bound:
        return f"The update's norm is {norm:.3g}, above {bound:.3g}."
    return None


RULES = ("median", "trimmed", "norm", "krum", "multi-krum")


@dataclass(frozen=True, kw_only=True)
class RobustAggregation(Place):
    """A server that does not take the weighted mean of what clients send, but one of the means of this file.

    ``rule``: "median", "trimmed", "norm", "krum" or "multi-krum". ``share`` of the clients may lie: it is cut off at
    both ends, or makes the f of Krum. ``touched`` decides each item row among the clients that touched it ("median"
    and "trimmed" only). Weights play no part. Memory: clients of a round x all shared numbers, twice.
    """

    rule: str = "median"
    share: float = 0.2
    touched: bool = True

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for a rule there is not, or more liars than it withstands."""
        if self.rule not in RULES:
            raise InputError(f'rule must be one of {", ".join(RULES)}, not "{self.rule}".')
        if not 0 <= self.share < 0.5:
            raise InputError(f"share of the clients that may lie is in [0, 0.5), not {self.share}.")
        return {}

    def uploads_held(self, plan: Plan) -> float:
        """Those of a round, and a second time while they are put together."""
        return 2 * plan.cohort

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """Every client's update by itself."""
        return SeparateUploads(sums.delta, sums.weight)

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Put the robust mean where the loop looks for the sums, with a weight of 1."""
        assert isinstance(sums, SeparateUploads)
        stacks = {name: torch.cat(sums.values[name]) for name in sums.delta}
        for name in sums.apart:
            sums.uploads[name] = torch.cat(sums.apart[name]).sum(0)
        for name, mean in self.means(stacks, sums).items():
            sums.delta[name].copy_(mean)
            sums.weight[name] = torch.ones_like(sums.weight[name])
        return own

    def means(self, stacks: dict[str, Tensor], sums: SeparateUploads) -> dict[str, Tensor]:
        """The robust mean of each tensor, from all clients' (K, ...)."""
        if self.rule in ("median", "trimmed"):
            found = {}
            for name, stack in stacks.items():
                touched = torch.cat(sums.touched[name]) if self.touched and name in sums.touched else None
                median = self.rule == "median"
                found[name] = coordinate_median(stack, touched) if median else trimmed_mean(stack, self.share, touched)
            return found
        whole = torch.cat([stack.flatten(1) for stack in stacks.values()], dim=1)  # (K, D): one client, one vector
        liars = int(self.share * len(whole))
        if self.rule == "norm":
            mean = norm_bound(whole)
        else:
            mean = multi_krum(whole, liars, 1 if self.rule == "krum" else len(whole) - liars)
        pieces = mean.split([stack[0].numel() for stack in stacks.values()])
        return {name: piece.view(stack.shape[1:]) for piece, (name, stack) in zip(pieces, stacks.items(), strict=True)}


def _clients_first(updates: Tensor) -> Tensor:
    """(K, ...) -> (K, D), refusing an empty stack."""
    if updates.dim() < 1 or len(updates) == 0:
        raise InputError("There is no update to aggregate: it takes those of one client at least.")
    return updates.reshape(len(updates), -1)


def _mean_within(updates: Tensor, cut: Callable[[Tensor], Tensor], touched: Tensor | None) -> Tensor:
    """The mean of each coordinate over the clients that count, without the ``cut(count)`` smallest and largest of them.

    A client that did not touch a row is sorted behind all others as NaN and so never among the first ``count``.
    """
    flat = _clients_first(updates)
    k = len(flat)
    rows = flat.unsqueeze(2) if touched is None else flat.view(k, touched.shape[1], -1)  # (K, n, d)
    out = torch.empty_like(rows[0])
    place = torch.arange(k, device=updates.device)
    step = max(1, BLOCK // (k * rows.shape[2])) if rows.numel() else 1
    for start in range(0, rows.shape[1], step):
        block = rows[:, start : start + step].permute(1, 2, 0).contiguous()  # (b, d, K)
        count = torch.tensor(k, device=updates.device)
        if touched is not None:
            here = touched[:, start : start + step].T[:, None]  # (b, 1, K)
            block = block.masked_fill(~here, math.nan)
            count = here.sum(dim=2, keepdim=True)
        low = cut(count)
        kept = (place >= low) & (place < count - low)
        total = torch.where(kept, block.sort(dim=2).values, 0).sum(dim=2)
        out[start : start + step] = total / (count - 2 * low).clamp(min=1).view(-1, 1)
    return out.view(updates.shape[1:])
