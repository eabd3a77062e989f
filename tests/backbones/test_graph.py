"""The graph's products against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fedlib import rng
from fedlib.backbones.graph import Graph, laplacian, mean_with_self
from fedlib.data.log import UserItems

SMALL = UserItems.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)


def random_graph(m: int = 7, n: int = 9) -> tuple[Graph, Tensor]:
    """Users 0 to m-1 with random items of n, the last user and the first item alone; and the dense A, (N, N)."""
    chosen = rng.uniform(rng.key(5, "graph"), torch.arange(m)[:, None], torch.arange(n)) < 0.4
    chosen[-1], chosen[:, 0] = False, False
    edges = UserItems.from_pairs(*chosen.nonzero().T, m)
    graph = Graph.of(edges, torch.arange(m), n).with_items(torch.arange(n))
    adjacency = torch.zeros(m + n, m + n, dtype=torch.float64)
    for user, item in zip(edges.users.tolist(), edges.items.tolist(), strict=True):
        node = int(graph.place[item])
        adjacency[user, node] = adjacency[node, user] = 1
    return graph, adjacency


def test_neighbours_are_the_dense_adjacency() -> None:
    graph, adjacency = random_graph()
    e = rng.normal(3, torch.arange(16)[:, None], torch.arange(4))
    assert_close(graph.sum_neighbours(e), adjacency @ e)
    assert graph.degree.tolist() == adjacency.sum(1).tolist()
    assert sorted(graph.items.tolist()) == list(range(9))
    assert torch.equal(graph.items[graph.place - 7], torch.arange(9))


@pytest.mark.parametrize("product", [laplacian, mean_with_self])
def test_products_and_their_gradients_are_the_dense_ones(product) -> None:
    graph, adjacency = random_graph()
    if product is laplacian:
        root = adjacency.sum(1).clamp(min=1).pow(-0.5)
        dense = root[:, None] * adjacency * root
    else:
        dense = (adjacency + torch.eye(16)) / (adjacency.sum(1, keepdim=True) + 1)
    e = rng.normal(3, torch.arange(16)[:, None], torch.arange(4)).requires_grad_()
    weight = rng.normal(4, torch.arange(16)[:, None], torch.arange(4))
    (product(graph, e).tanh() * weight).sum().backward()
    again = e.detach().clone().requires_grad_()
    ((dense @ again).tanh() * weight).sum().backward()
    assert_close(e.grad, again.grad)
    assert torch.autograd.gradcheck(lambda x: product(graph, x), e)


def test_the_normalisations_by_hand() -> None:
    """Users of degree 2 and 1, items of degree 1 and 2, vectors 1, 2, 3, 4."""
    graph, e = Graph.of(SMALL, torch.arange(2), 2), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    half = math.sqrt(0.5)
    assert laplacian(graph, e).flatten().tolist() == pytest.approx([3 * half + 2, 4 * half, half, 0.5 + 2 * half])
    assert mean_with_self(graph, e).flatten().tolist() == pytest.approx([8 / 3, 3, 2, 7 / 3])


def test_an_item_that_is_no_node_becomes_a_lone_one() -> None:
    graph = Graph.of(SMALL, torch.tensor([4, 6]), 5)
    more = graph.with_items(torch.tensor([3, 1, 3]))
    assert more.items.tolist() == [0, 1, 3] and more.degree.tolist() == [2, 1, 1, 2, 0]
    assert graph.items.tolist() == [0, 1]  # the first graph is as it was
    assert more.place.tolist() == [2, 3, -1, 4, -1]
    assert laplacian(more, torch.ones(5, 1))[4] == 0


def test_adding_the_items_of_many_steps_at_once_is_adding_those_of_each() -> None:
    graph, _ = random_graph()
    start = Graph.of(UserItems(graph.offsets[:8], graph.neighbours[: graph.offsets[7]] - 7), graph.users, 9)
    steps = torch.tensor([[0, 3, 0], [1, 2, 3], [8, 0, 5], [4, 4, 4]])
    for items, more in zip(steps, start.with_each(steps), strict=True):
        one = start.with_items(items)
        for name in ("offsets", "neighbours", "users", "items", "place"):
            assert torch.equal(getattr(more, name), getattr(one, name)), (items, name)
