"""NGCF's layers by hand, and the whole model against a dense one written down here."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from fedlib import InputError, rng
from fedlib.backbones.graph import Graph, laplacian, mean_with_self
from fedlib.backbones.ngcf import FedNGCF, code_layer, paper_layer
from fedlib.backbones.triples import Triples, draw_triples
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler

M, N = 6, 8
NODES = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)


@pytest.fixture
def two_by_two() -> Graph:
    """User 0 with both items, user 1 with the second."""
    return Graph.of(UserItems.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2), torch.arange(2), 2)


def number(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


def test_the_papers_layer_by_hand(two_by_two: Graph) -> None:
    """2 (s + e) - 3 s e with s = L e, and a fifth of it where that is negative."""
    s = [3 / math.sqrt(2) + 2, 4 / math.sqrt(2), 1 / math.sqrt(2), 1 / 2 + 2 / math.sqrt(2)]
    inner = [2 * (a + b) - 3 * a * b for a, b in zip(s, [1, 2, 3, 4], strict=True)]
    assert inner[0] < 0 < inner[2]
    expected = [x if x > 0 else 0.2 * x for x in inner]
    assert paper_layer(laplacian(two_by_two, NODES), NODES, number(2), number(-3)).flatten().tolist() == pytest.approx(
        expected
    )


def test_the_codes_layer_by_hand(two_by_two: Graph) -> None:
    """s = (8/3, 3, 2, 7/3); then 2 s + 1 > 0, and a fifth of 1/2 - s e, which is negative everywhere."""
    s = mean_with_self(two_by_two, NODES)
    out = code_layer(s, NODES, number(2), number(1), number(-1), number(0.5))
    assert out.flatten().tolist() == pytest.approx([5.9, 5.9, 3.9, 3.9])


def edges() -> UserItems:
    """Random interactions in which the last user and the last two items have none."""
    chosen = rng.uniform(rng.key(2, "edges"), torch.arange(M)[:, None], torch.arange(N)) < 0.5
    chosen[-1], chosen[:, -2:] = False, False
    return UserItems.from_pairs(*chosen.nonzero().T, M)


def start(model: FedNGCF) -> dict[str, Tensor]:
    values = {name: rng.normal(rng.key(1, name), torch.arange(p.numel())).view(p.shape) for name, p in
              model.named_parameters()}  # fmt: skip
    values["user"] = rng.normal(rng.key(1, "users"), torch.arange(M)[:, None], torch.arange(model.dim))
    values["item"] = rng.normal(rng.key(1, "items"), torch.arange(N)[:, None], torch.arange(model.dim))
    return values


def dense_vectors(model: FedNGCF, values: dict[str, Tensor], log: UserItems) -> Tensor:
    """The final vectors of all users and items, (M + N, D), from an (M + N)-square matrix."""
    a = torch.zeros(M + N, M + N, dtype=torch.float64)
    a[log.users, M + log.items] = 1
    a = a + a.T
    e = torch.cat([values["user"], values["item"]])
    parts = [e]
    for level in range(len(model.layers)):
        w1, w2 = values[f"w1.{level}"], values[f"w2.{level}"]
        if model.variant == "paper":
            d = torch.diag(torch.nan_to_num(a.sum(1) ** -0.5, posinf=0.0))
            lap = d @ a @ d
            e = F.leaky_relu((lap + torch.eye(M + N)) @ e @ w1 + (lap @ e * e) @ w2, 0.2)
            parts.append(e)
        else:
            hat = torch.diag(1 / (a.sum(1) + 1)) @ (a + torch.eye(M + N))
            side = hat @ e
            e = F.leaky_relu(side @ w1 + values[f"b1.{level}"], 0.2) + F.leaky_relu(
                (e * side) @ w2 + values[f"b2.{level}"], 0.2
            )
            parts.append(e / e.norm(dim=1, keepdim=True))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_vectors_loss_and_gradients_are_those_of_a_dense_model(variant: str) -> None:
    model, log = FedNGCF(4, layers=(5, 3), variant=variant, dropout=0.0, l2=0.1), edges()
    graph = Graph.of(log, torch.arange(M), N)
    ours = {name: value.requires_grad_() for name, value in start(model).items()}
    theirs = {name: value.requires_grad_() for name, value in start(model).items()}
    assert_close(torch.cat(model.vectors(ours, graph)), dense_vectors(model, theirs, log).detach())

    triples = Triples(torch.tensor([0, 1, 1, 3]), torch.tensor([0, 2, 2, 4]), torch.tensor([7, 6, 1, 7]))
    loss = model.loss(ours, graph.with_items(triples.negatives), triples, stream=0)
    loss.backward()
    final = dense_vectors(model, theirs, log)
    u, i, j = final[triples.users], final[M + triples.positives], final[M + triples.negatives]
    margin = (u * i).sum(1) - (u * j).sum(1)
    penalty = 0.1 * (u.square().sum() + i.square().sum() + j.square().sum()) / (2 * len(u))
    expected = -torch.log(torch.sigmoid(margin)).mean() + penalty
    expected.backward()
    assert_close(loss, expected)
    for name in theirs:
        assert_close(ours[name].grad, theirs[name].grad, msg=lambda m, name=name: f"{name}: {m}")


def test_dropout_acts_in_training_only() -> None:
    graph = Graph.of(edges(), torch.arange(M), N)
    sure, unsure = FedNGCF(4, layers=(5, 3), dropout=0.0), FedNGCF(4, layers=(5, 3), dropout=0.4)
    values = start(sure)
    assert_close(torch.cat(unsure.vectors(values, graph)), torch.cat(sure.vectors(values, graph)))
    nodes = torch.arange(M)
    first, second = (unsure.encode(values, graph, nodes, stream)[:, 4:] for stream in (1, 2))
    assert not torch.equal(first == 0, second == 0)
    # A kept unit of the first layer is 1/0.6 of what it was, before the row is brought to length one.
    kept = first[:, :5] != 0
    plain = sure.encode(values, graph, nodes)[:, 4:9]
    ratio = torch.where(kept, first[:, :5] / plain, 0.0)
    for row, there in zip(ratio, kept, strict=True):
        assert_close(row[there], row[there].mean().expand(int(there.sum())))
    assert 0.2 < float((first == 0).double().mean()) < 0.6


def test_the_units_that_are_kept_are_made_larger() -> None:
    """The paper's variant does not bring rows to length one, so the factor 1/0.6 is there to see."""
    graph, nodes = Graph.of(edges(), torch.arange(M), N), torch.arange(M)
    sure, unsure = (FedNGCF(4, layers=(5,), variant="paper", dropout=p) for p in (0.0, 0.4))
    values = start(sure)
    dropped, plain = unsure.encode(values, graph, nodes, stream=1)[:, 4:], sure.encode(values, graph, nodes)[:, 4:]
    assert_close(dropped[dropped != 0], plain[dropped != 0] / 0.6)


def test_a_node_drops_the_same_units_whichever_other_nodes_there_are() -> None:
    graph = Graph.of(edges(), torch.arange(M), N)
    model = FedNGCF(4, layers=(5, 3), dropout=0.4)
    values, nodes = start(model), torch.tensor([3, 0, 7, 3])
    alone = model.encode(values, graph, nodes, stream=1)
    assert_close(model.encode(values, graph.with_items(torch.arange(N)), nodes, stream=1), alone)
    assert_close(model.encode(values, graph, torch.arange(8), stream=1)[nodes], alone)


def test_triples_are_of_a_user_its_item_and_another_item() -> None:
    """The store's users are 10, 11, ... of the catalogue's; the last of them has no interactions."""
    log, users = edges(), torch.arange(10, 10 + M)
    everybody = UserItems.from_pairs(users[log.users], log.items, 20)
    triples = draw_triples(log, users, NegativeSampler(everybody, N), 5000, 0, 1)
    for user, positive, negative in zip(*(t.tolist() for t in vars(triples).values()), strict=True):
        own = log[user].tolist()
        assert positive in own and negative not in own
    shares = torch.bincount(triples.users, minlength=M) / 5000
    assert_close(shares, torch.tensor([0.2] * 5 + [0.0]), rtol=0, atol=0.03)
    assert len(set(triples.negatives[triples.users == 0].tolist())) == N - len(log[0])
    again = draw_triples(log, users, NegativeSampler(everybody, N), 5000, 0, 2)
    assert not torch.equal(again.users, triples.users)


def test_values_start_at_glorots_spread() -> None:
    model = FedNGCF(32, layers=(64,))
    assert float(model.initial("w1.0", 0).std()) == pytest.approx(math.sqrt(2 / 96), rel=0.1)
    users = model.initial("user", 0, torch.arange(300))
    assert users.shape == (300, 32) and float(users.std()) == pytest.approx(math.sqrt(2 / 332), rel=0.1)


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(InputError, match='variant must be one of code, paper, not "paper2"'):
        FedNGCF(variant="paper2")


def test_the_layers_outputs_are_the_final_vectors_in_parts(two_by_two: Graph) -> None:
    model = FedNGCF(3, layers=(4, 2), variant="paper")
    rows = {name: 2 if name in ("user", "item") else 1 for name in ("user", "item")}
    values = {name: rng.normal(rng.key(0, name), torch.arange(n * 3)).view(n, 3).float() for name, n in rows.items()}
    for name, p in model.named_parameters():
        if name != "user":
            values[name] = rng.normal(rng.key(0, name), torch.arange(p.numel())).view(p.shape).float()
    nodes = torch.arange(4)
    parts = model.layer_outputs(values, two_by_two, nodes)
    assert [part.shape for part in parts] == [(4, 3), (4, 4), (4, 2)]
    assert torch.equal(torch.cat(parts, 1), model.encode(values, two_by_two, nodes))
