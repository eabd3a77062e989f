"""From clients to chunks: who takes part, what each trains on, and the rows of the item table it needs.

Thousands of clients are trained a chunk at a time. Clients of similar length share a chunk, so little of it is padding,
and a client brings only the item rows its samples touch: cost grows with interactions, not with clients x items.

Shape letters: K clients in a chunk, P positives, N samples, R local rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.negatives import NegativeSampler
from fedlib.shapes import Chunk, Samples, real_of

PADDING = 32  # samples a client of a chunk: beyond, another chunk's fixed cost is the smaller one


def clients_in_round(able: int, per_round: float) -> int:
    """How many of ``able`` clients take part: a share in (0, 1] of them, at least one, or a whole number above 1."""
    wanted = int(per_round) if per_round > 1 else max(1, int(per_round * able + 0.5))
    return min(wanted, able)


def sample_rate(able: int, per_round: float) -> float:
    """The share of ``able`` clients that ``per_round`` asks for: itself, or a whole number above 1 over all of them."""
    return min(1.0, per_round / able) if per_round > 1 else per_round


def sample_clients(length: Tensor, per_round: float, seed: int, round: int, sampling: str = "fixed") -> Tensor:
    """The clients of a round, ascending, out of those with samples; how many see :func:`clients_in_round`.

    ``length`` (m,) is each client's number of samples. ``sampling`` "poisson": each with probability
    :func:`sample_rate`, independently of all others, so that there may be none. The draw is a function of the seed and
    the round alone, so a resumed run draws the same clients.
    """
    able = length.nonzero().squeeze(1)
    if sampling == "poisson":
        return able[rng.uniform(rng.key(seed, "clients", round), able) < sample_rate(len(able), per_round)]
    wanted = clients_in_round(len(able), per_round)
    if wanted == len(able):
        return able
    draw = rng.bits(rng.key(seed, "clients", round), able)
    return able[draw.argsort(stable=True)[:wanted]].sort().values


def chunks(clients: Tensor, length: Tensor, size: int) -> Iterator[Tensor]:
    """Cut ``clients``, sorted by ``length`` (of every client), into chunks of at most ``size`` with little padding.

    From the longest down a chunk takes clients while what pads them to its longest is at most ``PADDING`` a client it
    may hold: of a tenth of MovieLens' users chunks of 32 would more than double what is worked on.
    """
    ordered = clients[length[clients].argsort(stable=True)]
    lengths = length[ordered].tolist()
    ends = [len(lengths)]
    padding = 0
    for place in reversed(range(len(lengths))):
        padding += lengths[ends[-1] - 1] - lengths[place]
        if ends[-1] - place > size or padding > PADDING * size:
            ends.append(place + 1)
            padding = 0
    starts = [*ends[1:], 0]
    for start, end in zip(reversed(starts), reversed(ends), strict=True):
        yield ordered[start:end]


class LocalRows:
    """Numbers the items of each client 0, 1, 2, ... in the order of their last occurrence.

    ``where[k, i]`` holds the place at which client k's item i was last written. Only entries written in the same call
    are read, so the scratch table is never cleared and the work is proportional to the samples.
    """

    def __init__(self, n_items: int, device: torch.device) -> None:
        self.n_items = n_items
        self.where = torch.zeros(0, n_items + 1, dtype=torch.int64, device=device)

    def __call__(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """items, real (K, N) -> local (K, N), ids (K, R), n_rows (K,); padding gets local row 0."""
        k, n = items.shape
        if len(self.where) < k:
            self.where = torch.zeros(k, self.n_items + 1, dtype=torch.int64, device=items.device)
        where, place = self.where[:k], torch.arange(n, device=items.device).expand(k, n)
        items = torch.where(real, items, self.n_items)
        where.scatter_reduce_(1, items, place, "amax", include_self=False)  # order-free, so also fixed on CUDA
        last = where.gather(1, items)
        first = (last == place) & real
        number = first.cumsum(1) - 1
        local = number.gather(1, last).mul_(real)
        n_rows = first.sum(1)
        width = int(n_rows.max())
        ids = items.new_zeros(k, width + 1).scatter_(1, torch.where(first, number, width), items)[:, :width]
        return local, ids, n_rows


class AllItems:
    """Gives every client all n items as local rows, each item under its own number; called like :class:`LocalRows`."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def __call__(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """items, real (K, N) -> local (K, N), ids (K, n), n_rows (K,); padding gets local row 0."""
        ids = torch.arange(self.n_items, device=items.device).expand(len(items), -1)
        return items * real, ids, torch.full_like(items[:, 0], self.n_items)


def draw_samples(
    clients: Tensor, positives: Tensor, count: Tensor, sampler: NegativeSampler, negatives: int, stream: int
) -> Samples:
    """The positives (K, P) of K clients, the first ``count[k]`` of row k real, and ``negatives`` for each.

    They are uniform over the items that are not among the client's positives. ``stream`` names the draws (seed,
    purpose, round), each made by the positive's own item, so that it does not depend on which others there are.
    """
    k, p = positives.shape
    place = torch.arange(negatives + 1, device=positives.device)
    items = torch.empty(k, p, negatives + 1, dtype=torch.int64, device=positives.device)
    items[:, :, 0] = positives
    items[:, :, 1:] = sampler.draw(stream, clients[:, None, None], positives[:, :, None] * negatives + place[:-1])
    number = positives[:, :, None] * (negatives + 1) + place
    label = (place == 0).float().expand(k, p, negatives + 1)
    return Samples(number.flatten(1), items.flatten(1), label.flatten(1), count * (negatives + 1))


def lay_out(clients: Tensor, samples: Samples, slots: LocalRows | AllItems) -> Chunk:
    """The samples of K clients as a :class:`Chunk`, shortest client first."""
    order = samples.count.argsort(stable=True)
    clients, samples = clients[order], samples.of(order)
    longest = int(samples.count[-1])
    number, items, label = (part[:, :longest] for part in (samples.number, samples.items, samples.label))
    local, ids, n_rows = slots(items, real_of(items, samples.count))
    return Chunk(clients, samples.count, number, label, local, ids, n_rows)
