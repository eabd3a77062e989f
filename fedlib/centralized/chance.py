"""The ranker that knows nothing, which every metric should be read against."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Split


@dataclass
class Chance:
    """Scores every pair by its own random number: ``s_ui ~ U[0, 1)``, a pure function of (seed, u, i).

    Its expected HR@K is ``K / C`` among C candidates. The same pair gets the same score under every protocol, in
    every block.
    """

    seed: int = 0
    n_items: int = field(init=False, repr=False)

    def fit(self, split: Split) -> Chance:
        """Note the number of items."""
        self.n_items = split.data.n_items
        return self

    def score(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Uniform numbers, (B, C) or (B, n), float64."""
        items = torch.arange(self.n_items) if items is None else items
        return rng.uniform(rng.key(self.seed, "chance ranker"), users[:, None], items)
