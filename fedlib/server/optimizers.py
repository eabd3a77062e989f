r"""Server optimisers: what the server does with the clients' mean difference other than adding it.

They have the two functions of :class:`~fedlib.server.optimizers.ServerAdam` and keep their moments in the run's state.
Clients here send differences in which their own learning rate is contained already, so the server's is one of its own
and the clients' ``lr`` plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ServerSGD:
    r"""A server with momentum, which goes on in the direction of earlier rounds.

    .. math:: v \leftarrow \beta v + \bar\Delta,\quad \theta \leftarrow \theta + \eta v

    with :math:`\bar\Delta` the weighted mean of the clients' differences. ``momentum`` 0 and ``rate`` 1 are FedAvg.
    Source: Hsu, Qi and Brown, *Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification*, 2019, section 3 (FedAvgM).
    """

    rate: float = 1.0
    momentum: float = 0.9

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The momentum before the first round, all zero, and the number of steps taken."""
        return {f"v/{name}": torch.zeros_like(value) for name, value in values.items()} | _no_steps()

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it."""
        v = memory[f"v/{name}"] = self.momentum * memory[f"v/{name}"] + (mean - value)
        return value + self.rate * v


@dataclass(frozen=True)
class ServerYogi:
    r"""A server that takes Yogi's step, whose second moment changes by no more than the newest square.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1)\bar\Delta,\quad
       v \leftarrow v - (1-\beta_2)\,\bar\Delta^2\,\mathrm{sign}(v - \bar\Delta^2),\quad
       \theta \leftarrow \theta + \eta\,\frac{m}{\sqrt v + \tau}

    with v at :math:`\tau^2` in the beginning.
    Source: Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, Algorithm 2 (FedYogi).
    """

    rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The moments before the first round, and the number of steps taken."""
        first = {f"m/{name}": torch.zeros_like(value) for name, value in values.items()}
        second = {f"v/{name}": torch.full_like(value, self.tau**2) for name, value in values.items()}
        return first | second | _no_steps()

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it."""
        delta, v = mean - value, memory[f"v/{name}"]
        square = delta * delta
        m = memory[f"m/{name}"] = torch.lerp(delta, memory[f"m/{name}"], self.beta1)
        v = memory[f"v/{name}"] = v - (1 - self.beta2) * square * torch.sign(v - square)
        return value + self.rate * m / (v.sqrt() + self.tau)


def _no_steps() -> dict[str, Tensor]:
    return {"steps": torch.zeros((), dtype=torch.int64)}


@dataclass(frozen=True)
class ServerAdam:
    r"""A server that takes Adam's step along the clients' mean difference instead of the difference itself.

    .. math:: g = \frac{\lambda}{\sum_k w_k}\theta - \bar\Delta,\quad
       m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad
       \theta \leftarrow \theta - \eta\,\frac{\hat m}{\sqrt{\hat v} + \epsilon}

    with :math:`\bar\Delta` the weighted mean of what the clients sent and the usual correction of m and v for their
    start at zero. Its moments live in the run's state, so a checkpoint covers them.
    Source: Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, Algorithm 2 (FedAdam), with an L2 term.
    """

    l2: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The moments before the first round, all zero, and the number of steps taken."""
        moments = {f"{moment}/{name}": torch.zeros_like(value) for name, value in values.items() for moment in "mv"}
        return moments | {"steps": torch.zeros((), dtype=torch.int64)}

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it, ``weight`` the sum of their weights."""
        t = int(memory["steps"]) + 1
        g = value - mean + (self.l2 / weight) * value
        m = memory[f"m/{name}"] = torch.lerp(g, memory[f"m/{name}"], self.beta1)
        v = memory[f"v/{name}"] = torch.lerp(g * g, memory[f"v/{name}"], self.beta2)
        return value - lr * (m / (1 - self.beta1**t)) / ((v / (1 - self.beta2**t)).sqrt() + self.eps)
