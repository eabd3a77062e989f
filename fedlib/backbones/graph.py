"""Users and items as the nodes of a graph, and what a node hears from its neighbours.

Shape letters: U user nodes, T item nodes, N = U + T nodes (users first), E interactions, n items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from fedlib.data.log import UserItems


@dataclass(frozen=True, eq=False)
class Graph:
    """The undirected graph of some users' interactions, as compressed rows.

    Node v's neighbours are ``neighbours[offsets[v]:offsets[v + 1]]``, offsets (N+1,) and neighbours (2E,) int64.
    users (U,) says which user each user node is, items (T,) which item each item node is; ``place`` (n,) is each
    item's node, -1 where it has none.
    """

    offsets: Tensor
    neighbours: Tensor
    users: Tensor
    items: Tensor
    place: Tensor

    @classmethod
    def of(cls, edges: UserItems, users: Tensor, n_items: int) -> Graph:
        """The graph of ``users`` (U,), whose interactions are the rows of ``edges``, and of the items they touch."""
        items, users_of = edges.items.unique(return_counts=True)
        place = torch.full((n_items,), -1, dtype=torch.int64, device=items.device)
        place[items] = torch.arange(len(users), len(users) + len(items), device=items.device)
        heard = torch.cat([place[edges.items], edges.users])
        order = place[edges.items].argsort(stable=True)
        neighbours = torch.cat([heard[: len(order)], edges.users[order]])
        degree = torch.cat([edges.counts, users_of])
        return cls(torch.cat([degree.new_zeros(1), degree.cumsum(0)]), neighbours, users, items, place)

    def with_items(self, items: Tensor) -> Graph:
        """The same graph in which each of ``items`` is a node, without neighbours where it was none before."""
        return self._with(items[self.place[items] < 0].unique())

    def with_each(self, items: Tensor) -> Iterator[Graph]:
        """:meth:`with_items` of each row of ``items`` (S, B), one graph after the other.

        How many nodes are new is a number the host has to wait for: here it waits for all rows at once.
        """
        step, n = torch.arange(len(items) + 1, device=items.device), len(self.place)
        known = n * len(items)  # behind all keys of new items
        keys = torch.where(self.place[items] < 0, n * step[:-1, None] + items, known).unique()
        ends = torch.searchsorted(keys, n * step).tolist()
        for row, (start, end) in enumerate(pairwise(ends)):
            yield self._with(keys[start:end] - n * row)

    def _with(self, new: Tensor) -> Graph:
        place = self.place.clone()
        place[new] = torch.arange(len(self.offsets) - 1, len(self.offsets) - 1 + len(new), device=new.device)
        offsets = torch.cat([self.offsets, self.offsets[-1:].expand(len(new))])
        return Graph(offsets, self.neighbours, self.users, torch.cat([self.items, new]), place)

    @property
    def degree(self) -> Tensor:
        """How many neighbours each node has, (N,) int64."""
        return self.offsets.diff()

    def sum_neighbours(self, e: Tensor) -> Tensor:
        """``A e``: the sum of the neighbours' vectors, (N, d) -> (N, d), differentiable."""
        return _SumNeighbours.apply(e, self)


class _SumNeighbours(torch.autograd.Function):
    """A e; as A is symmetric, the gradient with respect to e is A g.

    ``embedding_bag`` is the fastest sparse product at hand: several times faster than torch's COO and CSR products and
    than scipy's on the graph of Gowalla (see ``fedlib bench --only sparse``).
    """

    @staticmethod
    def forward(ctx: Any, e: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        return embedding_bag(graph.neighbours, e, graph.offsets, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        graph = ctx.graph
        return embedding_bag(
            graph.neighbours, g.contiguous(), graph.offsets, mode="sum", include_last_offset=True
        ), None


def laplacian(graph: Graph, e: Tensor) -> Tensor:
    r"""The product :math:`\mathcal L e` with :math:`\mathcal L = D^{-1/2} A D^{-1/2}`; a lone node gets 0.

    Source: Wang et al., *Neural Graph Collaborative Filtering*, SIGIR 2019, Eq. 8.
    """
    root = graph.degree.clamp(min=1).to(e.dtype).rsqrt()[:, None]
    return root * graph.sum_neighbours(root * e)


def mean_with_self(graph: Graph, e: Tensor) -> Tensor:
    r"""The product :math:`\hat A e` with :math:`\hat A = (D + I)^{-1} (A + I)`: means over self and neighbours."""
    return (graph.sum_neighbours(e) + e) / (graph.degree + 1).to(e.dtype)[:, None]
