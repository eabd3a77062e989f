"""Server optimisers, against torch.optim and by hand."""

from __future__ import annotations

import pytest
import torch

from fedlib import rng
from fedlib.server.optimizers import ServerSGD, ServerYogi

ONE = torch.tensor(1.0)


def rounds(rule: ServerSGD | ServerYogi, deltas: list[torch.Tensor]) -> list[torch.Tensor]:
    """The server's values, starting at zero, when the clients' mean differences are these."""
    values = [torch.zeros_like(deltas[0])]
    memory = rule.memory({"w": values[0]})
    for delta in deltas:
        values.append(rule.step("w", values[-1], values[-1] + delta, ONE, memory, 123.0))
        memory["steps"] += 1
    return values[1:]


def deltas(n: int) -> list[torch.Tensor]:
    return [rng.normal(rng.key(t, "delta"), torch.arange(5)) for t in range(n)]


@pytest.mark.parametrize(("rate", "momentum"), [(1.0, 0.0), (1.0, 0.9), (0.3, 0.5)])
def test_momentum_is_that_of_torch(rate: float, momentum: float) -> None:
    """The difference is the negative gradient; torch's momentum starts with the first gradient, as ours does."""
    given = deltas(6)
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([w], lr=rate, momentum=momentum)
    for ours, delta in zip(rounds(ServerSGD(rate, momentum), given), given, strict=True):
        w.grad = -delta
        theirs.step()
        torch.testing.assert_close(ours, w.detach())


def test_without_momentum_it_is_fedavg() -> None:
    (first,) = rounds(ServerSGD(momentum=0.0), [torch.tensor([2.0, -1.0])])
    assert first.tolist() == [2.0, -1.0]


def test_yogi_by_hand() -> None:
    """Differences 2 and then 1 with rate 1, both betas 1/2, tau 1: v goes 1, 3, 2.5, and m 0, 1, 1."""
    first, second = rounds(ServerYogi(1.0, 0.5, 0.5, 1.0), [torch.tensor([2.0]), torch.tensor([1.0])])
    assert first.item() == pytest.approx(1 / (3**0.5 + 1))
    assert second.item() == pytest.approx(1 / (3**0.5 + 1) + 1 / (2.5**0.5 + 1))


def test_yogi_forgets_a_large_square_slowly() -> None:
    """Adam's second moment shrinks by a share of itself, Yogi's by the small new square only."""
    rule = ServerYogi()
    memory = rule.memory({"w": torch.zeros(1)})
    value = torch.zeros(1)
    for delta in (10.0, 0.1, 0.1):
        value = rule.step("w", value, value + delta, ONE, memory, 1.0)
    assert memory["v/w"].item() == pytest.approx(0.01 * 100 - 2 * 0.01 * 0.01 + 1e-6, rel=1e-4)
