"""A backbone of one's own: what lies near a person is liked."""

import torch
from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.shapes import Rows, Table


class Near(Backbone):
    r"""Users and items have a place, and an item is liked within its reach.

    .. math:: \hat r_{ui} = \sigma(b_i - \lVert p_u - q_i \rVert^2)

    The user's place :math:`p_u` stays on the client. The items' places Q and
    reaches b are shared, each averaged over the clients that trained it.
    """

    owners = {"user": "user"}
    aggregate_items = "row"

    def __init__(self, dim: int = 8, *, std: float = 0.3) -> None:
        super().__init__()
        self.dim, self.std = dim, std
        self.tables = {"place": Table(dim, std), "reach": Table(1, std)}
        self.user_std = std
        self.user = nn.Parameter(torch.empty(dim, device="meta"))

    def forward(self, rows: Rows) -> Tensor:
        apart = (rows["place"] - self.user).square().sum(-1)  # (N, d) -> (N,)
        return rows["reach"].squeeze(-1) - apart
