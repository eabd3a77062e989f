"""FedSelect's meta model, margins and lesson, against torch's own modules and numbers by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedlib import FedMF, FedSelect, LocalTraining, federate
from fedlib.engine.cohort import sample_clients
from fedlib.select.fedselect import margins, proxy_size, scaled
from fedlib.select.meta import SIZE, adam_step, initial_meta, meta_gradient, weigh
from fedlib.shapes import Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)


def as_module(meta: torch.Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid()).double()
    for parameter, part in zip(model.parameters(), meta.split([100, 100, 100, 1]), strict=True):
        parameter.data.copy_(part.view(parameter.shape))
    return model


def test_the_meta_model_is_an_mlp_of_301_numbers() -> None:
    meta, loss = initial_meta(3), torch.linspace(0, 5, 40, dtype=torch.float64)
    torch.testing.assert_close(weigh(meta, loss), as_module(meta)(loss[:, None]).squeeze(1))
    assert SIZE == sum(p.numel() for p in as_module(meta).parameters()) == 301
    assert meta[:200].abs().max() > 0.9 and meta[200:].abs().max() <= 0.1


def test_its_step_is_that_of_torchs_adam() -> None:
    meta = initial_meta(0)
    module = as_module(meta)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, weight_decay=1e-4)
    own = {"meta": meta, "m": torch.zeros(SIZE).double(), "v": torch.zeros(SIZE).double(), "steps": torch.tensor(0)}
    for step in range(4):
        g = torch.sin(torch.arange(SIZE).double() + step)
        for parameter, part in zip(module.parameters(), g.split([100, 100, 100, 1]), strict=True):
            parameter.grad = part.view(parameter.shape)
        optimizer.step()
        own = adam_step(own, g, decay=1e-4)
    torch.testing.assert_close(own["meta"], torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert int(own["steps"]) == 4


def test_margins_by_hand() -> None:
    real = torch.tensor([[True, True, True, False], [True, True, False, False]])
    x = torch.tensor([[1.0, 3.0, 2.0, 99.0], [5.0, 5.0, -7.0, 0.0]])
    assert scaled(x, real).tolist() == [[0, 1, 0.5, 0], [0, 0, 0, 0]]  # equal values are all 0, padding too
    before = torch.tensor([[1.0, 0.0, -1.0, -1.0], [-1.0, -1.0, 0.0, 0.0]])
    now = torch.tensor([[0.0, 1.0, 0.75, 0.0], [0.0, 1.0, 0.0, 0.0]])
    # row 0: .5 .5 and, without a past, .75 -> 0 0 1; row 1 has no past at all
    assert margins(now, before, 0.5, real).tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert [proxy_size(n) for n in (1, 4, 30, 40, 41, 100)] == [1, 4, 4, 4, 5, 10]


class Watched(FedSelect):
    """Keeps what the rounds were about."""

    def __init__(self, **how) -> None:
        super().__init__(0.5, over="positives", **how)
        self.losses: dict[tuple[int, int], torch.Tensor] = {}
        self.lessons: list[tuple[int, int]] = []

    def after(self, work: Work, message):
        uploads = super().after(work, message)
        for k, client in enumerate(work.clients.tolist()):
            number = int(work.owned_count[k])
            fresh = F.softplus(-work.trained(work.owned))[k, :number].double()
            self.losses[work.round, client] = fresh
            kept = work.memory["loss"][work.positions[k, :number]]
            assert torch.equal(kept, fresh)
        taught = [c for c, row in zip(work.clients.tolist(), uploads["meta gradient"], strict=True) if row.any()]
        self.lessons += [(work.round, c) for c in taught]
        return uploads


def test_one_client_a_round_teaches_the_one_that_reported_most() -> None:
    split, states = small_split(), []
    for rounds in (1, 2, 3):
        place = Watched(warm_up=1)
        states.append(federate(split, FedMF(4), select=place, local=LOCAL, rounds=rounds, device="cpu", chunk=5).state)
    assert [t for t, _ in place.lessons] == [0, 1, 2]
    assert place.lessons[0] == (0, 0)  # nobody has reported: the first of equals
    for (_, client), state in zip(place.lessons[1:], states, strict=False):
        assert client == int(state.places["select"]["reports"].argmax())
    assert [int(state.places["select"]["steps"]) for state in states] == [1, 2, 3]


def test_what_is_recorded_is_kept_by_the_client_and_never_sent() -> None:
    result = federate(small_split(), FedMF(4), select=Watched(), local=LOCAL, rounds=2, clients_per_round=0.4,
                      device="cpu")  # fmt: skip
    assert set(result.state.memory["select"]) == {"used", "loss", "margin"}
    assert set(result.ledger["tensor"]) == {
        "item", "select/meta", "select/teacher", "select/reports", "select/meta gradient"
    }  # fmt: skip
    asked = torch.zeros(13, dtype=torch.bool)
    for t in range(2):
        asked[sample_clients(small_split().train.counts, 0.4, 0, t)] = True
    known = result.state.memory["select"]["loss"] >= 0
    assert torch.equal(known, asked[small_split().train.users])  # those who never took part have recorded nothing


def test_the_lesson_is_the_derivative_of_the_proxy_loss() -> None:
    """Against a difference quotient, on the private vector and the item table of one client of FedMF."""
    found = {}

    class Teach(FedSelect):
        def judge(self, work: Work, among, message):
            if work.round == 3:
                k = int(work.count.argmax())
                model = work.received.of(work.clients[k : k + 1])
                owned = work.owned[k : k + 1, : int(work.owned_count[k])]
                found["at"] = (model, owned[:, :6], owned[:, 6:9])
                meta = initial_meta(1)
                found["gradient"] = meta_gradient(model, meta, *found["at"][1:], 5.0)
                for j in (0, 150, 250, 300):
                    moved = []
                    for sign in (1, -1):
                        shifted = meta.clone()
                        shifted[j] += sign * 1e-4
                        moved.append(self.proxy_loss(shifted, *found["at"], 5.0))
                    found[j] = (moved[0] - moved[1]) / 2e-4
            return super().judge(work, among, message)

        def proxy_loss(self, meta, model, batch, proxy, rate) -> float:
            """The same in plain words: two loops over positives and their negatives."""
            p, q = (model.values()[name][0].clone() for name in ("user", "item"))
            asked = [*batch[0].tolist(), *proxy[0].tolist()]
            one = torch.ones(1, dtype=torch.int64)
            draws = {i: model.samples(torch.tensor([[i]]), one).items[0, 1:].tolist() for i in asked}
            dp, dq = torch.zeros_like(p), torch.zeros_like(q)
            for i in batch[0].tolist():
                w = as_module(meta)(F.softplus(-(p @ q[i]))[None, None]).detach().item()
                for j, label in [(i, 1.0), *((j, 0.0) for j in draws[i])]:
                    e = w * (torch.sigmoid(p @ q[j]) - label) / (1 + len(draws[i])) / batch.shape[1]
                    dp += e * q[j]
                    dq[j] += e * p
            p, q = p - rate * dp, q - rate * dq
            total = 0.0
            for v in proxy[0].tolist():
                losses = [F.softplus(-(p @ q[v]))] + [F.softplus(p @ q[j]) for j in draws[v]]
                total += float(sum(losses)) / len(losses)
            return total / proxy.shape[1]

    federate(
        small_split(),
        FedMF(4),
        select=Teach(0.5, over="positives"),
        local=LOCAL,
        rounds=4,
        device="cpu",
        dtype=torch.float64,
    )
    for j in (0, 150, 250, 300):
        assert float(found["gradient"][j]) == pytest.approx(found[j], rel=1e-4, abs=1e-9)
    assert found["gradient"].abs().max() > 1e-6
