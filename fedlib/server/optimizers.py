r"""Server optimisers: what the server does with the clients' mean difference other than adding it.

Clients send differences in which their own learning rate is contained already, so the server's is one of its own. The
moments live in the run's state, so a checkpoint covers them. ``federate(..., server=ServerYogi())`` uses one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedlib.errors import InputError


class ServerOptimizer(Protocol):
    """``memory``: the moments before the first round, and the number of steps taken. ``step``: the new value of one
    tensor, from the clients' weighted ``mean`` of it, the sum of their weights, and ``lr``, the clients' own rate."""

    def check(self) -> None: ...
    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]: ...
    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor: ...


@dataclass(frozen=True)
class ServerSGD:
    r"""A server with momentum, which goes on in the direction of earlier rounds.

    .. math:: v \leftarrow \beta v + \bar\Delta,\quad \theta \leftarrow \theta + \eta v

    with :math:`\bar\Delta` the weighted mean of the clients' differences. ``momentum`` 0 and ``lr`` 1 are FedAvg.
    Source: Hsu, Qi and Brown, *Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification*, 2019, section 3 (FedAvgM).
    """

    lr: float = 1.0
    momentum: float = 0.9

    def check(self) -> None:
        """Raise InputError, in one sentence, for settings that make no sense."""
        check_rates(self.lr, momentum=self.momentum)

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The momentum before the first round, all zero, and the number of steps taken."""
        return {f"v/{name}": torch.zeros_like(value) for name, value in values.items()} | _no_steps()

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it."""
        v = memory[f"v/{name}"] = self.momentum * memory[f"v/{name}"] + (mean - value)
        return value + self.lr * v


@dataclass(frozen=True)
class Adaptive(ABC):
    r"""A server that divides the direction of earlier rounds by the size its coordinates have had.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1)\bar\Delta,\quad
       \theta \leftarrow \theta + \eta\,\frac{m}{\sqrt v + \tau}

    with v at :math:`\tau^2` in the beginning, and no correction for the start; how v moves is the :meth:`second` moment
    of each kind. Source: Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, Algorithm 2.
    """

    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def check(self) -> None:
        """Raise InputError, in one sentence, for settings that make no sense."""
        check_rates(self.lr, beta1=self.beta1, beta2=self.beta2)
        if not (math.isfinite(self.tau) and self.tau > 0):
            raise InputError(f"The server's tau must be a positive number, not {self.tau}.")

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The moments before the first round, and the number of steps taken."""
        first = {f"m/{name}": torch.zeros_like(value) for name, value in values.items()}
        second = {f"v/{name}": torch.full_like(value, self.tau**2) for name, value in values.items()}
        return first | second | _no_steps()

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it."""
        delta = mean - value
        m = memory[f"m/{name}"] = torch.lerp(delta, memory[f"m/{name}"], self.beta1)
        v = memory[f"v/{name}"] = self.second(memory[f"v/{name}"], delta * delta)
        return value + self.lr * m / (v.sqrt() + self.tau)

    @abstractmethod
    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """The second moment after ``v``, from the ``square`` of the mean difference."""


class ServerAdam(Adaptive):
    r"""FedAdam: an :class:`Adaptive` server whose second moment is a mean of squares.

    .. math:: v \leftarrow \beta_2 v + (1-\beta_2)\bar\Delta^2

    Source: Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, Algorithm 2 (FedAdam).
    """

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """The second moment after ``v``, from the ``square`` of the mean difference."""
        return torch.lerp(square, v, self.beta2)


class ServerYogi(Adaptive):
    r"""FedYogi: an :class:`Adaptive` server whose second moment changes by no more than the newest square.

    .. math:: v \leftarrow v - (1-\beta_2)\,\bar\Delta^2\,\mathrm{sign}(v - \bar\Delta^2)

    Source: Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, Algorithm 2 (FedYogi).
    """

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        """The second moment after ``v``, from the ``square`` of the mean difference."""
        return v - (1 - self.beta2) * square * torch.sign(v - square)


@dataclass(frozen=True)
class GradientAdam:
    r"""A server to which clients send gradients, and which takes Adam's step along their mean with an L2 term.

    .. math:: g = \frac{\lambda}{\sum_k w_k}\theta - \bar\Delta

    and :func:`adam` with g; the rate is the clients' ``lr``, which they have no use for.
    Source: Ammad-ud-din et al., arXiv:1901.09888, 2019, section 4.
    """

    l2: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8

    def check(self) -> None:
        """Nothing that a backbone has not seen to."""

    def memory(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The moments before the first round, all zero, and the number of steps taken."""
        moments = {f"{moment}/{name}": torch.zeros_like(value) for name, value in values.items() for moment in "mv"}
        return moments | _no_steps()

    def step(
        self, name: str, value: Tensor, mean: Tensor, weight: Tensor, memory: dict[str, Tensor], lr: float
    ) -> Tensor:
        """The new value; ``mean`` is the clients' weighted mean of it, ``weight`` the sum of their weights."""
        g = value - mean + (self.l2 / weight) * value
        kept, t = (memory[f"m/{name}"], memory[f"v/{name}"]), int(memory["steps"]) + 1
        value, memory[f"m/{name}"], memory[f"v/{name}"] = adam(
            value, g, *kept, t, lr=lr, beta1=self.beta1, beta2=self.beta2, eps=self.eps
        )
        return value


def adam(
    value: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, *, lr: float, beta1: float, beta2: float, eps: float = 1e-8
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Step t = 1, 2, ... of Adam along the gradient g: the new value, and both moments.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad
       \theta \leftarrow \theta - \eta\,\frac{m / (1-\beta_1^t)}{\sqrt{v / (1-\beta_2^t)} + \epsilon}

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, Algorithm 1.

    >>> one = torch.ones(1)
    >>> [float(x) for x in adam(one, one, 0 * one, 0 * one, 1, lr=0.5, beta1=0.5, beta2=0.5, eps=0.0)]
    [0.5, 0.5, 0.5]
    """
    m, v = torch.lerp(g, m, beta1), torch.lerp(g * g, v, beta2)
    return value - lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps), m, v


def check_rates(lr: float, **shares: float) -> None:
    """Raise InputError unless the rate is a positive number and each of the ``shares`` is in [0, 1)."""
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"The server's lr must be a positive number, not {lr}.")
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise InputError(f"The server's {name} must be in [0, 1), not {share}.")


def _no_steps() -> dict[str, Tensor]:
    return {"steps": torch.zeros((), dtype=torch.int64)}
