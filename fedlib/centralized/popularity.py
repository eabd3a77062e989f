"""The ranker that shows everybody the same list."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.data.interactions import Split


class Popularity:
    """Scores an item by its number of training interactions: ``s_ui = |{v : i in I_v}|``.

    Nothing is personal, yet on most data it is far above chance: a method that stays below has not learned whom it
    recommends to.
    """

    counts: Tensor

    def fit(self, split: Split) -> Popularity:
        """Count the training interactions of each item, (n,)."""
        self.counts = torch.bincount(split.train.items, minlength=split.data.n_items).float()
        return self

    def score(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """The items' counts, (B, C) or (B, n)."""
        return self.counts.expand(len(users), -1) if items is None else self.counts[items]
