"""FedNCF: federated neural collaborative filtering."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedlib.backbones.base import Backbone, Rows, Table, hidden_layers


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

    private = ("user", "user_gmf")
    aggregate_items = "row"
    joins_stores = True

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
