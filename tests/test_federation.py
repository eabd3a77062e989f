"""The loop and its engine against an independent oracle and against cases known in advance."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from fedlib import FedMF, LocalTraining, PFedRec, federate
from fedlib.backbones.base import Backbone
from fedlib.engine.reading import score_all
from fedlib.engine.state import State, initial_state
from fedlib.items import ItemTable
from tests import oracle
from tests.small import BACKBONES, run_oracle, small_split

ADAM = LocalTraining(epochs=2, batch=8, lr=0.01, lr_items=0.02, optimizer="adam", weight_decay=0.01)
SGD = LocalTraining(epochs=2, batch=8, lr=0.05, lr_items=1.0, weight_decay=0.001)


def start_of(
    backbone: Backbone, split, *, negatives: int = 4, seed: int = 0, dtype=torch.float32
) -> dict[str, dict[str, Tensor]]:
    n = split.data.n_items
    state = initial_state(
        backbone, ItemTable().tables(backbone, n, seed), split.train, n, negatives, seed=seed, dtype=dtype,
        device=torch.device("cpu"),
    )  # fmt: skip
    return copy.deepcopy({"shared": state.tables | state.shared, "private": state.private | state.own_tables})


def values(state: State) -> dict[str, Tensor]:
    return state.tables | state.shared | state.private | state.own_tables


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], atol: float) -> None:
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("local", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", BACKBONES)
def test_every_executor_equals_the_oracle(kind: str, local: LocalTraining, share: float) -> None:
    """Repeated items, one-sample clients, unequal numbers of batches, weight decay, dropout, partial participation."""
    split = small_split()
    backbone = BACKBONES[kind][0]
    theirs, judged = run_oracle(kind, split, start_of(backbone, split), local=local, rounds=3, clients_per_round=share)
    for chunk in (1, 5, 64):
        result = federate(
            split,
            backbone,
            local=local,
            rounds=3,
            clients_per_round=share,
            chunk=chunk,
            device="cpu",
        )
        assert_close(values(result.state), theirs, atol=1e-5)
        assert result.history["loss"].tolist() == pytest.approx(judged.losses, abs=1e-5)
        scores = score_all(result.state, backbone, torch.arange(split.data.n_users), split.train)
        for user in range(split.data.n_users):
            torch.testing.assert_close(scores[user], oracle.scores(BACKBONES[kind][1], judged, user), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", BACKBONES)
def test_float64_agrees_much_closer(kind: str) -> None:
    split, backbone = small_split(), BACKBONES[kind][0]
    theirs, _ = run_oracle(
        kind, split, start_of(backbone, split, dtype=torch.float64), local=ADAM, rounds=3, dtype=torch.float64
    )
    result = federate(split, backbone, local=ADAM, rounds=3, dtype=torch.float64, device="cpu", chunk=4)
    assert_close(values(result.state), theirs, atol=1e-10)


@pytest.mark.parametrize(("items", "network"), [("uniform", "uniform"), ("size", "size"), ("row", "uniform")])
def test_every_mean_equals_the_oracle(items: str, network: str) -> None:
    split = small_split()
    backbone = copy.copy(BACKBONES["fedncf"][0])
    backbone.aggregate_items, backbone.aggregate_network = items, network
    theirs, _ = run_oracle(
        "fedncf", split, start_of(backbone, split), local=SGD, rounds=2, items=items, network=network
    )
    assert_close(values(federate(split, backbone, local=SGD, rounds=2, device="cpu", chunk=4).state), theirs, atol=1e-5)


def test_negatives_from_unobserved_items_equal_the_oracle() -> None:
    """The held-out items are drawn as negatives like any other item, if asked for."""
    split, local = small_split(), LocalTraining(batch=8, lr=0.05, lr_items=0.5, negatives_from="unobserved")
    theirs, _ = run_oracle("fedmf", split, start_of(BACKBONES["fedmf"][0], split), local=local, rounds=2)
    ours = federate(split, BACKBONES["fedmf"][0], local=local, rounds=2, device="cpu").state
    assert_close(values(ours), theirs, atol=1e-6)
    leaky = federate(
        split, BACKBONES["fedmf"][0], local=LocalTraining(batch=8, lr=0.05, lr_items=0.5), rounds=2, device="cpu"
    ).state
    assert not torch.equal(ours.tables["item"], leaky.tables["item"])


def test_one_full_batch_step_of_all_clients_is_one_centralised_step() -> None:
    r"""FedAvg by size after one full-batch step from a common model is gradient descent on the pooled loss.

    The mean of the clients' tables, weighted by samples, is one gradient step on the mean loss of all samples,
    which is written down here with one large table and differentiated.
    """
    split = small_split()
    backbone = FedMF(8)
    backbone.aggregate_items = "size"
    local = LocalTraining(batch=10**6, lr=0.3, lr_items=0.3, negatives=1)
    start = start_of(backbone, split, dtype=torch.float64)
    ours = federate(split, backbone, local=local, rounds=1, dtype=torch.float64, device="cpu").state

    table = start["shared"]["item"].requires_grad_()
    total = 0
    loss = torch.zeros((), dtype=torch.float64)
    for user in range(split.data.n_users):
        samples = oracle.draw_samples(
            user, split.train[user].tolist(), split.data.interactions[user].tolist(), split.data.n_items, 1, 0, 0
        )
        z = table[samples.item] @ start["private"]["user"][user]
        loss = loss + torch.nn.functional.softplus(torch.where(samples.label > 0, -z, z)).sum()
        total += len(samples.item)
    (loss / total).backward()
    torch.testing.assert_close(ours.tables["item"], (table - 0.3 * table.grad).detach(), rtol=0, atol=1e-12)


def test_fedmfs_own_item_rate_makes_the_plain_mean_a_sum() -> None:
    """The rule's step is the number of participants times the step at the plain rate; alone or with Adam it is not."""
    split = small_split()
    start = ItemTable().tables(FedMF(4), 40, 0)["item"].float()

    def step(backbone: Backbone, **how) -> Tensor:
        local = LocalTraining(batch=10**6, lr=1e-3, **how)
        result = federate(split, backbone, local=local, rounds=1, clients_per_round=5, device="cpu")
        return next(iter((result.state.tables | result.state.own_tables).values())) - start

    torch.testing.assert_close(step(FedMF(4)), 5 * step(FedMF(4), lr_items=1e-3), rtol=1e-3, atol=1e-7)
    for backbone, how in [(FedMF(4).alone(), {}), (FedMF(4), {"optimizer": "adam"})]:
        assert torch.equal(step(backbone, **how), step(backbone, lr_items=1e-3, **how))


def test_a_federation_of_one_client_is_plain_sgd() -> None:
    """With a single client the mean is the client: three rounds equal three epochs of SGD on its own samples."""
    split = small_split(m=1, longest=12)
    local = LocalTraining(batch=4, lr=0.1, negatives=2)
    start = start_of(FedMF(8), split, negatives=2, dtype=torch.float64)
    ours = federate(split, FedMF(8), local=local, rounds=3, dtype=torch.float64, device="cpu").state
    p, q = start["private"]["user"][0], start["shared"]["item"]
    for t in range(3):
        s = oracle.draw_samples(
            0, split.train[0].tolist(), split.data.interactions[0].tolist(), split.data.n_items, 2, 0, t
        )
        for at in oracle.batches(s.id, 4, 0, 0, t, 0):
            item, error = s.item[at], torch.sigmoid(q[s.item[at]] @ p) - s.label[at]
            step_p, step_q = (error[:, None] * q[item]).mean(0), error[:, None] * p / len(at)
            p = p - 0.1 * step_p
            q = q.index_add(0, item, -0.1 * step_q)
    torch.testing.assert_close(ours.tables["item"], q, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.private["user"][0], p, rtol=0, atol=1e-12)


def test_the_order_of_samples_and_clients_is_nothing() -> None:
    """Samples listed in another order, and chunks visited in another order, give the same model."""
    split = small_split()
    turned = copy.copy(split.train)
    lists = [turned[u].flip(0) for u in range(split.data.n_users)]
    other = copy.copy(split)
    object.__setattr__(other, "train", type(turned)(turned.indptr, torch.cat(lists)))
    for backbone in (FedMF(8), PFedRec(8)):
        first = federate(split, backbone, local=SGD, rounds=2, device="cpu", dtype=torch.float64, chunk=13)
        for again in (
            federate(other, backbone, local=SGD, rounds=2, device="cpu", dtype=torch.float64, chunk=13),
            federate(split, backbone, local=SGD, rounds=2, device="cpu", dtype=torch.float64, chunk=3),
        ):
            assert_close(values(again.state), values(first.state), atol=1e-12)


def test_runs_are_equal_bit_for_bit_and_seeds_differ() -> None:
    split = small_split()
    first, again, other = (federate(split, FedMF(8), local=ADAM, rounds=2, device="cpu", seed=s) for s in (0, 0, 1))
    assert torch.equal(first.state.tables["item"], again.state.tables["item"])
    assert first.history["loss"].tolist() == again.history["loss"].tolist()
    assert not torch.equal(first.state.tables["item"], other.state.tables["item"])


def test_no_global_random_state_is_read_or_set() -> None:
    split = small_split()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = federate(split, BACKBONES["fedncf"][0], local=ADAM, rounds=1, device="cpu")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = federate(split, BACKBONES["fedncf"][0], local=ADAM, rounds=1, device="cpu")
    assert torch.equal(first.state.tables["item"], again.state.tables["item"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", BACKBONES)
def test_cuda_equals_the_cpu_and_itself(kind: str) -> None:
    """Equal to the CPU within rounding, and from run to run bit for bit: no unordered atomic sums."""
    split, backbone = small_split(), BACKBONES[kind][0]
    arguments = {"local": ADAM, "rounds": 3, "clients_per_round": 0.5}
    on_cpu = federate(split, backbone, device="cpu", **arguments)
    first, again = (federate(split, backbone, device="cuda", **arguments) for _ in range(2))
    assert_close({name: value.cpu() for name, value in values(first.state).items()}, values(on_cpu.state), atol=1e-5)
    for name, value in values(first.state).items():
        assert torch.equal(value, values(again.state)[name])
