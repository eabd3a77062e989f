"""Arguments that make no sense get one sentence."""

from __future__ import annotations

import math

import pytest
import torch

from fedlib import FedMF, InputError, LocalTraining, PFedRec, federate
from tests.small import small_split

BAD = [
    ({"rounds": 0}, "rounds must be"),
    ({"chunk": -1}, "chunk must be"),
    ({"clients_per_round": 0.0}, "clients_per_round must be"),
    ({"clients_per_round": 1.5}, "clients_per_round must be"),
    ({"clients_per_round": math.inf}, "clients_per_round must be"),
    ({"clients_per_round": math.nan}, "clients_per_round must be"),
    ({"clients_per_round": 14}, "only 13 clients"),
    ({"executor": "fast"}, "executor must be one of vectorized"),
    ({"device": "tpu"}, "device must be"),
    ({"ks": (0,)}, "Every K"),
    ({"ks": ()}, "Every K"),
    ({"local": LocalTraining(epochs=0)}, "local epochs must be"),
    ({"local": LocalTraining(batch=0)}, "batch must be"),
    ({"local": LocalTraining(negatives=0)}, "negatives must be"),
    ({"local": LocalTraining(lr=math.nan)}, "lr must be"),
    ({"local": LocalTraining(lr=0.0)}, "lr must be"),
    ({"local": LocalTraining(lr_items=math.inf)}, "lr_items must be"),
    ({"local": LocalTraining(weight_decay=-1.0)}, "weight_decay must be"),
    ({"local": LocalTraining(optimizer="lion")}, "optimizer must be"),
    ({"local": LocalTraining(negatives_from="air")}, "negatives_from must be"),
    ({"max_memory": 1000.0}, "private state would take"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[f"{next(iter(a))}-{i}" for i, (a, _) in enumerate(BAD)])
def test_bad_arguments(arguments: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        federate(small_split(), PFedRec(4), **{"device": "cpu", **arguments})
    assert "\n" not in str(caught.value)


def test_more_memory_than_the_machine_has_is_refused_before_it_is_taken() -> None:
    """A private table of 2^20 numbers an item for every client is refused at once, not after an hour of swapping."""
    with pytest.raises(InputError, match=r"GiB, more than the allowed"):
        federate(small_split(m=1000, n=1000), FedMF(2**20).alone(), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device() -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        federate(small_split(), FedMF(4), device="cuda")


def test_where_negatives_come_from_when_nothing_is_said() -> None:
    """The convention of the protocol; a model that shares nothing never learns of the held-out items."""
    sampled = small_split()
    ranked = sampled.data.full_ranking()
    for backbone, split, expected in [
        (FedMF(4), sampled, "untouched"),
        (FedMF(4), ranked, "unobserved"),
        (FedMF(4).alone(), sampled, "unobserved"),
    ]:
        result = federate(split, backbone, rounds=1, device="cpu")
        assert result.config["local"]["negatives_from"] == expected
