"""A round of every backbone of one user, beside PFedRec's, on real data."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.machine import peak_mb
from fedlib import FCF, FCFALS, FedAvg, FedMF, FedNCF, FedPerGNN, FedRAP, LocalTraining, PFedRec, federate, load
from fedlib.backbones import Backbone
from fedlib.data.interactions import Split

Row = dict[str, Any]
SGD = LocalTraining(lr=0.01)
MODELS: list[tuple[Backbone, LocalTraining]] = [
    (PFedRec(32), SGD),
    (FedMF(32), SGD),
    (FedAvg(32), SGD),
    (FCF(32), SGD),
    (FedRAP(32), LocalTraining(lr=0.01, lr_items=1.0, batch=2048)),  # its source's batch
    (FCFALS(32), SGD),
    (FedPerGNN(32), SGD),
    (FedNCF(), LocalTraining(lr=0.01, optimizer="adam")),
]


def assert_chunks_agree(split: Split, backbone: Backbone, local: LocalTraining) -> None:
    """Two rounds of the first clients, one by one and side by side."""
    few = split.data.keep_users(torch.arange(40), "forty users").leave_one_out(seed=0)
    how: dict[str, Any] = {"local": local, "rounds": 2, "device": "cpu", "dtype": torch.float64}
    loop, fast = (federate(few, backbone, chunk=c, **how).state.tensors() for c in (1, 32))
    for name, value in fast.items():
        assert torch.allclose(loop[name], value, rtol=0, atol=1e-9), f"{type(backbone).__name__}: {name} differs"


def rounds(name: str, count: int) -> list[Row]:
    """The median round of each, without evaluation, its cost an interaction, and how it compares with PFedRec's.

    From the second round on: in the second, regularisers with a ramp have begun.
    """
    split, rows = load(name).leave_one_out(seed=0), []
    for backbone, local in MODELS:
        assert_chunks_agree(split, backbone, local)
        result = federate(split, backbone, local=local, rounds=count, evaluate_every=count, device="cpu")
        seconds = statistics.median(result.history["seconds"].tolist()[2:])
        first = rows[0]["seconds"] if rows else seconds
        asked = "2.5 x PFedRec" if type(backbone) in (FedMF, FCF, FCFALS, FedRAP) else "-"
        rows.append({
            "name": f"{type(backbone).__name__} round, {name}", "seconds": seconds, "asked": asked,
            "peak_mb": peak_mb(), "per_interaction": seconds / len(split.train.items),
            "note": f"{seconds / first:.2f} x PFedRec",
        })  # fmt: skip
        del result
    return rows
