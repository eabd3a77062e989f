"""Tables on the disk: the same run, less memory, and nothing left behind."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from fedlib import InputError, LocalTraining, federate
from fedlib.backbones import FedRAP, PFedRec
from fedlib.data.log import Stores
from tests.small import small_split

RUN = {"local": LocalTraining(lr_items=1.0, negatives=2), "rounds": 2, "device": "cpu"}


@pytest.mark.parametrize("model", [FedRAP(8), PFedRec(8).alone()], ids=["fedrap", "pfedrec alone"])
def test_it_is_the_same_run_bit_for_bit(model, tmp_path: Path) -> None:
    """Under a bound that the tables in memory would break: 13 users, 40 items, 8 numbers of 4 bytes."""
    plain = federate(small_split(), model, **RUN)
    with pytest.raises(InputError, match="--own-tables-in"):
        federate(small_split(), model, max_memory=13 * 40 * 8 * 4, **RUN)
    disk = federate(small_split(), model, max_memory=13 * 40 * 8 * 4, own_tables_in=tmp_path, **RUN)
    for name, value in plain.state.tensors().items():
        assert torch.equal(disk.state.tensors()[name], value), name
    assert disk.metrics == plain.metrics
    assert list(tmp_path.iterdir()) == []  # the file has no name, though the tables are still in use


def test_stores_can_do_it_too(tmp_path: Path) -> None:
    split = small_split().with_stores(Stores(torch.arange(13) % 3, 3))
    plain, disk = (federate(split, PFedRec(8).alone(), own_tables_in=folder, **RUN) for folder in (None, tmp_path))
    assert torch.equal(disk.state.own_tables["item"], plain.state.own_tables["item"])


def test_what_makes_no_sense_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Clients of PFedRec have no own item tables"):
        federate(small_split(), PFedRec(8), own_tables_in=tmp_path, **RUN)
    with pytest.raises(InputError, match="is no folder"):
        federate(small_split(), FedRAP(8), own_tables_in=tmp_path / "nowhere", **RUN)
    with pytest.raises(InputError, match="written from memory"):
        federate(small_split(), FedRAP(8), own_tables_in=tmp_path, checkpoint=tmp_path / "c", **RUN)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(100))
    with pytest.raises(InputError, match="has room for"):
        federate(small_split(), FedRAP(8), own_tables_in=tmp_path, **RUN)
