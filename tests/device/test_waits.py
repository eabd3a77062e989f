"""A round waits for the device a few times a chunk, however many clients, steps and epochs there are in it.

While the host waits, nothing new reaches the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fedlib import FedMF, FedNCF, PFedRec
from fedlib.backbones import Backbone, FedNGCF, FedPerGNN
from fedlib.data.interactions import Split
from fedlib.data.log import Stores
from fedlib.engine.training import LocalTraining
from tests.device.agree import LOCAL
from tests.device.waits import Waits, of_a_round
from tests.small import small_split

ADAM = replace(LOCAL, optimizer="adam", lr=0.02)
MODELS: dict[str, tuple[Backbone, LocalTraining]] = {
    "fedmf": (FedMF(8), LOCAL),
    "fedmf, adam": (FedMF(8), ADAM),
    "pfedrec": (PFedRec(8), LOCAL),
    "fedncf": (FedNCF(4, hidden=(6,), gmf=0, dropout=0.2), ADAM),
}
OF_STORES: dict[str, tuple[Backbone, Backbone]] = {  # and one with more steps
    "ngcf": (FedNGCF(6, layers=(6,), max_steps=1), FedNGCF(6, layers=(6,), max_steps=3)),
    "users": (FedMF(8), FedMF(8)),
    "users of a graph": (FedPerGNN(8), FedPerGNN(8)),
}
PER_ROUND, PER_CHUNK, PER_STORE = 6, 7, 12  # a round waits for the lengths by which it is cut into chunks, too


def waits(split: Split, backbone: Backbone, local: LocalTraining, **how: Any) -> Waits:
    return of_a_round(split, backbone, local, **how)


def in_stores(count: int) -> Split:
    return small_split(m=12).with_stores(Stores(torch.arange(12) % count, count))


@pytest.mark.parametrize("name", MODELS)
def test_a_round_has_a_fixed_handful_of_waits_a_chunk(name: str) -> None:
    backbone, local = MODELS[name]
    one = waits(small_split(m=12), backbone, local, chunk=12)
    other = waits(small_split(m=6), backbone, replace(local, epochs=2, batch=8), chunk=12)
    assert other == one, "clients or steps are waited for"
    chunk = waits(small_split(m=12), backbone, local, chunk=6) - one
    assert 0 < chunk.total() <= PER_CHUNK and (one - chunk).total() <= PER_ROUND, (one, chunk)


@pytest.mark.parametrize("name", OF_STORES)
def test_a_store_has_a_fixed_handful_of_waits(name: str) -> None:
    backbone, longer = OF_STORES[name]
    one, two = (waits(in_stores(count), backbone, replace(LOCAL, batch=16)) for count in (1, 2))
    assert waits(in_stores(1), longer, replace(LOCAL, batch=8)) == one, "steps are waited for"
    assert 0 < (two - one).total() <= PER_STORE
