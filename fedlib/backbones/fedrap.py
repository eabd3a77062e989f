"""FedRAP: item vectors that are the sum of a common and a personal part."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.backbones.linear import head_gradients
from fedlib.backbones.meeting import IsSum
from fedlib.errors import InputError
from fedlib.scatter import add_columns_
from fedlib.shapes import Batch, Gradients, RankOne, RowGradients, Rows, Table

RAMPS = ("tanh", "constant")


class FedRAP(Backbone):
    r"""Additive personalisation: every client adds a private item table to the shared one.

    .. math:: \hat r_{ui} = \sigma\big(w_u^\top (D^{(u)}_i + C_i) + b_u\big)

    Only C is sent and averaged; the table :math:`D^{(u)}` (n, d), one a client, and the head stay. Two terms join the
    cross-entropy, means over the rows of a batch (negatives included, a row as often as it occurs) and over d:

    .. math:: L_u = \mathrm{BCE} - \lambda_t\,\overline{(D^{(u)}_i - C_i)^2} + \mu_t\,\overline{|C_i|},
       \qquad \lambda_t = \lambda \tanh(t/10),\quad \mu_t = \mu \tanh(t/10)

    The first pushes the two parts apart (it is no orthogonality penalty, and it has no bound: large rates diverge), the
    second makes C sparse. t counts rounds from 0, so a run starts without either. A client recommends with its own
    table and the *server's* C.

    ``ramp="constant"`` leaves out the tanh: the authors' code works it out, but its loss reads lambda and mu as they
    are. With ``LocalTraining``'s ``step_decay`` 0.95 and ``stop`` 1e-4 the local training is the code's too.

    Memory: m n d numbers for the personal tables (0.2 GB on MovieLens 100K with d = 32).
    Source: Li, Long and Zhou, *Federated Recommendation with Additive Personalization*, ICLR 2024, Eq. 1 to 4.
    """

    owners: ClassVar = {"score": "user"}
    meeting = IsSum("common", "personal")

    def __init__(
        self, dim: int = 32, *, lam: float = 0.1, mu: float = 0.1, ramp: str = "tanh", std: float = 1.0
    ) -> None:
        super().__init__()
        if ramp not in RAMPS:
            raise InputError(f'ramp must be one of {", ".join(RAMPS)}, not "{ramp}".')
        self.dim, self.lam, self.mu, self.ramp, self.std = dim, lam, mu, ramp, std
        self.tables = {"common": Table(dim, std), "personal": Table(dim, std, owner="client")}
        self.score = nn.Linear(dim, 1, device="meta")

    def forward(self, rows: Rows) -> Tensor:
        return self.score(rows["personal"] + rows["common"]).squeeze(1)  # (N, d) -> (N,)

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """n lr for SGD, as the authors scale it; lr for Adam."""
        return n_items * lr if optimizer == "sgd" else lr

    def penalties(self, t: int) -> tuple[float, float]:
        """lambda_t and mu_t of round t."""
        share = math.tanh(t / 10) if self.ramp == "tanh" else 1.0
        return self.lam * share, self.mu * share

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Those of the cross-entropy, in closed form: it reaches both parts alike."""
        loss, head, both = head_gradients(params, rows["personal"] + rows["common"], batch)
        return loss, head, {"personal": both, "common": both}

    def penalised(self, loss: Tensor, gradients: RowGradients, rows: Rows, batch: Batch) -> tuple[Tensor, RowGradients]:
        """With both penalties, which act on the stored rows; a_i is the share of the batch's samples on row i."""
        personal, common = rows["personal"], rows["common"]  # (K, R, d)
        lam, mu = self.penalties(batch.round)
        if lam == mu == 0:
            return loss, gradients
        a = add_columns_(torch.zeros_like(personal[:, :, 0]), batch.local, batch.weights) / personal.shape[2]  # (K, R)
        apart = personal - common
        pushed, shrunk = apart * (a * (2 * lam))[:, :, None], common.sign().mul_((a * mu)[:, :, None])
        loss = loss - inner(pushed, apart) / 2 + inner(shrunk, common)
        to_common = add_(shrunk.add_(pushed), gradients["common"])
        return loss, {"personal": add_(pushed.neg_(), gradients["personal"]), "common": to_common}


def inner(x: Tensor, y: Tensor) -> Tensor:
    """The sums of x y over all but the first dimension, (K,); as products of rows they need no memory of their own."""
    return torch.bmm(x.flatten(1)[:, None], y.flatten(1)[:, :, None]).flatten()


def add_(x: Tensor, gradient: Tensor | RankOne) -> Tensor:
    """x (K, R, d) plus a gradient, in its place."""
    if isinstance(gradient, RankOne):
        return x.addcmul_(gradient.left[:, :, None], gradient.right[:, None, :])
    return x.add_(gradient)
