"""NGCF trained in one place: the graph of all users, and everybody's data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.graph import Graph
from fedlib.backbones.ngcf import FedNGCF, Values
from fedlib.backbones.triples import draw_triples
from fedlib.centralized.evaluate import evaluate
from fedlib.data.interactions import Split
from fedlib.data.negatives import NegativeSampler
from fedlib.items.table import ItemTable
from fedlib.run.machine import pick_device


@dataclass(kw_only=True)
class NGCF:
    """Neural graph collaborative filtering (Wang et al., SIGIR 2019); the model is that of :class:`FedNGCF`.

    An epoch is ceil(interactions / batch) steps of Adam, each on ``batch`` users drawn at random, with one of their
    items and one item they did not choose. ``variant``, ``layers``, ``dropout`` and ``l2`` are as in :class:`FedNGCF`;
    the defaults are the authors' for Gowalla.

    With ``patience``, validation Recall@20 is measured every ``check_every`` epochs; training ends when it has not
    risen ``patience`` times in a row, and the best epoch's vectors are kept. ``losses`` has the mean loss of each
    epoch, ``checks`` the (epoch, Recall@20) pairs.
    """

    dim: int = 64
    layers: tuple[int, ...] = (64, 64, 64)
    variant: str = "code"
    dropout: float = 0.1
    l2: float = 1e-5
    lr: float = 1e-4
    epochs: int = 400
    batch: int = 1024
    seed: int = 0
    patience: int | None = None
    check_every: int = 10
    device: str = "auto"
    losses: list[float] = field(init=False, repr=False, default_factory=list)
    checks: list[tuple[int, float]] = field(init=False, repr=False, default_factory=list)
    user_vectors: Tensor = field(init=False, repr=False)
    item_vectors: Tensor = field(init=False, repr=False)

    def fit(self, split: Split) -> NGCF:
        """Train from scratch."""
        device, n = pick_device(self.device), split.data.n_items
        model = FedNGCF(self.dim, layers=self.layers, variant=self.variant, dropout=self.dropout, l2=self.l2)
        train, users = split.train.to(device), torch.arange(split.train.n_users, device=device)
        graph, sampler = Graph.of(train, users, n), NegativeSampler(train, n)
        values = start_values(model, len(users), n, self.seed, device)
        adam = torch.optim.Adam(values.values(), lr=self.lr)
        steps = -(-len(train.items) // self.batch)
        self.losses, self.checks = [], []
        for epoch in range(self.epochs):
            total = torch.zeros((), device=device)
            # The one store, the round and the step of a federation.
            counters = [(0, epoch, step) for step in range(steps)]
            triples = [draw_triples(train, users, sampler, self.batch, self.seed, *names) for names in counters]
            graphs = graph.with_each(torch.stack([some.negatives for some in triples]))
            for grown, some, names in zip(graphs, triples, counters, strict=True):
                loss = model.loss(values, grown, some, rng.key(self.seed, "graph dropout", *names))
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += loss.detach()
            self.losses.append(float(total) / steps)
            if self.patience is not None and (epoch + 1) % self.check_every == 0:
                self._check(epoch + 1, *model.vectors(values, graph), split)
                if self._stale() >= self.patience:
                    break
        if not self.checks:
            self.user_vectors, self.item_vectors = model.vectors(values, graph)
        return self

    def score(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Inner products, (B, C) or (B, n)."""
        w, h = self.user_vectors[users.to(self.user_vectors.device)], self.item_vectors
        return w @ h.T if items is None else torch.einsum("bd,bcd->bc", w, h[items.to(h.device)])

    def _check(self, epoch: int, user_vectors: Tensor, item_vectors: Tensor, split: Split) -> None:
        """Measure these vectors on the validation items, and hold on to them if they are the best so far."""
        candidate = replace(self)
        candidate.user_vectors, candidate.item_vectors = user_vectors, item_vectors
        recall = evaluate(candidate, split, "valid", ks=(20,)).metrics((20,))["Recall@20"]
        self.checks.append((epoch, recall))
        if self._stale() == 0:
            self.user_vectors, self.item_vectors = user_vectors, item_vectors

    def _stale(self) -> int:
        """How many checks have gone by since the best one, the first of equals."""
        found = [recall for _, recall in self.checks]
        return len(found) - 1 - found.index(max(found))


def start_values(model: FedNGCF, n_users: int, n_items: int, seed: int, device: torch.device) -> Values:
    """What a federation starts from: user vectors (m, d), item vectors (n, d) and the layers' weights."""
    values = ItemTable().tables(model, n_items, seed)
    for name, _ in model.named_parameters():
        values[name] = model.initial(name, seed, torch.arange(n_users) if model.owner(name) == "user" else None)
    return {name: value.to(device, torch.float32).requires_grad_() for name, value in values.items()}
