"""What a place is called: equal for two only if they would do the same."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fedlib import FedMF, InputError, Place, UserLevelDP, federate, load_result
from fedlib.run.identity import identity
from tests.items.fusion import Fusion, fusion
from tests.small import small_split


class Holds(Place):
    def __init__(self, thing: object) -> None:
        self.thing = thing


def test_one_number_in_a_large_tensor_makes_another() -> None:
    one, other = torch.zeros(1000, 50), torch.zeros(1000, 50)
    other[500, 20] = 1e-6
    assert repr(one) == repr(other), "torch abbreviates, which is why no repr is asked"
    assert identity(Holds(one)) != identity(Holds(other))
    assert identity(one) != identity(one.double()) != identity(one.view(500, 100).double())
    assert identity(one.numpy()) == identity(one) and identity(np.ones(3)) != identity(np.zeros(3))


def test_numbers_words_and_what_is_made_of_them_stay_readable() -> None:
    place = UserLevelDP(clip=1.0, epsilon=8.0)
    assert identity(place) == {
        "name": "UserLevelDP", "clip": 1.0, "noise_multiplier": None, "epsilon": 8.0, "delta": 1e-5
    }  # fmt: skip
    assert identity({"a": (1, [None, "b"]), 2: {3, 1}}) == {"a": [1, [None, "b"]], "2": [1, 3]}
    assert identity(Path("a") / "b") == str(Path("a") / "b") and identity(torch.float32) == "torch.float32"
    assert identity(torch.relu).endswith("relu") and identity(FedMF) == "fedlib.backbones.fedmf.FedMF"


def test_an_object_may_say_what_it_is_and_one_that_cannot_is_refused() -> None:
    @dataclass
    class Named:
        weights: object

        def identity(self) -> str:
            return "the encoder of May"

    assert identity(Holds(Named(io.StringIO())))["thing"] == "the encoder of May"
    with pytest.raises(InputError, match="a StringIO is"):
        federate(small_split(), FedMF(4), select=Holds(io.StringIO()), rounds=1)


class FromElsewhere(Fusion):
    """A fusion that keeps something no file can hold."""

    def __init__(self, inner: Fusion) -> None:
        super().__init__(inner.colour, inner.words)
        self.inner = inner


def test_a_result_that_cannot_build_its_items_again_takes_them(tmp_path: Path) -> None:
    items = FromElsewhere(fusion())
    result = federate(small_split(), FedMF(8), items=items, rounds=1, device="cpu")
    result.save(tmp_path)
    with pytest.raises(InputError, match="load it with items="):
        load_result(tmp_path)
    other = FromElsewhere(fusion())
    other.words[3] += 1
    with pytest.raises(InputError, match="give the items of that run"):
        load_result(tmp_path, items=other)
    again = load_result(tmp_path, items=items)
    assert again.recommend("u3", 5).equals(result.recommend("u3", 5))
    plain = federate(small_split(), FedMF(8), rounds=1, device="cpu").save(tmp_path / "plain")
    with pytest.raises(InputError, match="leave items out"):
        load_result(plain, items=items)


def test_init_is_not_paid_again_on_resume(tmp_path: Path) -> None:
    calls = []

    class Costly(Place):
        def init(self, split, seed):
            calls.append("init")
            return {"trained": torch.ones(3)}

        def memory(self, split):
            calls.append("memory")
            return {}

    how = {"select": Costly(), "device": "cpu", "checkpoint": tmp_path, "checkpoint_every": 1}
    federate(small_split(), FedMF(4), rounds=1, **how)
    resumed = federate(small_split(), FedMF(4), rounds=2, resume=True, **how)
    assert calls == ["init", "memory"]
    assert resumed.state.places["select"]["trained"].tolist() == [1, 1, 1]
