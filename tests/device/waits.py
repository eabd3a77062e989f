"""How often the host waits for the device in a round of training, by file and line."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fedlib import LocalTraining, federate
from fedlib.backbones import Backbone
from fedlib.data.interactions import Split
from tests.device.pretended import Pretended

Waits = Counter[tuple[str, str]]  # by (file:line, what)


def of_a_round(split: Split, backbone: Backbone, local: LocalTraining, **how: Any) -> Waits:
    """Those of the second round: what is asked only once in a run is left out, and so is the evaluation."""

    def of_rounds(rounds: int) -> Waits:
        with Pretended() as gpu:
            federate(split, backbone, local=local, rounds=rounds, evaluate_every=rounds, ks=(5,),
                     device="cuda", **how)  # fmt: skip
        return gpu.waits

    return of_rounds(2) - of_rounds(1)
