"""FedMF: federated matrix factorisation on implicit feedback."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.backbones.linear import linear_gradients
from fedlib.shapes import Batch, Gradients, RowGradients, Rows, Table


class FedMF(Backbone):
    r"""Matrix factorisation with a private user vector and a shared item table.

    .. math:: \hat r_{ui} = \sigma(p_u^\top q_i)

    The user vector :math:`p_u` stays on the client; the item table :math:`Q` is trained by all and averaged uniformly.
    Chai et al. factorise explicit ratings and encrypt the item gradients. This is the implicit-feedback form that
    PFedRec and FedSLLM use as a baseline, with protection left to the loop's ``protect`` place. All values start from
    N(0, std^2); equal starting values would keep the d factors equal for ever.

    Source: Chai, Wang, Chen and Yang, *Secure Federated Matrix Factorization*, IEEE Intelligent Systems 36(5), 2021.
    """

    owners: ClassVar = {"user": "user"}
    may_train_in_stores = True

    def __init__(self, dim: int = 32, *, std: float = 0.1) -> None:
        super().__init__()
        self.dim, self.std = dim, std
        self.tables = {"item": Table(dim, std)}
        self.user_std = std
        self.user = nn.Parameter(torch.empty(dim, device="meta"))

    def forward(self, rows: Rows) -> Tensor:
        return rows["item"] @ self.user  # (N, d) @ (d,) -> (N,)

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """n_clients lr for SGD: under the plain mean the server then *sums* the clients' steps, as Chai's does.

        Otherwise lr: Adam's steps do not shrink with the gradient, and a client alone is averaged with nobody.
        """
        return n_clients * lr if optimizer == "sgd" and not self.is_alone else lr

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Closed form, the user vector in the place of w: see :func:`~fedlib.backbones.linear.linear_gradients`."""
        loss, user, _, item = linear_gradients(params["user"], None, rows["item"], batch)
        return loss, {"user": user}, {"item": item}
