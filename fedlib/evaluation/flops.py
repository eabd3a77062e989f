"""What a model's score costs to compute, counted from its own code and not from a formula beside it."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fedlib.backbones.base import Backbone
from fedlib.errors import InputError

aten = torch.ops.aten


def multiply_adds(backbone: Backbone) -> int:
    """Multiplications (each with the addition that follows it) that one client needs to score one item.

    One forward pass of one sample, of a client with one training item. Products of matrices and products element by
    element count; biases, activations, divisions and dropout do not. ``FedNCF(32, hidden=(128, 64), gmf=0)``: 16,448,
    the figure behind FedSLLM's Table 5. A training step costs about three times as much, because its backward pass
    has two products for each of the forward pass.

    Raises InputError for a model of a store, which scores all nodes of a graph at once: what a sample costs there
    depends on the graph.

    >>> from fedlib import FedMF
    >>> multiply_adds(FedMF(dim=32))
    32
    """
    if backbone.clients_are_stores:
        raise InputError(f"{type(backbone).__name__} scores a whole graph at once: its cost depends on the graph.")
    first = torch.zeros(1, 1, dtype=torch.int64, device="meta")
    params = {name: torch.empty(1, *p.shape, device="meta") for name, p in backbone.named_parameters()}
    if backbone.exchange is not None:
        _, held = backbone.exchange.memory(1, 1, torch.empty((), device="meta"))
        params |= {name: value[None] for name, value in held.items()}
    rows = {name: torch.empty(1, table.dim, device="meta") for name, table in backbone.tables.items()}
    adapted = backbone.prepare(params, rows, first, first[0] + 1, first)
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        functional_call(backbone, {name: value[0] for name, value in adapted.items()}, (rows,))
    return counter.get_total_flops() // 2


def _inner(left: list[int], right: list[int], **_: Any) -> int:
    return 2 * prod(left)  # a product with a vector: every number of the matrix is used once


def _elementwise(*_: Any, out_shape: list[int], **__: Any) -> int:
    return 2 * prod(out_shape)


UNCOUNTED = {aten.mv: _inner, aten.dot: _inner, aten.mul: _elementwise}  # torch leaves these out
