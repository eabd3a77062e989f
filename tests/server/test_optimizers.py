"""Server optimisers, against torch.optim and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedlib import FCFALS, FedMF, FedNCF, InputError, LocalTraining, federate, rng
from fedlib.server.optimizers import ServerAdam, ServerOptimizer, ServerSGD, ServerYogi
from tests.small import small_split

ONE = torch.tensor(1.0)


def rounds(rule: ServerOptimizer, deltas: list[torch.Tensor]) -> list[torch.Tensor]:
    """The server's values, starting at zero, when the clients' mean differences are these."""
    values = [torch.zeros_like(deltas[0])]
    memory = rule.memory({"w": values[0]})
    for delta in deltas:
        values.append(rule.step("w", values[-1], values[-1] + delta, ONE, memory, 123.0))
        memory["steps"] += 1
    return values[1:]


def deltas(n: int) -> list[torch.Tensor]:
    return [rng.normal(rng.key(t, "delta"), torch.arange(5)) for t in range(n)]


@pytest.mark.parametrize(("lr", "momentum"), [(1.0, 0.0), (1.0, 0.9), (0.3, 0.5)])
def test_momentum_is_that_of_torch(lr: float, momentum: float) -> None:
    """The difference is the negative gradient; torch's momentum starts with the first gradient, as ours does."""
    given = deltas(6)
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([w], lr=lr, momentum=momentum)
    for ours, delta in zip(rounds(ServerSGD(lr, momentum), given), given, strict=True):
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


def test_fedadam_by_hand() -> None:
    """Differences 2 and then 1 with lr 1, both betas 1/2, tau 1: v goes 1, 2.5, 1.75, and m 0, 1, 1."""
    first, second = rounds(ServerAdam(1.0, 0.5, 0.5, 1.0), [torch.tensor([2.0]), torch.tensor([1.0])])
    assert first.item() == pytest.approx(1 / (2.5**0.5 + 1))
    assert second.item() == pytest.approx(1 / (2.5**0.5 + 1) + 1 / (1.75**0.5 + 1))


HOW = {"local": LocalTraining(batch=8, lr=0.1), "device": "cpu", "dtype": torch.float64}


@pytest.mark.parametrize(
    "rule", [ServerSGD(0.7, 0.5), ServerAdam(0.05), ServerYogi(0.05)], ids=lambda r: type(r).__name__
)
def test_the_loop_steps_with_it_from_the_mean_of_plain_rounds(rule: ServerOptimizer) -> None:
    """Each round by itself, from the state before it, tells the clients' mean; the optimiser then is ours by hand."""
    split, model = small_split(), FedNCF(4, hidden=(6,), gmf=0)
    start = federate(
        split, model, rounds=1, **HOW | {"local": LocalTraining(batch=8, lr=1e-300, lr_items=1e-300)}
    ).state
    mean = federate(split, model, rounds=1, **HOW).state
    stepped = federate(split, model, rounds=1, server=rule, **HOW).state
    memory = rule.memory({"item": start.tables["item"], "out.weight": start.shared["out.weight"]})
    for group, name in (("tables", "item"), ("shared", "out.weight")):
        before, after = (getattr(state, group)[name] for state in (start, mean))
        expected = rule.step(name, before, after, ONE, memory, 1.0)
        torch.testing.assert_close(getattr(stepped, group)[name], expected, rtol=0, atol=1e-12)
    assert int(stepped.server["steps"]) == 1


def test_a_run_resumes_with_its_moments_and_without_momentum_it_is_the_mean(tmp_path: Path) -> None:
    split, how = small_split(), HOW | {"server": ServerYogi(0.05), "clients_per_round": 0.5}
    whole = federate(split, FedMF(4), rounds=4, **how).state.tensors()
    federate(split, FedMF(4), rounds=2, checkpoint=tmp_path, **how)
    resumed = federate(split, FedMF(4), rounds=4, checkpoint=tmp_path, resume=True, **how)
    for name, value in whole.items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    assert resumed.config["server"] == {"name": "ServerYogi", "lr": 0.05, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3}
    with pytest.raises(InputError, match="another run"):
        federate(split, FedMF(4), rounds=4, checkpoint=tmp_path, resume=True, **how | {"server": ServerYogi(0.06)})
    plain, mean = (federate(split, FedMF(4), rounds=2, server=s, **HOW) for s in (None, ServerSGD(momentum=0.0)))
    torch.testing.assert_close(mean.state.tables["item"], plain.state.tables["item"], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("model", "server", "told"),
    [
        (FCFALS(4), ServerYogi(), "has a server step of its own"),
        (FedMF(4).alone(), ServerYogi(), "leave a server nothing to do"),
        (FedMF(4), ServerYogi(lr=0.0), "lr must be a positive number"),
        (FedMF(4), ServerAdam(beta1=1.0), r"beta1 must be in \[0, 1\)"),
        (FedMF(4), ServerAdam(tau=0.0), "tau must be a positive number"),
        (FedMF(4), ServerSGD(momentum=1.5), r"momentum must be in \[0, 1\)"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(model: object, server: ServerOptimizer, told: str) -> None:
    with pytest.raises(InputError, match=told):
        federate(small_split(), model, server=server, rounds=1, device="cpu")  # type: ignore[arg-type]
