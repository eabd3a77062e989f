"""Rates that shrink from step to step and clients that stop early: against the oracle and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedlib import InputError, LocalTraining, federate
from fedlib.engine.pace import Pace
from tests.small import BACKBONES, run_oracle, small_split
from tests.test_federation import ADAM, SGD, assert_close, start_of, values


@pytest.mark.parametrize("local", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", ["fedmf", "fedncf", "pfedrec", "fedrap", "fedrap-constant"])
def test_every_executor_equals_the_oracle(kind: str, local: LocalTraining) -> None:
    """Clients with unequal numbers of batches shrink at a pace of their own, and some stop before others."""
    split, backbone = small_split(), BACKBONES[kind][0]
    local = replace(local, epochs=6, step_decay=0.9, stop=0.03)
    start = start_of(backbone, split, dtype=torch.float64)
    theirs, judged = run_oracle(kind, split, start, local=local, rounds=3, dtype=torch.float64)
    how = {"rounds": 3, "device": "cpu", "dtype": torch.float64}
    for chunk in (1, 5):
        result = federate(split, backbone, local=local, chunk=chunk, **how)
        assert_close(values(result.state), theirs, atol=1e-9)
        assert result.history["loss"].tolist() == pytest.approx(judged.losses, abs=1e-9)
    for other in (replace(local, stop=0.0), replace(local, step_decay=1.0)):
        assert federate(split, backbone, local=other, **how).history["loss"].tolist() != pytest.approx(judged.losses)


def test_by_hand() -> None:
    """The first client's loss is 8 throughout, so it stops after two epochs; the second's means are 3, 2.25, 2.25."""
    pace = Pace(2, 0.5, 0.1, torch.zeros((), dtype=torch.float64))
    factors = []
    for losses in ([4.0, 2.0], [2.0, 1.0], [3.0, 1.5]):  # of batches of 1 and 1 samples
        for loss in losses:
            factors.append(pace.factor(0).tolist())
            pace.note(0, torch.tensor([8.0, loss]), torch.tensor([5, 1]))
        going = pace.goes_on()
        factors.append(pace.going.tolist())
    assert factors == [
        [1, 1], [0.5, 0.5], [True, True],
        [0.25, 0.25], [0.125, 0.125], [False, True],
        [0, 0.0625], [0, 0.03125], [False, False],
    ]  # fmt: skip
    assert not going and pace.mean_loss().tolist() == [8, 2.25]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"step_decay": 0.0}, "step_decay must be a factor"), ({"step_decay": 1.1}, "step_decay must be a factor"),
     ({"stop": -1.0}, "stop must be 0 or"), ({"stop": float("nan")}, "stop must be 0 or")],
)  # fmt: skip
def test_what_makes_no_sense_gets_a_sentence(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        federate(small_split(), BACKBONES["fedmf"][0], local=LocalTraining(**wrong), rounds=1)
