"""What choosing samples takes, beside the training it saves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.machine import peak_mb
from benchmarks.machine import seconds as timed
from fedlib import (
    FALE,
    Entropy,
    FedNCF,
    FedSelect,
    LocalTraining,
    PrototypeSelection,
    RandomSelection,
    Result,
    federate,
    load,
    rng,
)
from fedlib.data.interactions import Split
from fedlib.prototypes import PrototypeSet
from fedlib.select import Selection
from fedlib.select.planted import before_training

Row = dict[str, Any]
LOCAL = LocalTraining(epochs=2, batch=256, lr=0.01, lr_items=0.01, optimizer="adam", weight_decay=1e-6)
PRINTED = {"Random": 0.271, "FedSelect": 0.313, "FALE": 0.747, "FedSLLM": 0.384}  # ms, Table 5, on another machine


class Drawn:
    """Ten prototype vectors by chance: what they are does not change what comparing with them takes."""

    space = SimpleNamespace(weights={})

    def first(self, seed: int) -> PrototypeSet:
        vectors = (
            0.1 * rng.normal(rng.key(seed, "prototypes"), torch.arange(10)[:, None], torch.arange(32)[None]).float()
        )
        return PrototypeSet(tuple(map(str, range(10))), vectors)

    def next(self, current: PrototypeSet, *how: Any) -> PrototypeSet:
        return current


def selectors() -> dict[str, Selection]:
    """The rows of Table 5, and the selector that only scores."""
    return {
        "Random": RandomSelection(0.1, over="positives"),
        "FedSelect": FedSelect(0.1, over="positives"),
        "FALE": FALE(0.1, over="positives"),
        "FedSLLM": PrototypeSelection(0.1, over="positives", reading="intent", prototypes=Drawn(), update_every=1000),
        "FedSLLM over both labels": PrototypeSelection(0.1, over="samples", reading="intent", prototypes=Drawn()),
        "Entropy": Entropy(0.1, over="positives"),
    }


def choose(result: Result, select: Selection, size: int) -> tuple[float, torch.Tensor]:
    """The seconds all clients take to choose, ``size`` at a time, and what they choose (nnz,)."""
    memory, total = select.memory(result.data), 0.0
    for work, message in before_training(result, select, size):
        work.memory = memory
        fresh = partial(once, select, work, message)
        total += min(timed(fresh, 3))
    return total, memory["used"]


def once(select: Selection, work: Any, message: dict[str, torch.Tensor]) -> None:
    """Choose, from a copy of the work, so that it can be chosen again."""
    select.client(replace(work), message)


def base_round(split: Split, select: Selection | None, rounds: int = 6) -> tuple[float, Result]:
    """The seconds of the fastest of some rounds with 94 clients of FedNCF in FedSLLM's form."""
    backbone = FedNCF(32, hidden=(128, 64), gmf=0, dropout=0.5)
    result = federate(split, backbone, select=select, local=LOCAL, clients_per_round=0.1, rounds=rounds,
                      evaluate_every=rounds, device="cpu")  # fmt: skip
    return float(result.history["seconds"].iloc[1:].min()), result


def selection(name: str = "ml-100k") -> list[Row]:
    """Milliseconds a client needs to choose, and a round at S = 10 % beside one with all samples."""
    split = load(name).leave_one_out(seed=0)
    base, result = base_round(split, None)
    rows = [{"name": f"FedNCF round, {name}, all samples", "seconds": base, "peak_mb": peak_mb()}]
    small = split.data.keep_users(torch.arange(40), "forty users").leave_one_out(seed=0)
    _, few = base_round(small, None, 2)
    for title, place in selectors().items():
        (alone, one), (_, many) = choose(few, place, 1), choose(few, place, 64)
        assert torch.equal(one, many), f"{title} chooses otherwise when clients share a chunk"
        total, _ = choose(result, place, 32)
        share, taken = total * 94 / split.data.n_users / base, base_round(split, place)[0]
        note = f"{total / split.data.n_users * 1e3:.3f} ms a client to choose, {alone / 40 * 1e3:.3f} one by one"
        note += f" ({PRINTED[title]:.3f} printed, of another machine)" if title in PRINTED else ""
        rows.append({
            "name": f"FedNCF round, {name}, {title} at S = 10 %", "seconds": taken, "asked": "faster than all samples",
            "peak_mb": peak_mb(), "times": base / taken,
            "note": f"{note}; choosing takes {share:.1%} of a round with all samples (asked: 25 % at most)",
        })  # fmt: skip
    return rows
