"""A model of one user for all users of a store at once: one copy of what is shared, one a user of what is private.

Shape letters: U users of a store, R item rows, B pairs of a user and an item.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.backbones.layers import Dropout
from fedlib.backbones.losses import cross_entropy
from fedlib.shapes import Batch, Gradients, Pairs, RowGradients, Rows


@dataclass(frozen=True)
class StoreModel:
    """What local training sees of a store: a single client (K = 1) whose samples say whose they are.

    The local row of a sample is ``user * R + item``, so a batch of samples is a batch of pairs.
    """

    backbone: Backbone

    mixes = False  # the model reads its items itself, pair by pair

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """Those of the backbone."""
        return self.backbone.steps

    def group(self, name: str) -> str:
        """That of the backbone."""
        return self.backbone.group(name)

    def dropouts(self) -> dict[str, Dropout]:
        """Those of the backbone."""
        return self.backbone.dropouts()

    def penalised(self, loss: Tensor, gradients: RowGradients, rows: Rows, batch: Batch) -> tuple[Tensor, RowGradients]:
        """Nothing: stores train no model with penalties."""
        return loss, gradients

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, Gradients]:
        """The mean cross-entropy of a batch of pairs and its gradients, by automatic differentiation.

        params (1, U, ...) where every user has its own, else (1, ...); rows (1, R, d); see
        :meth:`~fedlib.backbones.base.Backbone.gradients`.
        """
        trained = {name for name, _ in self.backbone.named_parameters()}
        learns = {name: name in trained and self.group(name) in wanted for name in params}
        leaves = {name: p[0].detach().requires_grad_(learns[name]) for name, p in params.items()}
        tables = {name: q[0].detach().requires_grad_("items" in wanted) for name, q in rows.items()}
        r = len(next(iter(tables.values())))
        pairs = Pairs(batch.local[0] // r, batch.local[0] % r, {name: mask[0] for name, mask in batch.masks.items()})
        fixed = {name: value[0] for name, value in batch.fixed.items()}
        z = self.backbone.pair_logits(leaves, fixed | tables, pairs)
        loss = cross_entropy(z[None], batch)
        asked = [leaf for leaf in (*leaves.values(), *tables.values()) if leaf.requires_grad]
        grads = iter(torch.autograd.grad(loss, asked, allow_unused=True, materialize_grads=True))
        network = {name: next(grads)[None] for name, leaf in leaves.items() if leaf.requires_grad}
        items = {name: next(grads)[None] for name, leaf in tables.items() if leaf.requires_grad}
        return loss.detach(), network, items
