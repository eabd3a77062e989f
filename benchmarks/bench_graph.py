"""Graphs at full size: the sparse product in its forms, an epoch of NGCF, a round of FedNGCF with ten stores."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from benchmarks.machine import copy_bandwidth, matrix_rate, peak_mb, seconds
from fedlib import LocalTraining, federate, load
from fedlib.backbones import FedNGCF
from fedlib.backbones.graph import Graph
from fedlib.backbones.triples import draw_triples
from fedlib.centralized.ngcf import start_values
from fedlib.data.interactions import Split
from fedlib.data.negatives import NegativeSampler
from fedlib.data.partition import at_random, share_edges

Row = dict[str, Any]
DIM, BATCH = 64, 1024


def whole_graph(split: Split) -> Graph:
    """The graph of all users and of the items in training."""
    return Graph.of(split.train, torch.arange(split.data.n_users), split.data.n_items)


def other_products(graph: Graph, e: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The product A e of torch's COO and CSR forms, and of scipy's CSR."""
    n = len(graph.degree)
    ones = torch.ones(len(graph.neighbours))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR form beta
        csr = torch.sparse_csr_tensor(graph.offsets, graph.neighbours, ones, (n, n))
        coo = csr.to_sparse_coo().coalesce()
    numbers = (ones.numpy(), graph.neighbours.numpy().astype(np.int32), graph.offsets.numpy().astype(np.int32))
    plain = sparse.csr_array(numbers, shape=(n, n))
    return {
        "COO": lambda: torch.sparse.mm(coo, e),
        "CSR": lambda: csr @ e,
        "scipy": lambda: torch.from_numpy(plain @ e.numpy()),
    }


def sparse_product() -> Row:
    """A e on Gowalla's training graph, d = 64, one product; every form must give the same numbers first."""
    graph = whole_graph(load("gowalla").given_split(valid=False))
    e = torch.linspace(-1, 1, len(graph.degree) * DIM).view(-1, DIM)
    ours, forms = graph.sum_neighbours(e), other_products(graph, e)
    for name, product in forms.items():
        assert torch.allclose(product(), ours, rtol=1e-3, atol=1e-2), f"{name} gives another product"
    taken = seconds(lambda: graph.sum_neighbours(e), 5)[1]
    others = ", ".join(f"{name} {seconds(product, 5)[1]:.3f} s" for name, product in forms.items())
    moved = 8 * len(graph.neighbours) + 2 * 4 * e.numel()  # indices and vectors read once, sums written once
    return {"name": f"sparse product, Gowalla, {len(graph.neighbours):,} x {DIM}", "seconds": taken, "note": others,
            "peak_mb": peak_mb(), "floor_seconds": moved / copy_bandwidth(),
            "floor_what": f"{moved / 1e6:.0f} MB copied"}  # fmt: skip


def ngcf_epoch(name: str, device: str = "cpu", steps: int = 8) -> Row:
    """An epoch of NGCF (64-d, three layers, batch 1024) as its number of steps times the median of a few."""
    split = load(name).given_split(valid=False)
    where = torch.device(device)
    train, users = split.train.to(where), torch.arange(split.data.n_users, device=where)
    graph, sampler = Graph.of(train, users, split.data.n_items), NegativeSampler(train, split.data.n_items)
    model = FedNGCF(DIM)
    values = start_values(model, len(users), split.data.n_items, 0, where)
    adam = torch.optim.Adam(values.values(), lr=1e-4)
    counter = iter(range(10**6))

    def step() -> None:
        number = next(counter)
        triples = draw_triples(train, users, sampler, BATCH, 0, number)
        loss = model.loss(values, graph.with_items(triples.negatives), triples, number)
        adam.zero_grad()
        loss.backward()
        adam.step()

    in_epoch, taken = -(-len(train.items) // BATCH), seconds(step, steps)[1]
    # Two weights a layer, each multiplied once forwards and twice backwards; the last layer only for the batch.
    flops = 2 * 3 * 2 * DIM**2 * (2 * len(graph.degree) + 3 * BATCH)
    return {"name": f"NGCF epoch, {name}, {device}", "seconds": taken * in_epoch, "peak_mb": peak_mb(),
            "floor_seconds": in_epoch * flops / matrix_rate(device),
            "floor_what": f"{in_epoch * flops / 1e12:.1f} TFLOP of products",
            "note": f"{in_epoch} steps of {taken:.3f} s, median of {steps}"}  # fmt: skip


def fedngcf_round(device: str = "cpu", rounds: int = 2) -> Row:
    """FedNGCF on Gowalla: half of each user's training edges in ten random stores, the other half in the global log."""
    split = share_edges(load("gowalla").given_split(valid=False))
    split = split.with_stores(at_random(split.data.n_users, 10))
    local = LocalTraining(batch=BATCH, lr=0.004, optimizer="adam")
    result = federate(split, FedNGCF(DIM), local=local, rounds=rounds, device=device, ks=(100,), evaluate_every=100)
    evaluated = result.history["seconds_evaluate"].dropna().iloc[-1]
    return {"name": f"FedNGCF round, Gowalla in 10 stores, {device}", "peak_mb": peak_mb(),
            "seconds": statistics.median(result.history["seconds"]),
            "note": f"{FedNGCF(DIM).max_steps} steps a store; evaluation of all users {evaluated:.1f} s"}  # fmt: skip
