"""A program on the CPU and, with the same seeds, on the pretended device: the numbers have to be equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from torch import Tensor
from torch.testing import assert_close

from fedlib import LocalTraining, Result, federate
from fedlib.backbones import Backbone
from fedlib.data.interactions import Split
from tests.device.pretended import Pretended

Numbers = dict[str, Any]  # tensors, frames, and what == compares
LOCAL = LocalTraining(batch=8, lr=0.05, lr_items=0.5, negatives=2)
ADAM = LocalTraining(epochs=2, batch=8, lr=0.02, lr_items=0.02, optimizer="adam", negatives=2, weight_decay=0.01)


def agree(program: Callable[[str], Numbers]) -> None:
    """Call a program with "cpu" and with "cuda", and compare what it returns."""
    expected = program("cpu")
    with Pretended():
        found = {name: on_the_host(value) for name, value in program("cuda").items()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, Tensor):
            assert_close(found[name], value, rtol=0, atol=0, equal_nan=True, msg=f"{name} differs")
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found[name], value)
        else:
            assert found[name] == value, name


def on_the_host(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def rounds(split: Split, backbone: Backbone, device: str, local: LocalTraining = LOCAL, **how: Any) -> Result:
    """Two rounds in chunks of five clients; the state has to be where it was asked for."""
    more = {} if split.stores is not None else {"chunk": 5}
    result = federate(
        split, backbone, local=local, device=device, **{"rounds": 2, "evaluate_every": 2, "ks": (5,), **more, **how}
    )
    state = result.state
    assert all(value.device.type == device for named in (state.tables, state.shared, state.private, state.own_tables)
               for value in named.values())  # fmt: skip
    return result


def numbers(result: Result) -> Numbers:
    """Everything of a result but how long it took."""
    times = [name for name in result.history.columns if name.startswith("seconds")]
    return result.state.tensors() | {"history": result.history.drop(columns=times), "ledger": result.ledger}


def check(split: Split, backbone: Backbone, local: LocalTraining = LOCAL, **how: Any) -> None:
    """The same rounds on both devices."""
    agree(lambda device: numbers(rounds(split, backbone, device, local, **how)))
