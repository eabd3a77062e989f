"""``fedlib run``: the document it writes is what the package computes."""

from __future__ import annotations

import inspect
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedlib import LSA, FedMF, FedNCF, LocalTraining, PFedRec, SemanticSpace, SemanticTable, federate, load
from fedlib.centralized import BPR, Chance, ItemKNN, Popularity, evaluate
from fedlib.cli import main
from fedlib.commands import build
from fedlib.commands.options import RunOptions
from fedlib.items import item_texts
from tests.command_line import FEDMF, RUN, refusal, report
from tests.command_line import here as here

pytestmark = pytest.mark.usefixtures("here")
KEYS = {
    "config", "protocol", "metrics", "valid_metrics", "history", "seconds", "ledger", "device", "threads", "versions",
    "data_sha256", "test_sha256",
}  # fmt: skip


def test_the_defaults_of_the_command_line_are_those_of_the_package() -> None:
    loop = inspect.signature(federate).parameters
    for name in ("clients_per_round", "rounds", "seed", "executor", "device", "evaluate_every", "checkpoint_every"):
        assert getattr(RunOptions, name) == loop[name].default
    local = LocalTraining()
    given = (RunOptions.local_epochs, RunOptions.batch, RunOptions.negatives, RunOptions.weight_decay)
    assert given == (local.epochs, local.batch, local.negatives, local.weight_decay)


def test_a_run_writes_what_the_package_computes() -> None:
    """The same run, put together by hand: PFedRec by SGD at .1 with its own rule for the item vectors."""
    written = report(*RUN, "--backbone", "pfedrec", "--rounds", "3", "--topk", "10,1")
    split = load("synthetic").leave_one_out(seed=0)
    result = federate(split, PFedRec(), local=LocalTraining(lr=0.1), rounds=3, ks=(1, 10), device="cpu")

    assert written.keys() == KEYS
    assert written["metrics"] == result.metrics
    assert written["valid_metrics"] == result.valid_metrics
    assert [row["loss"] for row in written["history"]] == result.history["loss"].tolist()
    assert written["ledger"] == result.ledger.to_dict("records")
    assert (written["protocol"], written["device"], written["threads"]) == ("loo99", "cpu", 1)
    assert (written["data_sha256"], written["test_sha256"]) == (split.data.sha256, split.test_sha256)
    assert written["versions"].keys() == {"python", "torch", "numpy", "fedlib"}
    assert written["seconds"].keys() == {"prepare", "round_median", "evaluate_median", "total"}
    assert all(0 < value <= written["seconds"]["total"] for value in written["seconds"].values())
    config = written["config"]
    assert (config["settings"], config["local"]["lr"], config["local"]["lr_items"]) == ("default", 0.1, 80 * 300 * 0.1)
    assert (config["dataset"], config["backbone"], config["variant"], config["rounds"]) == (
        "synthetic",
        "pfedrec",
        "original",
        3,
    )
    assert config["local"]["negatives_from"] == "untouched"


def test_every_training_option_reaches_the_loop() -> None:
    written = report(
        *RUN, "--backbone", "fedncf", "--variant", "fedsllm", "--protocol", "ratio80", "--clients-per-round", "9",
        "--rounds", "2", "--local-epochs", "2", "--batch", "8", "--negatives", "2", "--negatives-from", "untouched",
        "--optimizer", "sgd", "--lr", "0.05", "--lr-items", "0.5", "--weight-decay", "0.01", "--dim", "8",
        "--lr-decay", "0.5", "--step-decay", "0.9", "--stop", "0.001",
        "--seed", "3", "--split-seed", "4", "--evaluate-every", "2", "--chunk", "1", "--max-memory", "1GB",
    )  # fmt: skip
    split = load("synthetic").ratio_split(seed=4)
    local = LocalTraining(
        epochs=2, batch=8, negatives=2, negatives_from="untouched", lr=0.05, lr_items=0.5, weight_decay=0.01,
        lr_decay=0.5, step_decay=0.9, stop=0.001,
    )  # fmt: skip
    backbone = FedNCF(dim=8, hidden=(128, 64), gmf=0, dropout=0.5)
    result = federate(
        split, backbone, local=local, clients_per_round=9, rounds=2, seed=3, evaluate_every=2, device="cpu", chunk=1
    )
    assert written["metrics"] == result.metrics
    assert written["config"]["settings"] == "given"
    assert written["config"]["chunk"] == 1
    assert [row["clients"] for row in written["history"]] == [9, 9]
    assert written["history"][0]["HR@10"] is None


@pytest.mark.parametrize(
    ("backbone", "variant", "optimizer", "lr", "model"),
    [
        ("fedmf", "original", "sgd", 1.0, {"dim": 32}),
        ("fedmf", "fedsllm", "adam", 0.01, {"dim": 32}),
        ("fedncf", "original", "adam", 0.01, {"dim": 32, "hidden": [32, 16, 8], "gmf": 8, "dropout": 0.0}),
        ("fedncf", "fedsllm", "adam", 0.01, {"dim": 32, "hidden": [128, 64], "gmf": 0, "dropout": 0.5}),
        ("pfedrec", "fedsllm", "adam", 0.01, {"dim": 32, "hidden": [64, 32], "dropout": 0.5}),
        ("fedrap", "code", "sgd", 0.0001, {"dim": 32, "lam": 0.1, "mu": 0.001, "ramp": "constant"}),
    ],
)
def test_a_variant_is_a_model_with_its_optimiser(
    backbone: str, variant: str, optimizer: str, lr: float, model: dict[str, Any]
) -> None:
    config = report(*RUN, "--backbone", backbone, "--variant", variant, "--rounds", "1")["config"]
    assert config["model"].items() >= model.items()
    factor = {"fedmf": 200, "fedrap": 300}.get(backbone, 1)  # clients, and items: the rules of the two
    rate = factor * lr if optimizer == "sgd" else lr
    assert (config["local"]["optimizer"], config["local"]["lr"], config["local"]["lr_items"]) == (optimizer, lr, rate)


@pytest.mark.parametrize(
    ("backbone", "partition"),
    [("fedngcf", "random"), ("fedngcf", "uniform"), ("fedmf", "random"), ("fedpergnn", "beta")],
)
def test_a_run_of_stores_has_a_client_for_each(backbone: str, partition: str) -> None:
    written = report(*RUN, "--backbone", backbone, "--stores", "4", "--partition", partition, "--protocol", "ratio80",
                     "--rounds", "1", "--dim", "8")  # fmt: skip
    assert [row["clients"] for row in written["history"]] == [4]
    assert (written["config"]["stores"], written["config"]["partition"]) == (4, partition)


def test_a_local_only_run_sends_nothing() -> None:
    written = report(*FEDMF, "--rounds", "1", "--local-only")
    assert written["config"]["local_only"]
    assert [row["bytes_up"] for row in written["history"]] == [0]


@pytest.mark.parametrize("protocol", ["loo99", "full", "ratio80"])
@pytest.mark.parametrize(
    ("backbone", "scorer"),
    [("random", Chance(seed=2)), ("popularity", Popularity()), ("itemknn", ItemKNN()), ("bpr", BPR(seed=2))],
)
def test_the_rows_that_are_not_federated(protocol: str, backbone: str, scorer: Any) -> None:
    written = report("run", "--dataset", "synthetic", "--backbone", backbone, "--protocol", protocol, "--seed", "2")
    data = load("synthetic")
    split = {"loo99": data.leave_one_out, "full": data.full_ranking, "ratio80": data.ratio_split}[protocol]()
    assert written.keys() == KEYS
    assert written["metrics"] == evaluate(scorer.fit(split), split, "test").metrics()
    assert written["valid_metrics"] == evaluate(scorer, split, "valid").metrics()
    assert (written["history"], written["ledger"], written["seconds"]["round_median"]) == ([], [], None)


def test_a_resumed_run_is_the_uninterrupted_one(capsys: pytest.CaptureFixture[str]) -> None:
    def numbers(written: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in written["history"]]

    whole = report(*FEDMF, "--rounds", "4", "--lr", "1")
    saving = [*FEDMF, "--lr", "1", "--checkpoint", "runs", "--checkpoint-every", "2"]
    report(*saving, "--rounds", "2", "--resume")  # where there is no checkpoint, the run starts
    resumed = report(*saving, "--rounds", "4", "--resume")
    assert resumed["metrics"] == whole["metrics"]
    assert numbers(resumed) == numbers(whole)

    assert "--resume" in refusal(capsys, [*saving, "--rounds", "6"])
    assert "past round 3" in refusal(capsys, [*saving, "--rounds", "3", "--resume"])
    assert "another run" in refusal(capsys, [*saving, "--rounds", "6", "--resume", "--seed", "1"])


def test_a_seed_decides_the_run_and_leaves_the_split_alone() -> None:
    first, again, other = (report(*FEDMF, "--rounds", "2", "--lr", "3", "--seed", seed) for seed in "001")
    assert first["metrics"] == again["metrics"] != other["metrics"]
    assert first["config"]["split_seed"] == other["config"]["split_seed"] == 0
    elsewhere = report(*FEDMF, "--rounds", "2", "--lr", "3", "--split-seed", "1")
    assert elsewhere["metrics"] != first["metrics"]
    assert elsewhere["test_sha256"] == first["test_sha256"]  # leave-one-out: other candidates, the same test items


def test_the_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    assert report(*FEDMF, "--rounds", "1", "--threads", str(before + 1))["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_without_out_a_summary_is_printed(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main([*FEDMF, "--rounds", "1", "--topk", "5,10"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert re.search(r"^ +@5 +@10$", said.out, flags=re.MULTILINE)
    assert re.search(r"^NDCG +0\.\d{4} +0\.\d{4}$", said.out, flags=re.MULTILINE)
    assert "fedmf (original) on synthetic, protocol loo99, cpu" in said.out
    assert list(here.iterdir()) == []


def test_with_out_nothing_is_printed(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    report(*FEDMF, "--rounds", "1")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert [path.name for path in here.iterdir()] == ["out.json"]


def test_real_data(real_data: Path) -> None:
    written = report("run", "--dataset", "ml-100k", "--backbone", "pfedrec", "--rounds", "2", "--device", "cpu")
    assert [row["clients"] for row in written["history"]] == [943, 943]
    # One item table of 1,682 x 32 floats goes to each client and back.
    assert [row["bytes_up"] for row in written["history"]] == [943 * 1682 * 32 * 4] * 2
    assert written["config"]["local"]["lr_items"] == pytest.approx(13_456) or written["config"]["settings"] == "tuned"


@pytest.mark.parametrize(
    ("protect", "column"),
    [(["secagg"], "clipped"), (["user-dp", "--clip", "0.1", "--dp-epsilon", "8"], "epsilon"), (["local-dp"], None),
     (["local-dp", "--dp-epsilon", "2"], None), (["noise"], None)],
)  # fmt: skip
def test_what_protects_an_upload_is_in_the_result(protect: list[str], column: str | None) -> None:
    how = ["--rounds", "2", "--lr", "0.1", "--clients-per-round", "0.1", "--sampling", "poisson"]
    told = report(*FEDMF, *how, "--protect", *protect)
    assert told["config"]["sampling"] == "poisson" and told["config"]["places"].keys() == {"items", "protect"}
    if column:
        assert all(column in row for row in told["history"])
    if protect[:1] == ["user-dp"]:
        assert told["history"][-1]["epsilon"] <= 8
    if "2" in protect:
        assert told["config"]["places"]["protect"]["scale"] == 0.1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--clip", "1"], "--clip is for --protect secagg, user-dp, local-dp"),
        (["--dp-epsilon", "1", "--protect", "secagg"], "--dp-epsilon is for --protect user-dp, local-dp"),
        (["--protect", "user-dp", "--clip", "1"], "needs --clip"),
        (["--protect", "user-dp", "--clip", "0", "--dp-epsilon", "1"], "not a positive number"),
        (["--protect", "trust"], "not one of none"),
    ],
)
def test_protections_that_mean_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert told in refusal(capsys, [*FEDMF, *options])


def test_items_that_start_from_texts_are_the_packages_and_the_config_tells_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick = SimpleNamespace(pretrained=partial(SemanticSpace.pretrained, steps=2))
    monkeypatch.setattr(build, "SemanticSpace", quick)
    options = [*RUN, "--backbone", "fedmf", "--items", "semantic", "--encoder", "lsa", "--dim", "4", "--lr", "0.1"]
    written = report(*options, "--rounds", "2", "--topk", "10")
    split = load("synthetic").leave_one_out(seed=0)
    space = SemanticSpace.pretrained(split.data, LSA(item_texts(split.data)), widths=(512, 256, 128, 4), steps=2)
    local = LocalTraining(lr=0.1)
    result = federate(split, FedMF(4), SemanticTable(space), local=local, rounds=2, ks=(10,), device="cpu")
    assert written["metrics"] == result.metrics
    config = written["config"]
    assert (config["items"], config["encoder"], config["encoder_dim"]) == ("semantic", "lsa", space.x.shape[1])
    assert (config["ae_widths"], config["ae_steps"]) == ([512, 256, 128, 4], 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--encoder", "minilm"], "--encoder is for --items semantic"),
        (["--items", "semantic", "--encoder", "mini"], "by name there is only sentence-t5, minilm, lsa"),
        (["--items", "semantic", "--encoder", "."], "no sentence encoder was saved there"),
        (["--items", "semantic", "--backbone", "fedrap"], "plays no part for --backbone fedrap"),
        (["--items", "semantic", "--backbone", "popularity"], "is not federated"),
    ],
)
def test_items_and_encoders_that_mean_nothing_together_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert told in refusal(capsys, [*FEDMF, *arguments])
