"""FedNCF: federated neural collaborative filtering."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlib.backbones import tower
from fedlib.backbones.base import Backbone
from fedlib.backbones.layers import hidden_layers
from fedlib.backbones.linear import linear_backwards, linear_scores
from fedlib.backbones.losses import errors
from fedlib.backbones.meeting import IsAdded
from fedlib.shapes import Batch, Gradients, RankOne, RowGradients, Rows, Table


class FedNCF(Backbone):
    r"""Neural collaborative filtering with private user vectors and everything else shared.

    .. math::

        \hat r_{ui} = \sigma\big(h^\top [\,p^G_u \odot q^G_i;\ \mathrm{MLP}([p_u; q_i])\,]\big)

    The first part is the generalised matrix factorisation branch (``gmf`` wide; 0 leaves it out), the second a ReLU
    tower over the concatenated vectors. The server averages each item row over the clients whose samples touched it,
    and the network by FedAvg, weighted with the number of samples.

    The defaults are NCF's NeuMF (8 factors, tower 64-32-16-8). FedSLLM's variant has one table a side and no product
    branch: ``FedNCF(dim=32, hidden=(128, 64), gmf=0, dropout=0.5)``, 16,641 network weights.

    Sources: Perifanis and Efraimidis, *Federated Neural Collaborative Filtering*, Knowledge-Based Systems 242, 2022;
    He et al., *Neural Collaborative Filtering*, WWW 2017.
    """

    owners: ClassVar = {"user": "user", "user_gmf": "user"}
    aggregate_items = "row"
    aggregate_network = "size"
    meeting = IsAdded()
    may_train_in_stores = True

    def __init__(
        self,
        dim: int = 32,
        *,
        hidden: tuple[int, ...] = (32, 16, 8),
        gmf: int = 8,
        dropout: float = 0.0,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        self.dim, self.hidden, self.gmf, self.dropout, self.std = dim, tuple(hidden), gmf, dropout, std
        self.tables = {"item": Table(dim, std)} | ({"gmf": Table(gmf, std)} if gmf else {})
        self.user_std = std
        with torch.device("meta"):
            self.user = nn.Parameter(torch.empty(dim))
            self.user_gmf = nn.Parameter(torch.empty(gmf)) if gmf else None
            self.mlp = nn.Sequential()
            for name, layer in hidden_layers((2 * dim, *hidden), dropout).items():
                self.mlp.add_module(name, layer)
            self.out = nn.Linear(gmf + hidden[-1], 1)

    def forward(self, rows: Rows) -> Tensor:
        q = rows["item"]
        x = self.mlp(torch.cat([self.user.expand(len(q), -1), q], dim=1))  # (N, 2d) -> (N, hidden)
        if self.user_gmf is not None:
            x = torch.cat([self.user_gmf * rows["gmf"], x], dim=1)
        return self.out(x).squeeze(1)

    def logits(self, params: dict[str, Tensor], rows: Rows, masks: dict[str, Tensor] | None = None) -> Tensor:
        """The scores of ``forward`` for K clients, as the products of :mod:`~fedlib.backbones.tower`."""
        h = tower.last_activation(rows["item"], self._layers(params, masks or {}))
        z = tower.score(h, *self._head(params))
        if not self.gmf:
            return z
        return z + (rows["gmf"] * self._product_vector(params)[:, None]).sum(2)

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """The tower's gradients by :func:`~fedlib.backbones.tower.backwards`, the product branch's as a linear score's.

        Its score is linear in q^G with the weights u = w ⊙ p^G, w the head's: dL/dw = dL/du ⊙ p^G, dL/dp^G = dL/du ⊙ w.
        """
        layers, (w, b) = self._layers(params, batch.masks), self._head(params)
        h = tower.activations(tower.gather_rows(rows["item"], batch.local), layers)
        z = tower.score(h[-1], w, b)
        if self.gmf:
            u = self._product_vector(params)
            z = z + linear_scores(u, rows["gmf"], batch.local)
        loss, e = errors(z, batch)
        network, items = "network" in wanted, "items" in wanted
        layered, g = tower.backwards(e[:, :, None] * w[:, None], layers, h, network=network, inputs=items)
        dense: Gradients = self._network_gradients(params, layered, h[-1], e) if network else {}
        row: dict[str, Tensor | RankOne] = {} if g is None else {"item": tower.sum_rows(g, rows["item"], batch.local)}
        if self.gmf:
            g_u, outer = linear_backwards(e, u, rows["gmf"], batch.local)
            if network:
                dense["user_gmf"] = g_u * params["out.weight"][:, 0, : self.gmf]
                product = (g_u * params["user_gmf"])[:, None]
                dense["out.weight"] = torch.cat([product, dense["out.weight"]], dim=2)
            if items:
                row["gmf"] = outer
        return loss, dense, row

    def _network_gradients(
        self, params: dict[str, Tensor], layered: list[tuple[Tensor, Tensor]], h: Tensor, e: Tensor
    ) -> Gradients:
        """By the parameters' names: those of the layers, of the user vector and of the head's part for ``h`` (K, B, b).

        With [W_p, W_q] the first layer's weight and c its bias, dL/dp = W_p^T dL/dc and dL/dW_p = dL/dc p^T.
        """
        (w_q, c), user = layered[0], params["user"]
        weight = torch.cat([c[:, :, None] * user[:, None], w_q], dim=2)
        network = tower.named_gradients("mlp", [(weight, c), *layered[1:]])
        network["user"] = torch.bmm(c[:, None], params["mlp.linear0.weight"][:, :, : self.dim]).squeeze(1)
        network["out.weight"], network["out.bias"] = torch.bmm(e[:, None], h), e.sum(1, keepdim=True)
        return network

    def _layers(self, params: dict[str, Tensor], masks: dict[str, Tensor]) -> list[tower.Layer]:
        """The tower as layers over q alone: W [p; q] + c = W_q q + (W_p p + c), and p is the same for every sample."""
        first, *others = tower.named_layers("mlp", params, masks)
        w_p, w_q = first.weight.split(self.dim, dim=2)
        c = tower.affine(params["user"][:, None], w_p, first.bias).squeeze(1)
        return [tower.Layer(w_q, c, first.mask), *others]

    def _head(self, params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The head's weights (K, b) for the tower and its bias (K, 1)."""
        return params["out.weight"][:, 0, self.gmf :], params["out.bias"]

    def _product_vector(self, params: dict[str, Tensor]) -> Tensor:
        """u = w ⊙ p^G (K, gmf), so that the product branch adds u . q^G to a score."""
        return params["out.weight"][:, 0, : self.gmf] * params["user_gmf"]
