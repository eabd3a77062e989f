"""A user, an item it chose and one it did not: the samples of pairwise losses.

Shape letters: B triples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler


@dataclass(frozen=True)
class Triples:
    """B triples of a user node, an item it chose and an item it did not choose, (B,) int64 each."""

    users: Tensor
    positives: Tensor
    negatives: Tensor


def draw_triples(edges: UserItems, users: Tensor, sampler: NegativeSampler, size: int, *counters: int) -> Triples:
    """``size`` triples: a uniform user node of those with interactions, one of its items, one item it did not choose.

    Row u of ``edges`` belongs to ``users[u]``, whose negatives ``sampler`` knows. ``counters``: the seed, then whatever
    names the step.
    """
    stream = [rng.key(counters[0], f"triples {part}", *counters[1:]) for part in ("user", "positive", "negative")]
    index = torch.arange(size, device=users.device)
    node = edges.able[rng.integers(len(edges.able), stream[0], index)]
    chosen = edges.items[edges.indptr[node] + rng.integers(edges.counts[node], stream[1], index)]
    return Triples(node, chosen, sampler.draw(stream[2], users[node], index))
