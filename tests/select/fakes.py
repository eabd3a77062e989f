"""Prototypes without a language model, for tests of what the loop does with them."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from fedlib import rng
from fedlib.prototypes.sets import PrototypeSet


class Fake:
    """Random vectors; every update adds a prototype, whose text has its number and the counts it follows from."""

    source = "fake"

    def __init__(self, n: int = 40, dim: int = 8, count: int = 3) -> None:
        self.count, self.dim = count, dim
        x = rng.normal(rng.key(0, "fake x"), torch.arange(n)[:, None], torch.arange(5)[None]).float()
        w = rng.normal(rng.key(0, "fake w"), torch.arange(dim)[:, None], torch.arange(5)[None]).float()
        self.space = SimpleNamespace(x=x, weights={"linear0.weight": w, "linear0.bias": torch.zeros(dim)})

    def __repr__(self) -> str:
        return f"Fake({self.count})"

    def vectors(self, number: int, round: int) -> Tensor:
        """(number, dim), of the size of the items of FedMF."""
        stream = rng.key(0, "fake prototypes", round)
        return 0.3 * rng.normal(stream, torch.arange(number)[:, None], torch.arange(self.dim)[None]).float()

    def first(self, seed: int) -> PrototypeSet:
        return PrototypeSet(tuple(f"käse {j}" for j in range(self.count)), self.vectors(self.count, 0), "first")

    def next(
        self, current: PrototypeSet, counts: Tensor, table: Tensor, weights: dict[str, Tensor], round: int
    ) -> PrototypeSet:
        texts = (*current.texts, f"round {round}: {counts.tolist()}")
        return PrototypeSet(texts, self.vectors(len(texts), round), "added one")
