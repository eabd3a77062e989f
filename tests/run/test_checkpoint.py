"""Checkpoints: a resumed run is the same run, whatever killed the first one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fedlib import FedMF, InputError, LocalTraining, federate
from fedlib.run.checkpoint import load_tensors, save_tensors
from tests.small import BACKBONES, small_split
from tests.test_places import Counting, TwoTables

ADAM = LocalTraining(epochs=2, batch=8, lr=0.01, optimizer="adam")
TIMES = ["seconds", "seconds_evaluate"]


def run(backbone, folder: Path | None, rounds: int, **more):
    return federate(
        small_split(), backbone, select=Counting(), local=ADAM, rounds=rounds, clients_per_round=0.5, device="cpu",
        checkpoint=folder, checkpoint_every=5, **more,
    )  # fmt: skip


def assert_same(one, other) -> None:
    first, second = one.state.tensors(), other.state.tensors()
    assert set(first) == set(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert one.history.drop(columns=TIMES).equals(other.history.drop(columns=TIMES))
    assert one.ledger.equals(other.ledger)


@pytest.mark.parametrize("backbone", [*(b for b, _ in BACKBONES.values()), TwoTables()], ids=[*BACKBONES, "two tables"])
def test_five_and_five_rounds_equal_ten(backbone, tmp_path: Path) -> None:
    """Bit for bit: shared and private values, kept and own tables, a place's state, history and ledger."""
    run(backbone, tmp_path, 5)
    assert_same(run(backbone, tmp_path, 10, resume=True), run(backbone, None, 10))


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from tests.small import small_split
from fedlib import LocalTraining, PFedRec, federate
federate(small_split(m=60, n=300, longest=30), PFedRec(16), local=LocalTraining(batch=8), rounds=24, device="cpu",
         clients_per_round=0.5, checkpoint={folder!r}, checkpoint_every=1, resume=True)
"""


def test_kill_at_any_moment_loses_at_most_the_unfinished_round(tmp_path: Path) -> None:
    """The process is killed again and again while it saves after every round; what is left is whole."""
    from fedlib import PFedRec

    tests = Path(__file__).parents[1]
    script = SCRIPT.format(tests=str(tests), root=str(tests.parent), folder=str(tmp_path))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
        seen = newest(tmp_path)
        while process.poll() is None and newest(tmp_path) < seen + 5:
            time.sleep(0.002)
        time.sleep(0.0037 * (attempt % 7))  # another moment of the round each time
        if process.poll() is None:
            process.kill()
            kills += 1
        _, error = process.communicate()
        assert not error, error.decode()
        if process.returncode == 0:
            break
    assert kills >= 3
    split = small_split(m=60, n=300, longest=30)
    arguments = {"local": LocalTraining(batch=8), "rounds": 24, "device": "cpu", "clients_per_round": 0.5}
    assert_same(
        federate(split, PFedRec(16), checkpoint=tmp_path, resume=True, **arguments),
        federate(split, PFedRec(16), **arguments),
    )


def newest(folder: Path) -> int:
    return max((int(file.name[6:12]) for file in folder.glob("round-??????.safetensors")), default=0)


def test_the_previous_checkpoint_survives_a_crash_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(FedMF(4), tmp_path, 5)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            run(FedMF(4), tmp_path, 10, resume=True)
    assert newest(tmp_path) == 5
    assert_same(run(FedMF(4), tmp_path, 10, resume=True), run(FedMF(4), None, 10))


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    run(FedMF(4), tmp_path, 20)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "round-000015.safetensors",
        "round-000020.safetensors",
    ]


def test_a_run_resumed_at_a_round_that_was_not_evaluated_has_metrics(tmp_path: Path) -> None:
    """Cut short at round 5 of 20, with evaluations every 20 rounds, and then asked for no more than the 5."""

    class Cut(Exception):
        pass

    class UntilSix(Counting):
        def broadcast(self, own, state, chosen):
            if state.round == 5:
                raise Cut
            return super().broadcast(own, state, chosen)

    arguments = {"local": ADAM, "device": "cpu", "evaluate_every": 20, "checkpoint": tmp_path, "checkpoint_every": 5}
    with pytest.raises(Cut):
        federate(small_split(), FedMF(4), select=UntilSix(), rounds=20, **arguments)
    resumed = federate(small_split(), FedMF(4), select=UntilSix(), rounds=5, resume=True, **arguments)
    whole = federate(small_split(), FedMF(4), select=Counting(), local=ADAM, device="cpu", rounds=5)
    assert resumed.metrics == whole.metrics


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    run(FedMF(4), tmp_path, 5)
    with pytest.raises(InputError, match=r"belongs to another run \(different: seed\)"):
        run(FedMF(4), tmp_path, 10, resume=True, seed=1)
    with pytest.raises(InputError, match=r"different: backbone"):
        run(FedMF(5), tmp_path, 10, resume=True)


def test_checkpoints_are_never_overwritten_or_cut_short(tmp_path: Path) -> None:
    run(FedMF(4), tmp_path, 10)
    with pytest.raises(InputError, match="already holds checkpoints"):
        run(FedMF(4), tmp_path, 10)
    with pytest.raises(InputError, match="is past round 5: ask for at least 10"):
        run(FedMF(4), tmp_path, 5, resume=True)


def test_what_a_killed_process_was_writing_goes_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".round-000005.safetensors.1.part").write_bytes(b"half")
    run(FedMF(4), tmp_path, 5)
    assert [file.name for file in tmp_path.iterdir()] == ["round-000005.safetensors"]


def test_windows_gets_tensors_that_let_go_of_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a file that memory mirrors can be neither replaced nor removed; here one can see that it is mirrored."""
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(1000)}, {})
    monkeypatch.setattr("sys.platform", "win32")
    tensors, _ = load_tensors(path)
    path.write_bytes(path.read_bytes().replace(bytes(4000), b"\1" * 4000))
    assert not tensors["a"].any()


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"not a tensor file", None])
def test_a_damaged_file_is_named_in_one_sentence(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.arange(1000)}, {"round": 1})
    path.write_bytes(path.read_bytes()[:-500] if damage is None else damage)
    with pytest.raises(InputError, match=r"x\.safetensors is not a readable fedlib file"):
        load_tensors(path)
