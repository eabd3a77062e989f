"""The federated engine: a round on real data, against the oracle, and as the number of clients grows."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import copy_bandwidth, peak_mb
from fedlib import FedMF, LocalTraining, PFedRec, federate, load, rng
from fedlib.backbones import Backbone
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems
from fedlib.engine.state import State, initial_state
from fedlib.items import ItemTable
from fedlib.run.arguments import resolved
from tests import oracle

Row = dict[str, Any]
ONE_EPOCH = LocalTraining(epochs=1, batch=256, negatives=4, lr=0.1)
ORACLES = {FedMF: partial(oracle.FedMF, dim=32), PFedRec: partial(oracle.PFedRec, dim=32)}


def made_up_split(n_users: int, n_items: int, positives: int) -> Split:
    """Clients with the same number of random positives each, and random candidates; nothing to learn, much to move."""
    size = positives + 2
    draw = rng.integers(n_items - size, rng.key(0, "made up"), torch.arange(n_users)[:, None], torch.arange(size))
    items = draw.sort(1).values + torch.arange(size)  # distinct: sorted draws with repetition, spread by their rank
    users = torch.arange(n_users)

    def log(columns: Tensor) -> UserItems:
        return UserItems.from_pairs(users.repeat_interleave(columns.shape[1]), columns.flatten(), n_users)

    data = Dataset("made up", n_users, n_items, log(items), [], [], None, "", "")  # type: ignore[arg-type]
    candidates = rng.integers(n_items, rng.key(0, "candidates"), users[:, None], torch.arange(198))
    return Split(data, "loo99", log(items[:, :-2]), log(items[:, -2:-1]), log(items[:, -1:]),
                 candidates[:, :99], candidates[:, 99:], "")  # fmt: skip


def run_engine(
    split: Split, backbone: Backbone, local: LocalTraining, rounds: int, **more: Any
) -> tuple[State, list, list]:
    """The state after ``rounds`` rounds, and the seconds of each round and each evaluation."""
    result = federate(split, backbone, local=local, rounds=rounds, **{"device": "cpu", **more})
    evaluate = result.history.get("seconds_evaluate")
    return result.state, result.history["seconds"].tolist(), [] if evaluate is None else evaluate.dropna().tolist()


def run_oracle(split: Split, backbone: Backbone, local: LocalTraining) -> tuple[oracle.OracleResult, float]:
    """One round of the oracle, every client with a copy of the whole model, and its seconds."""
    n, m = split.data.n_items, split.data.n_users
    tables = ItemTable().tables(backbone, n, 0)
    state = initial_state(backbone, tables, split.train, n, local.negatives, seed=0, dtype=torch.float32,
                          device=torch.device("cpu"))  # fmt: skip
    local = resolved(local, split, backbone, 1.0)
    assert local.lr_items is not None
    positives, touched = ([log[u].tolist() for u in range(m)] for log in (split.train, split.data.interactions))
    start = time.perf_counter()
    result = oracle.run(
        ORACLES[type(backbone)], positives, n, shared=state.tables | state.shared, private=state.private, rounds=1,
        epochs=local.epochs, batch=local.batch, lr=local.lr, lr_items=local.lr_items, weight_decay=0.0, optimizer="sgd",
        negatives=local.negatives, clients_per_round=1.0, aggregate_items="uniform", aggregate_params="size", seed=0,
        dtype=torch.float32, exclude=touched, dense_table=True,
    )  # fmt: skip
    return result, time.perf_counter() - start


def assert_equal_to_oracle(state: State, judged: oracle.OracleResult) -> None:
    """After one round, within float32 rounding of the largest value."""
    for name, value in {**state.tables, **state.shared, **state.private}.items():
        expected = (judged.shared | judged.private)[name]
        error = float((value - expected).abs().max() / expected.abs().max())
        assert error < 1e-4, f"{name} is off by {error:.1e} of its largest value"


def floor(split: Split, backbone: Backbone, local: LocalTraining, device: str = "cpu") -> Row:
    """The time in which the bytes a round has to move could be copied, for d-wide float32 rows.

    Each sample's row is read for each forward pass and written once by the update; each row a client touches is
    fetched, kept, and read and written once more for the server's sum.
    """
    samples = int(split.train.counts.sum()) * (1 + local.negatives) * local.epochs
    touched = int(run_engine(split, PFedRec(1), local, 1)[0].kept["item"].count.sum())  # same negatives, so same rows
    width = 4 * sum(table.dim for table in backbone.tables.values())
    move = width * (samples * (len(backbone.steps) + 1) + 4 * touched)
    return {"floor_seconds": move / copy_bandwidth(device), "floor_what": f"{move / 1e6:.0f} MB copied"}


def pfedrec_ml100k(device: str = "cpu", chunk: int | None = None) -> Row:
    """PFedRec on ML-100K: all 943 clients, 4 negatives, batch 256, one epoch, validation and test evaluated."""
    split = load("ml-100k").leave_one_out(seed=0)
    if device == "cpu":
        judged, _ = run_oracle(split, PFedRec(32), ONE_EPOCH)
        assert_equal_to_oracle(run_engine(split, PFedRec(32), ONE_EPOCH, 1)[0], judged)
    _, rounds, evaluations = run_engine(split, PFedRec(32), ONE_EPOCH, 31, device=device, chunk=chunk)
    both = [a + b for a, b in zip(rounds[1:], evaluations[1:], strict=True)]
    return {"name": f"PFedRec round, ML-100K, {device}", "seconds": statistics.median(both),
            "asked": "0.40 s (aim 0.20)" if device == "cpu" else "-", "peak_mb": peak_mb(),
            **floor(split, PFedRec(32), ONE_EPOCH, device)}  # fmt: skip


def against_oracle(n_users: int, n_items: int, backbone: Backbone, asked: int) -> Row:
    """One round of the engine and of the oracle on the same made-up clients, each with 100 positives."""
    split = made_up_split(n_users, n_items, 100)
    judged, slow = run_oracle(split, backbone, replace(ONE_EPOCH, lr_items=10.0))
    state, _, _ = run_engine(split, backbone, replace(ONE_EPOCH, lr_items=10.0), 1)
    assert_equal_to_oracle(state, judged)
    _, rounds, _ = run_engine(split, backbone, replace(ONE_EPOCH, lr_items=10.0), 12, evaluate_every=100)
    fast = statistics.median(rounds[1:])
    name = type(backbone).__name__
    return {"name": f"{name} engine against oracle, {n_users} x {n_items:,}", "seconds": fast,
            "asked": f"{asked} times faster", "times": slow / fast, "peak_mb": peak_mb(),
            **floor(split, backbone, ONE_EPOCH)}  # fmt: skip


def growth(n_users: int) -> Row:
    """A round with 20 positives a client and 20,000 items, PFedRec (which keeps the most)."""
    split = made_up_split(n_users, 20_000, 20)
    _, rounds, _ = run_engine(split, PFedRec(32), replace(ONE_EPOCH, lr_items=10.0), 4, evaluate_every=100)
    taken = statistics.median(rounds[1:])
    return {"name": f"PFedRec round, {n_users:,} clients x 20 positives", "seconds": taken,
            "asked": "equal time an interaction within 1.5 times, 3,000 MB",
            "per_interaction": taken / (20 * n_users), "peak_mb": peak_mb(),
            **floor(split, PFedRec(32), ONE_EPOCH)}  # fmt: skip


def best_chunk(device: str) -> Row:
    """The chunk size with the shortest PFedRec round on ML-100K."""
    split = load("ml-100k").leave_one_out(seed=0)
    sizes = (8, 16, 32, 64, 128, 256) if device == "cpu" else (64, 256, 1024)
    times = {}
    for size in sizes:
        rounds = run_engine(split, PFedRec(32), ONE_EPOCH, 9, device=device, chunk=size, evaluate_every=100)[1]
        times[size] = statistics.median(rounds[1:])
    best = min(times, key=lambda size: times[size])
    listed = ", ".join(f"{size}: {taken:.3f}" for size, taken in times.items())
    return {"name": f"best chunk on {device}: {best}", "seconds": times[best], "asked": "-", "note": listed,
            "peak_mb": peak_mb()}  # fmt: skip
