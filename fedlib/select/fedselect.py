"""FedSelect: a meta model, taught by one client a round, says what a sample is worth by its loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.select.base import Selection, chance, gumbel
from fedlib.select.meta import SIZE, adam_step, initial_meta, meta_gradient, weigh
from fedlib.shapes import Samples, Work, real_of

if TYPE_CHECKING:
    from fedlib.engine.state import State
    from fedlib.server.sums import Sums

NONE = -1.0  # in a client's memory: nothing recorded yet. Losses and margins are never negative.


class FedSelect(Selection):
    r"""Draw samples without replacement in proportion to a weight that a meta model gives to their loss.

    1. The server sends the meta model :math:`w_\phi` (:func:`~fedlib.select.meta.weigh`). A client weighs its positives
       by their loss under the received model and draws the share; in the first ``warm_up`` rounds uniformly.
    2. After local training its margins say what training has changed
       (:func:`margins`), from the loss recorded at the end of its last participation; at its first one, from the loss
       under the received model. The ``max(4, 10 %)`` positives with the largest make up its proxy set.
    3. One client of the round, the one that last reported the largest mean weight, computes the gradient of
       :math:`\phi` on its proxy set through a training step (:func:`~fedlib.select.meta.meta_gradient`, of step size
       ``rate`` on ``batch`` positives), and the server takes a step of Adam with it and an L2 term of ``decay``. All
       others send zeros.

    Losses and margins stay with the client that recorded them, and are those of positives, whatever is chosen from:
    negatives are new in every round, so nothing is on record of them.

    The original has few clients with much data: it also selects clients, which FedSLLM's setting forbids, and draws
    with replacement; the proxy set has 100 samples. The rest follows the authors' published code.

    **What leaves the device**: a client's mean weight, sent in its own place of a vector of all clients so that a sum
    keeps it apart, which tells the server how well the model fits it; and from one client a round the gradient (301,).
    Secure aggregation hides which client sent the gradient, and cannot hide the mean weights. User-level
    differential privacy refuses both.

    Source: Zhang et al., *Proxy-Validated Importance-Aware Federated Sample Selection with Meta Learning*, KDD 2025.
    """

    def __init__(
        self,
        ratio: float,
        *,
        over: str,
        warm_up: int = 5,
        momentum: float = 0.5,
        rate: float = 0.01,
        batch: int = 100,
        decay: float = 1e-4,
    ) -> None:
        super().__init__(ratio, over=over)
        self.warm_up, self.momentum, self.rate, self.batch, self.decay = warm_up, momentum, rate, batch, decay

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError where no client has a model of its own to learn from."""
        if plan.stores:
            raise InputError("FedSelect trains a model for each user by itself, and a store has one for all its users: "
                             "choose another selector, or a split without stores.")  # fmt: skip
        return super().plan(plan)

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """The meta model with Adam's moments, and no report of anybody."""
        meta = initial_meta(seed)
        reports = torch.full((split.data.n_users,), NONE, dtype=torch.float64)
        moments = {"m": torch.zeros_like(meta), "v": torch.zeros_like(meta)}
        return {"meta": meta, "reports": reports, "steps": torch.zeros((), dtype=torch.int64)} | moments

    def memory(self, split: Split) -> dict[str, Tensor]:
        """Each positive's last recorded loss and margin, (nnz,)."""
        nothing = torch.full((len(split.train.items),), NONE, dtype=torch.float64)
        return super().memory(split) | {"loss": nothing, "margin": nothing.clone()}

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        """The meta model, and who is to teach it: -1 where nobody takes part."""
        teacher, reports = torch.full((), -1, device=chosen.device), own["reports"][chosen]
        if len(reports):
            teacher = chosen[(reports == reports.max()).nonzero()[0, 0]]  # the first of equals
        return {"meta": own["meta"].float(), "teacher": teacher}

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh by the loss under the received model; report the mean weight."""
        z = work.score(among.items)
        loss = F.softplus(torch.where(among.label == 1, -z, z))
        weight, real = weigh(message["meta"].to(loss), loss), real_of(loss, among.count)
        self.record(work, loss[:, :: loss.shape[1] // work.positives.shape[1]].double())
        mean = (weight * real).sum(1) / among.count
        reports = mean.new_zeros(len(mean), work.received.own.n_users)
        reports.scatter_(1, work.clients[:, None], mean[:, None])
        weight = torch.ones_like(weight) if work.round < self.warm_up else weight
        return gumbel(weight.log(), chance(work, "draw", among.number)), {"reports": reports}

    def record(self, work: Work, loss: Tensor) -> None:
        """Note the loss (K, P) of the positives where none is noted yet."""
        recorded, real = work.memory["loss"], real_of(loss, work.count)
        before = recorded[work.positions]
        recorded[work.positions[real]] = torch.where(before == NONE, loss, before)[real]

    def after(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """Record losses and margins, and teach the meta model where it is this client's turn."""
        real = real_of(work.owned, work.owned_count)
        assert work.trained is not None
        loss, memory, here = F.softplus(-work.trained(work.owned)).double(), work.memory, work.positions
        now = scaled(memory["loss"][here] - loss, real)
        smooth = margins(now, memory["margin"][here], self.momentum, real)
        memory["loss"][here[real]], memory["margin"][here[real]] = loss[real], now[real]
        gradient = loss.new_zeros(len(loss), SIZE)
        for k in (work.clients == message["teacher"]).nonzero()[:, 0].tolist():
            gradient[k] = self.lesson(work, message["meta"], smooth, k)
        return {"meta gradient": gradient}

    def lesson(self, work: Work, meta: Tensor, margin: Tensor, k: int) -> Tensor:
        """The meta gradient of client k from its ``margin`` (K, P)."""
        number = int(work.owned_count[k])
        proxy = work.owned[k, margin[k, :number].argsort(descending=True, stable=True)[: proxy_size(number)]]
        batch = work.owned[k, chance(work, "batch", work.owned)[k, :number].argsort()[: self.batch]]
        return meta_gradient(work.received.of(work.clients[k : k + 1]), meta, batch[None], proxy[None], self.rate)

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Note the reports and, where a gradient has arrived, teach the meta model."""
        if not uploads:
            return own
        reports, g = uploads["reports"].to(own["reports"]), uploads["meta gradient"]
        own = own | {"reports": torch.where(reports > 0, reports, own["reports"])}
        return adam_step(own, g, decay=self.decay) if bool(g.any()) else own


def proxy_size(number: int) -> int:
    """max(4, ceil(n / 10)) of n samples, or all there are."""
    return min(number, max(4, math.ceil(number / 10)))


def scaled(x: Tensor, real: Tensor) -> Tensor:
    """x (K, P) from 0 to 1 among the ``real`` entries of each row; 0 where all are equal, and in padding."""
    low = x.masked_fill(~real, math.inf).amin(1, keepdim=True)
    span = x.masked_fill(~real, -math.inf).amax(1, keepdim=True) - low
    return torch.where(real & (span > 0), (x - low) / span, 0.0)


def margins(now: Tensor, before: Tensor, momentum: float, real: Tensor) -> Tensor:
    r"""What training has changed: :math:`m = \beta m_{prev} + (1-\beta) m_{now}`, from 0 to 1 in each row.

    now (K, P): the scaled loss before minus the loss after. ``before``: the same of the last participation, as it was
    and not as it was smoothed; negative where there was none.
    """
    return scaled(torch.where(before < 0, now, momentum * before + (1 - momentum) * now), real)
