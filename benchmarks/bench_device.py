"""How often the host would wait for an accelerator in a round, counted without one.

While the host waits, nothing new reaches the device. Waits are counted on the pretended device of the tests, and only
after its numbers have been found equal to the CPU's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from benchmarks.bench_engine import made_up_split
from benchmarks.machine import peak_mb
from fedlib import FedMF, FedNCF, LocalTraining, PFedRec
from fedlib.backbones import Backbone, FedNGCF
from fedlib.data.log import Stores
from tests.device.agree import check
from tests.device.waits import of_a_round

Row = dict[str, Any]
CLIENTS = 24
SGD = LocalTraining(epochs=2, batch=32, lr=0.1, lr_items=0.1)
ADAM = replace(SGD, optimizer="adam", lr=0.01)
MODELS: list[tuple[str, Backbone, LocalTraining]] = [
    ("FedMF, SGD", FedMF(8), SGD),
    ("FedMF, Adam", FedMF(8), ADAM),
    ("PFedRec, SGD", PFedRec(8), SGD),
    ("FedNCF, Adam", FedNCF(8, hidden=(16, 8)), ADAM),
]


def waits() -> list[Row]:
    """A round of each model with all clients in one chunk and in two, and of NGCF in one store and in two."""
    split = made_up_split(CLIENTS, 400, 20)
    rows = []
    for name, backbone, local in MODELS:
        check(split, backbone, local)
        one, two = (of_a_round(split, backbone, local, chunk=CLIENTS // parts).total() for parts in (1, 2))
        rows.append(row(name, "chunk", one, two))
    alone, pair = (split.with_stores(Stores(torch.arange(CLIENTS) % parts, parts)) for parts in (1, 2))
    ngcf = FedNGCF(8, layers=(8, 8), max_steps=10)
    check(pair, ngcf, ADAM)
    one, two = (of_a_round(part, ngcf, ADAM).total() for part in (alone, pair))
    return [*rows, row("FedNGCF, Adam", "store", one, two)]


def row(name: str, part: str, one: int, two: int) -> Row:
    """A row from the waits of a round with one ``part`` and with two."""
    note = f"{one} waits for the device a round of one {part}: {2 * one - two} and {two - one} for each {part}"
    return {"name": f"waits, {name}", "peak_mb": peak_mb(), "note": note}
