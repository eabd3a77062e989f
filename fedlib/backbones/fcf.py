"""FCF: alternating least squares with the users on their devices and the items at the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.errors import InputError
from fedlib.server.optimizers import GradientAdam
from fedlib.shapes import Descend, Rows, Table, Trained, real_of

if TYPE_CHECKING:
    from fedlib.shapes import Chunk


class FCFALS(Backbone):
    r"""Federated collaborative filtering: confidence-weighted factorisation of *all* entries.

    .. math:: J = \sum_{u,i} c_{ui}(r_{ui} - p_u^\top q_i)^2 + \lambda\Big(\sum_u \lVert p_u\rVert^2 +
       \sum_i \lVert q_i\rVert^2\Big), \qquad c_{ui} = 1 + \alpha r_{ui},\quad r_{ui} \in \{0, 1\}

    A client solves for its own vector exactly, with the items held still, and sends one gradient for *every* item,

    .. math:: p_u = (Q^\top C^u Q + \lambda I)^{-1} Q^\top C^u r_u, \qquad f_{ui} = c_{ui}(r_{ui} - p_u^\top q_i)\,p_u .

    The server takes an Adam step on :math:`\partial J/\partial q_i = -2\sum_u f_{ui} + 2\lambda q_i`, up to a factor:
    it works with the mean over the clients of the round, so that a round of few clients moves as far as one of many.
    ``LocalTraining``'s lr is the server's rate. Negatives, local epochs and batches play no part. A client recommends
    with the vector it solves for with the newest Q.

    ``alpha`` and ``l2`` (:math:`\lambda`) are ours: the source's values could not be verified.
    Source: Ammad-ud-din et al., *Federated Collaborative Filtering for Privacy-Preserving Personalized Recommendation
    System*, arXiv:1901.09888, 2019; the objective is that of Hu, Koren and Volinsky, ICDM 2008.
    """

    owners: ClassVar = {"user": "user"}
    all_items = True

    def __init__(self, dim: int = 32, *, alpha: float = 4.0, l2: float = 10.0, std: float = 0.1) -> None:
        super().__init__()
        self.dim, self.alpha, self.l2, self.std = dim, alpha, l2, std
        self.tables = {"item": Table(dim, std)}
        self.server = GradientAdam(l2=l2)
        self.user_std = std
        self.user = nn.Parameter(torch.empty(dim, device="meta"))

    def forward(self, rows: Rows) -> Tensor:
        return rows["item"] @ self.user  # (N, d) @ (d,) -> (N,)

    def alone(self) -> Self:
        """Not for this method: its clients solve for their vectors against the server's table."""
        raise InputError("FCF has no local-only form: without the server's items a client has nothing to solve with.")

    def prepare(
        self, params: dict[str, Tensor], tables: dict[str, Tensor], positives: Tensor, count: Tensor, items: Tensor
    ) -> dict[str, Tensor]:
        """Each client's exact solution for its vector; the part of Q^T C^u Q that all share is computed once."""
        q = tables["item"]
        real = real_of(positives, count)
        own = q[positives] * real[:, :, None]  # (K, P, d)
        system = q.T @ q + self.l2 * torch.eye(self.dim, dtype=q.dtype, device=q.device)
        system = system + self.alpha * own.transpose(1, 2) @ own  # (K, d, d)
        return params | {"user": torch.linalg.solve(system, (1 + self.alpha) * own.sum(1))}

    def train_clients(
        self, params: dict[str, Tensor], rows: dict[str, Tensor], chunk: Chunk, descend: Descend
    ) -> Trained:
        """The item gradients f_ui (K, n, d), added to the received rows; the loss is the mean weighted error."""
        p, q = params["user"], rows["item"]
        real = real_of(chunk.local, chunk.count)
        r = torch.zeros_like(q[:, :, 0]).scatter_reduce_(1, chunk.local, real.to(q.dtype), "amax")  # (K, n)
        c = 1 + self.alpha * r
        error = r - torch.bmm(q, p[:, :, None]).squeeze(2)
        q.addcmul_((c * error)[:, :, None], p[:, None, :])
        return Trained(params, rows, (c * error.square()).mean(1))
