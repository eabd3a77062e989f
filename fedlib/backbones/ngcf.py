"""NGCF: collaborative filtering on the graph of users and items, alone or on the graphs of many stores."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.backbones.graph import Graph, laplacian, mean_with_self
from fedlib.backbones.losses import bpr_loss
from fedlib.backbones.triples import Triples
from fedlib.errors import InputError
from fedlib.shapes import Table

SLOPE = 0.2  # of the negative side of LeakyReLU
VARIANTS = ("code", "paper")
Values = dict[str, Tensor]


def paper_layer(s: Tensor, e: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    r"""One layer as printed (Wang et al., SIGIR 2019, Eq. 7), (N, d) -> (N, d').

    .. math:: s = \mathcal L E,\qquad E' = \mathrm{LeakyReLU}\big((s + E) W_1 + (s \odot E) W_2\big)
    """
    return leaky_relu((s + e) @ w1 + (s * e) @ w2, SLOPE)


def code_layer(
    s: Tensor,
    e: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
) -> Tensor:
    r"""One layer as in the authors' public code, (N, d) -> (N, d').

    .. math:: s = \hat A E,\qquad E' = \mathrm{LeakyReLU}(s W_1 + b_1) + \mathrm{LeakyReLU}((E \odot s) W_2 + b_2)
    """
    heard = leaky_relu(torch.addmm(b1, s, w1), SLOPE)
    shared = leaky_relu(torch.addmm(b2, e * s, w2), SLOPE)
    return heard + shared


class FedNGCF(Backbone):
    r"""NGCF on the graph of each store, with the server's average of its layers and item vectors.

    A store's users and items are nodes that start from :math:`E^{(0)}` (a private vector a user, a shared one an item),
    hear from their neighbours in L layers, and end as the concatenation of all L + 1 vectors;
    :math:`\hat y_{ui} = e_u^{*\top} e_i^*`. The loss is BPR on the final vectors with
    :math:`\lambda(\lVert e_u^*\rVert^2 + \lVert e_i^*\rVert^2 + \lVert e_j^*\rVert^2)/2`, means over the batch.

    ``variant="paper"``: :func:`paper_layer`. ``variant="code"``: :func:`code_layer`, and every layer's vectors enter
    the concatenation with length one, though the next layer reads them as they are; published numbers are the code's.
    ``dropout`` is the share of each layer's output that is dropped in training (message dropout).

    Its clients are stores, so it needs a split with stores. A store takes ceil(interactions / batch) steps an epoch, at
    most ``max_steps`` a round, each on a batch of triples (:func:`draw_triples`); the number of negatives of the local
    training plays no part. Stores are weighted by their interactions, and user vectors stay with their store.

    Source: Wang et al., *Neural Graph Collaborative Filtering*, SIGIR 2019, and its code; FedNGCF is a baseline of
    FedGDVE (arXiv:2509.11196), which leaves all but FedAvg open.
    """

    owners: ClassVar = {"user": "user"}
    aggregate_items = "size"
    aggregate_network = "size"
    clients_are_stores = True

    def __init__(
        self,
        dim: int = 64,
        *,
        layers: tuple[int, ...] = (64, 64, 64),
        variant: str = "code",
        dropout: float = 0.1,
        l2: float = 1e-5,
        max_steps: int = 30,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise InputError(f'variant must be one of {", ".join(VARIANTS)}, not "{variant}".')
        self.dim, self.layers, self.variant, self.dropout = dim, layers, variant, dropout
        self.l2, self.max_steps = l2, max_steps
        self.tables = {"item": Table(dim, std=None)}
        self.user = nn.Parameter(torch.empty(dim, device="meta"))
        shapes = list(pairwise((dim, *layers)))
        for name in ("w1", "w2"):
            setattr(self, name, nn.ParameterList(torch.empty(shape, device="meta") for shape in shapes))
        for name in ("b1", "b2") if variant == "code" else ():
            setattr(self, name, nn.ParameterList(torch.empty(1, width, device="meta") for width in layers))

    def initial(self, name: str, seed: int, clients: Tensor | None = None) -> Tensor:
        """Glorot's N(0, 2 / (rows + columns)); the vectors of all users count as one matrix."""
        shape = self.get_parameter(name).shape
        rows = torch.zeros(1, dtype=torch.int64) if clients is None else clients
        per_row = torch.arange(shape.numel())
        if name == "user":
            fans = len(rows) + self.dim
        else:
            rows, fans = torch.zeros_like(rows), sum(shape)
        draw = rng.normal(rng.key(seed, "init " + name), rows[:, None], per_row) * math.sqrt(2 / fans)
        return draw.reshape(shape if clients is None else (len(rows), *shape))

    def loss(self, values: Values, graph: Graph, triples: Triples, stream: int) -> Tensor:
        """The mean BPR loss of the triples, a scalar; ``stream`` names the draws of the dropout.

        All items of the triples are nodes of the graph: those drawn have to be added first.
        """
        nodes = torch.cat([triples.users, graph.place[triples.positives], graph.place[triples.negatives]])
        user, positive, negative = self.encode(values, graph, nodes, stream).chunk(3)
        return bpr_loss(user, positive, negative, self.l2)

    def vectors(self, values: Values, graph: Graph) -> tuple[Tensor, Tensor]:
        """The final vectors of the graph's users (U, D) and of all items of the catalogue (n, D), without dropout."""
        graph = graph.with_items(torch.arange(len(graph.place), device=graph.place.device))
        users = torch.arange(len(graph.users), device=graph.place.device)
        with torch.no_grad():
            out = self.encode(values, graph, torch.cat([users, graph.place]))
        return out[: len(users)], out[len(users) :]

    def encode(self, values: Values, graph: Graph, nodes: Tensor, stream: int | None = None) -> Tensor:
        """The final vectors of ``nodes`` (B,), (B, D): all layers side by side; no ``stream``, no dropout."""
        return torch.cat(self.layer_outputs(values, graph, nodes, stream), dim=1)

    def layer_outputs(self, values: Values, graph: Graph, nodes: Tensor, stream: int | None = None) -> list[Tensor]:
        """What each layer gives of ``nodes`` (B,), from E^(0) on, (B, d_l) each, as it stands in the final vectors."""
        e = torch.cat([values["user"], values["item"][graph.items]])
        identity = torch.cat([2 * graph.users, 2 * graph.items + 1])  # so a node's draws do not depend on the others
        parts = [e[nodes]]
        for level in range(len(self.layers)):
            s = laplacian(graph, e) if self.variant == "paper" else mean_with_self(graph, e)
            if level < len(self.layers) - 1:
                e = self._layer(values, level, s, e, identity, stream)
                out = e[nodes]
            else:  # nobody hears the last layer, so it is worked out where it is asked for
                out = self._layer(values, level, s[nodes], e[nodes], identity[nodes], stream)
            parts.append(normalize(out) if self.variant == "code" else out)
        return parts

    def _layer(self, values: Values, level: int, s: Tensor, e: Tensor, identity: Tensor, stream: int | None) -> Tensor:
        w1, w2 = values[f"w1.{level}"], values[f"w2.{level}"]
        if self.variant == "paper":
            e = paper_layer(s, e, w1, w2)
        else:
            e = code_layer(s, e, w1, values[f"b1.{level}"], w2, values[f"b2.{level}"])
        if stream is None or not self.dropout:
            return e
        return e * rng.dropout(self.dropout, e.shape[1], e.dtype, rng.key(stream, "message dropout", level), identity)
