"""FedAvg and FCF as FedMR's tables count them: a shared item table under a private linear head."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.backbones.linear import head_gradients
from fedlib.shapes import Batch, Gradients, RowGradients, Rows, Table


class FedAvg(Backbone):
    r"""A shared item table, averaged by size, under a private linear head; there is no user vector.

    .. math:: \hat r_{ui} = \sigma(w_u^\top q_i + b_u)

    Head and items are trained together with one learning rate. This is the form in which "FedAvg" stands in FedMR's
    tables, with n d + d + 1 parameters. The head :math:`(w_u, b_u)` starts alike on all clients and stays private; if
    it were reset or averaged in every round, every user would get the same ranking.

    Source: McMahan et al., *Communication-Efficient Learning of Deep Networks from Decentralized Data*, AISTATS 2017,
    Algorithm 1; Li et al., arXiv:2410.08478v2, section 4.1 and Table 5.
    """

    owners: ClassVar = {"score": "user"}
    aggregate_items = "size"
    aggregate_network = "size"
    may_train_in_stores = True

    def __init__(self, dim: int = 64, *, std: float = 0.1) -> None:
        super().__init__()
        self.dim, self.std = dim, std
        self.tables = {"item": Table(dim, std)}
        self.score = nn.Linear(dim, 1, device="meta")

    def forward(self, rows: Rows) -> Tensor:
        return self.score(rows["item"]).squeeze(1)  # (N, d) -> (N,)

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Closed form: see :func:`~fedlib.backbones.linear.head_gradients`."""
        loss, head, item = head_gradients(params, rows["item"], batch)
        return loss, head, {"item": item}


class FCF(FedAvg):
    """The "FCF" of FedMR's tables: :class:`FedAvg` with a plain mean and a large rate for the items.

    The rate is n lr for SGD: it makes up for averaging a row over clients that never touched it. Not to be confused
    with the method of that name by Ammad-ud-din et al., :class:`~fedlib.backbones.fcf.FCFALS`.

    Source: Li et al., arXiv:2410.08478v2, section 4.1 and the authors' code.
    """

    aggregate_items = "uniform"
    aggregate_network = "uniform"

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """n lr for SGD, lr for Adam, whose steps do not shrink with the gradient."""
        return n_items * lr if optimizer == "sgd" else lr
