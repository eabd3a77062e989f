"""FALE's leverage scores, brought to federated recommendation: samples that no other sample can stand in for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib.engine.received import only_table
from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.select.base import Selection, chance, gumbel
from fedlib.shapes import Samples, Work, real_of

if TYPE_CHECKING:
    from fedlib.engine.state import State
    from fedlib.server.sums import Sums


def gram(x: Tensor, real: Tensor) -> Tensor:
    r""":math:`X_u^\top X_u` of the rows of x (K, P, f) where ``real`` (K, P) -> (K, f, f)."""
    x = x * real[:, :, None]
    return x.transpose(1, 2) @ x


def leverage(x: Tensor, inverse: Tensor) -> Tensor:
    r""":math:`\tau_i = x_i^\top (G + \lambda I)^{-1} x_i`, x (..., f), inverse (f, f) -> (...).

    With :math:`G = X^\top X` and :math:`\lambda \to 0` this is the squared norm of row i of the left singular vectors
    of X, the stacked rows of all clients, which is how FALE defines it.
    """
    return ((x @ inverse) * x).sum(-1).clamp(min=0)


class FALE(Selection):
    r"""Draw samples without replacement in proportion to their leverage in the data of all clients.

    .. math:: G = \sum_{u \in S_t} X_u^\top X_u,\qquad \tau_i = x_i^\top (G + \lambda I)^{-1} x_i

    with :math:`x_i = [p_u; q_i]`, or :math:`q_i` where a model has no user vector, and :math:`\lambda` = ``ridge``. The
    original decomposes the stacked matrix X in a masked form (FedSVD) and gives each client its rows of the left
    singular vectors. For their lengths alone the f x f matrix G is enough, and as a sum over clients it fits into
    secure aggregation. The server returns the inverse; a client computes the leverage of its own samples.

    Features move while the model trains, so G is taken anew in every round; a client needs the inverse before it can
    choose, so it gets that of the *previous* round's clients, and in the first round, when there is none, chooses
    uniformly. FALE labels data once, for a regression, and weights its samples by one over their probability; here
    neither is done.

    **What leaves the device**: :math:`X_u^\top X_u`, f (f+1)/2 different numbers. Its diagonal blocks hold
    :math:`|D_u|\,p_u p_u^\top`, from which the private user vector follows up to its sign, and the second moments of
    the client's items. Use it with secure aggregation. User-level differential privacy refuses it.

    Sources: Tang et al., *Efficient Heterogeneity-Aware Federated Active Data Selection*, ICML 2025 (of which we could
    read the abstract and the reviews); Chai et al., *Practical Lossless Federated Singular Vector Decomposition over
    Billion-Scale Data*, KDD 2022.
    """

    def __init__(self, ratio: float, *, over: str, ridge: float = 1e-3) -> None:
        super().__init__(ratio, over=over)
        self.ridge = ridge

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """A G of zeros; InputError for a ridge or a backbone that makes no sense."""
        if not 0 < self.ridge < float("inf"):
            raise InputError(f"ridge must be a positive number, not {self.ridge}.")
        width = plan.backbone.reads[only_table(plan.backbone)].dim
        user = [p.numel() for name, p in plan.backbone.named_parameters() if name == "user"]
        return super().plan(plan) | {"gram": torch.zeros(width + sum(user), width + sum(user))}

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        """(G + ridge I)^-1, and zeros before there is a G, which makes all samples alike."""
        g = own["gram"].double()
        if bool(g.any()):
            g = torch.linalg.inv(g + self.ridge * torch.eye(len(g), dtype=g.dtype, device=g.device))
        return {"inverse": g.float()}

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw in proportion to the leverage, and X_u^T X_u of all that the client has."""
        x = work.received.features(among.items)
        tau = leverage(x, message["inverse"].to(x))
        uploads = {"gram": gram(x, real_of(tau, among.count))}
        return gumbel(tau.double().log(), chance(work, "draw", among.number)), uploads

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """The G of this round, for the next one."""
        return {"gram": uploads["gram"]} if uploads else own
