"""PFedRec: a personal score function and personal item vectors."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlib.backbones import tower
from fedlib.backbones.base import Backbone
from fedlib.backbones.layers import hidden_layers
from fedlib.backbones.linear import head_gradients
from fedlib.backbones.losses import errors
from fedlib.shapes import Batch, Gradients, RowGradients, Rows, Table


class PFedRec(Backbone):
    r"""Dual personalisation: no user vector, but a private score function and locally tuned item vectors.

    .. math:: \hat r_{ui} = \sigma\big(f_{\theta_u}(q^{(u)}_i)\big),\qquad f_\theta(q) = w^\top q + b

    A local step is two steps: first the score function learns while the item vectors are held still, then the loss is
    computed again with the new score function and the item vectors learn. Only the item table is sent, and the server
    takes its plain mean. A client recommends with the table it tuned itself in its last participation.

    ``hidden`` and ``dropout`` make f an MLP with ReLU. FedSLLM's variant is
    ``PFedRec(dim=32, hidden=(64, 32), dropout=0.5)``, trained with Adam.

    Source: Zhang et al., *Dual Personalization on Federated Recommendation*, IJCAI 2023.
    """

    owners: ClassVar = {"score": "user"}
    steps = (("network",), ("items",))
    may_train_in_stores = True

    def __init__(self, dim: int = 32, *, hidden: tuple[int, ...] = (), dropout: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.dim, self.hidden, self.dropout, self.std = dim, tuple(hidden), dropout, std
        self.tables = {"item": Table(dim, std, keep=True)}
        self.linear = not hidden
        with torch.device("meta"):
            if self.linear:
                self.score: nn.Module = nn.Linear(dim, 1)
            else:
                self.score = nn.Sequential()
                for name, layer in hidden_layers((dim, *hidden), dropout).items():
                    self.score.add_module(name, layer)
                self.score.add_module("out", nn.Linear(hidden[-1], 1))

    def forward(self, rows: Rows) -> Tensor:
        return self.score(rows["item"]).squeeze(1)  # (N, d) -> (N,)

    def logits(self, params: dict[str, Tensor], rows: Rows, masks: dict[str, Tensor] | None = None) -> Tensor:
        """The scores of ``forward`` for K clients, by batched products."""
        layers = [] if self.linear else tower.named_layers("score", params, masks)
        head = "score" if self.linear else "score.out"
        h = tower.last_activation(rows["item"], layers)
        return tower.score(h, params[f"{head}.weight"].squeeze(1), params[f"{head}.bias"])

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """80 n lr for SGD on the linear form (the authors' setting); lr otherwise.

        The factor makes up for the mean over a batch and for averaging a row over clients that never touched it.
        Adam's steps do not shrink with the gradient, so there it is left out.
        """
        return 80 * n_items * lr if self.linear and optimizer == "sgd" else lr

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Written out, for the linear score function and for the MLP."""
        if not self.linear:
            return self._tower_gradients(params, rows["item"], batch, wanted)
        loss, head, item = head_gradients(params, rows["item"], batch)
        return loss, head, {"item": item}

    def _tower_gradients(
        self, params: dict[str, Tensor], q: Tensor, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Those of the MLP; q (K, R, d). What is not ``wanted`` is not worked out."""
        layers, w = tower.named_layers("score", params, batch.masks), params["score.out.weight"].squeeze(1)
        h = tower.activations(tower.gather_rows(q, batch.local), layers)
        loss, e = errors(tower.score(h[-1], w, params["score.out.bias"]), batch)
        network, items = "network" in wanted, "items" in wanted
        layered, g = tower.backwards(e[:, :, None] * w[:, None], layers, h, network=network, inputs=items)
        gradients = tower.named_gradients("score", layered)
        if network:
            gradients |= {"score.out.weight": torch.bmm(e[:, None], h[-1]), "score.out.bias": e.sum(1, keepdim=True)}
        return loss, gradients, {} if g is None else {"item": tower.sum_rows(g, q, batch.local)}
