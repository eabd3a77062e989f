"""FCF: the objective of the paper, its exact user step and its item gradient, by automatic differentiation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedlib import LocalTraining, federate
from fedlib.backbones import FCFALS
from fedlib.errors import InputError
from fedlib.items import ItemTable
from fedlib.server.optimizers import GradientAdam
from tests.small import small_split

ALPHA, L2, DOUBLE = 3.0, 2.0, {"device": "cpu", "dtype": torch.float64}


def model() -> FCFALS:
    return FCFALS(4, alpha=ALPHA, l2=L2, std=0.5)


def objective(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """J over all entries: p (m, d), q (n, d), r (m, n)."""
    return ((1 + ALPHA * r) * (r - p @ q.T) ** 2).sum() + L2 * (p.square().sum() + q.square().sum())


def matrix(split) -> Tensor:
    r = torch.zeros(split.data.n_users, split.data.n_items, dtype=torch.float64)
    r[split.train.users, split.train.items] = 1
    return r


def own_items(split) -> tuple[Tensor, Tensor, Tensor]:
    """Everybody's items, how many they are, and some items to score, which make no difference here."""
    everyone = torch.arange(split.data.n_users)
    return *split.train.padded(everyone), everyone[:, None]


def test_a_client_solves_for_its_vector_exactly() -> None:
    split = small_split()
    q = ItemTable().tables(model(), split.data.n_items, 0)["item"]
    p = model().prepare({}, {"item": q}, *own_items(split))["user"].requires_grad_()
    (gradient,) = torch.autograd.grad(objective(p, q, matrix(split)), p)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


def test_one_round_is_adams_step_on_the_papers_gradient() -> None:
    split = small_split()
    q = ItemTable().tables(model(), split.data.n_items, 0)["item"].requires_grad_()
    p = model().prepare({}, {"item": q.detach()}, *own_items(split))["user"]
    adam = torch.optim.Adam([q], lr=0.1, betas=(0.9, 0.99))
    # Half the mean over clients: Adam does not see the factor.
    (objective(p, q, matrix(split)) / (2 * split.data.n_users)).backward()
    adam.step()
    result = federate(split, model(), local=LocalTraining(lr=0.1), rounds=1, **DOUBLE)
    torch.testing.assert_close(result.state.tables["item"], q.detach())
    assert set(result.ledger["tensor"]) == {"item"}


def test_the_servers_moments_are_adams_over_many_rounds() -> None:
    theta, ours = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([1.0, -2.0], dtype=torch.float64)
    theta.requires_grad_()
    theirs = torch.optim.Adam([theta], lr=0.05, betas=(0.9, 0.99))
    rule, weight = GradientAdam(l2=3.0), torch.tensor(2.0)
    memory = rule.memory({"theta": ours})
    for t in range(5):
        sent = torch.tensor([0.3, t - 2.0], dtype=torch.float64)  # the clients' mean difference
        theta.grad = 3.0 / 2 * theta.detach() - sent
        theirs.step()
        ours = rule.step("theta", ours, ours + sent, weight, memory, lr=0.05)
        memory["steps"] += 1
        torch.testing.assert_close(ours, theta.detach())


def test_the_objective_falls() -> None:
    split = small_split()
    losses = federate(split, model(), local=LocalTraining(lr=0.05), rounds=20, device="cpu").history["loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_chunks_agree_and_a_run_resumes_bit_for_bit(share: float, tmp_path: Path) -> None:
    split, local = small_split(), LocalTraining(lr=0.05)
    how = {"local": local, "clients_per_round": share, "device": "cpu"}
    whole = federate(split, model(), rounds=4, chunk=5, **how)
    loop = federate(split, model(), rounds=4, chunk=1, **how)
    federate(split, model(), rounds=2, chunk=5, checkpoint=tmp_path, **how)
    resumed = federate(split, model(), rounds=4, chunk=5, checkpoint=tmp_path, resume=True, **how)
    for name, value in whole.state.tensors().items():
        torch.testing.assert_close(loop.state.tensors()[name], value, rtol=0, atol=1e-5)
        assert torch.equal(resumed.state.tensors()[name], value), name


def test_recommending_uses_the_newest_items() -> None:
    """The stored vector was solved with the table before the last step; scores must not use it."""
    split = small_split()
    result = federate(split, model(), local=LocalTraining(lr=0.5), rounds=1, **DOUBLE)
    q = result.state.tables["item"]
    fresh = model().prepare({}, {"item": q}, *own_items(split))["user"] @ q.T
    user = split.data.user_ids[3]
    shown = result.recommend(user, k=3)["score"].tolist()
    fresh[3, split.train[3]] = -torch.inf
    assert shown == pytest.approx(fresh[3].topk(3).values.tolist())


def test_there_is_no_local_only_form() -> None:
    with pytest.raises(InputError, match="no local-only form"):
        model().alone()
