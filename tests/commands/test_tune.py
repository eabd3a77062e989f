"""``fedlib tune``: validation data decides, nothing finished is lost, and runs read the choice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedlib import SemanticSpace
from fedlib.cli import main
from fedlib.commands import build, tune
from fedlib.commands.build import Experiment
from fedlib.commands.rates import SETTINGS
from fedlib.errors import InputError
from tests.command_line import FEDMF, refusal, report, strict
from tests.command_line import here as here

pytestmark = pytest.mark.usefixtures("here")
TUNE = [
    "tune",
    "--dataset",
    "synthetic",
    "--device",
    "cpu",
    "--backbone",
    "fedmf",
    "--rounds",
    "1",
    "--table",
    "t.json",
]


def rows() -> list[dict[str, Any]]:
    return strict(Path("t.json").read_text(encoding="utf-8"))


def test_tuning_judges_on_validation_and_a_run_reads_its_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TUNE, "--grid", "10,1", "--metric", "HR@5"]) == 0
    assert "valid HR@5" in capsys.readouterr().out
    (row,) = rows()
    assert all(tried.keys() == {"lr", "lr_items", "valid"} for tried in row["grid"])
    for tried in row["grid"][:2]:
        alone = report(*FEDMF, "--rounds", "1", "--lr", str(tried["lr"]))
        assert tried["valid"] == alone["valid_metrics"]["HR@5"] != alone["metrics"]["HR@5"]
    assert row["valid"] == max(tried["valid"] for tried in row["grid"])

    tuned = report(*FEDMF, "--rounds", "1", "--table", "t.json")
    assert (tuned["config"]["settings"], tuned["config"]["local"]["lr"]) == ("tuned", row["lr"])
    assert tuned["valid_metrics"]["HR@5"] == row["valid"]


def test_the_best_round_is_what_a_rate_is_judged_by() -> None:
    assert main([*TUNE, "--grid", "3", "--rounds", "6", "--best", "NDCG@10", "--evaluate-every", "2"]) == 0
    (row,) = rows()
    assert (row["best"], row["evaluate_every"]) == ("NDCG@10", 2)
    chosen = ["--rounds", "6", "--best", "NDCG@10", "--evaluate-every", "2", "--table", "t.json"]
    run = report(*FEDMF, *chosen)
    assert run["valid_metrics"]["NDCG@10"] == row["valid"]
    assert row["valid"] == max(r["valid NDCG@10"] for r in run["history"] if r["valid NDCG@10"] is not None)


def test_a_table_that_says_nothing_about_a_run_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.json").write_text("[]", encoding="utf-8")
    assert "t.json" in refusal(capsys, [*FEDMF, "--rounds", "1", "--table", "t.json"])


def test_interrupted_tuning_loses_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def peak(trial: Experiment, metric: str) -> float:
        if len(tried) == 2:
            raise KeyboardInterrupt
        tried.append(trial.rates.network)
        return -abs(trial.rates.network - 0.1)

    monkeypatch.setattr(tune, "try_one", peak)
    assert main([*TUNE, "--grid", "0.01,0.1,1"]) == 130
    (row,) = rows()
    assert [t["lr"] for t in row["grid"]] == tried == [0.01, 0.1]
    assert row["lr"] is None  # no choice before the end

    tried.clear()
    assert main([*TUNE, "--grid", "0.01,0.1,1"]) == 0
    assert tried == [1.0]
    (row,) = rows()
    assert row["lr"] == 0.1
    tried.clear()
    options = SETTINGS.absent.items()  # as if all that was left at its default had not been there yet
    older = json.dumps([dict(item for item in row.items() if item not in options)])
    Path("t.json").write_text(older, encoding="utf-8")
    assert main([*TUNE, "--grid", "0.01,0.1,1"]) == 0
    assert tried == []
    assert Path("t.json").read_text(encoding="utf-8") == older  # nothing new to say, so the table stays as it was


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (0.4, [0.1, 1.0, 0.046]),  # 0.1 is nearer, and nothing below it is
        (0.03, [0.1, 1.0, 0.046, 0.022, 0.01]),
        (4.0, [0.1, 1.0, 2.2, 4.6, 10.0]),
        (1e9, [0.1, 1.0, 2.2, 4.6, 10.0, 22.0, 46.0, 100.0, 220.0, 460.0, 1000.0]),
    ],
)
def test_the_grid_grows_while_an_end_of_it_is_the_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peak: float, tried: list[float]
) -> None:
    monkeypatch.setattr(tune, "try_one", lambda trial, metric: 1 / (1 + abs(trial.rates.network - peak)))
    assert main([*TUNE, "--grid", "0.1,1"]) == 0
    assert [t["lr"] for t in rows()[0]["grid"]] == tried
    assert ("wider --grid" in capsys.readouterr().out) == (peak == 1e9)


def test_tuning_that_is_interrupted_while_the_grid_grows_goes_on_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def peak(trial: Experiment, metric: str) -> float:
        if len(tried) == 6:
            tried.append(trial.rates.network)
            raise KeyboardInterrupt
        tried.append(trial.rates.network)
        return -abs(trial.rates.network - 40)

    monkeypatch.setattr(tune, "try_one", peak)
    assert main([*TUNE, "--grid", "0.1,1"]) == 130
    assert main([*TUNE, "--grid", "0.1,1"]) == 0
    assert tried == [0.1, 1.0, 2.2, 4.6, 10.0, 22.0, 46.0, 46.0, 100.0]
    assert rows()[0]["lr"] == 46.0


def test_two_grids_are_tried_in_all_pairs_and_grow_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def valid(trial: Experiment, metric: str) -> float:
        assert trial.rates.items is not None
        return -abs(trial.rates.network - 0.2) - abs(trial.rates.items - 30)

    monkeypatch.setattr(tune, "try_one", valid)
    assert main([*TUNE, "--grid", "0.1,0.2,1", "--grid-items", "10"]) == 0
    (row,) = rows()
    assert {(t["lr"], t["lr_items"]) for t in row["grid"]} == {
        (lr, q) for lr in (0.1, 0.2, 1.0) for q in (4.6, 10.0, 22.0, 46.0)
    }
    assert (row["lr"], row["lr_items"]) == (0.2, 22.0)


def test_a_rate_that_diverges_is_noted_and_not_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TUNE, "--rounds", "3", "--grid", "1,1e35"]) == 0
    assert "diverged" in capsys.readouterr().out
    (row,) = rows()
    assert row["grid"][1]["valid"] is None
    assert row["lr"] == 1.0


def test_tunings_of_other_settings_keep_their_rows() -> None:
    for setting in ([], ["--batch", "8"], ["--local-only"]):
        assert main([*TUNE, "--grid", "0.1", *setting, "--optimizer", "adam"]) == 0
    assert [(row["batch"], row["local_only"]) for row in rows()] == [(256, False), (8, False), (256, True)]


def test_rates_for_items_from_texts_are_for_those_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick = SimpleNamespace(pretrained=partial(SemanticSpace.pretrained, steps=1))
    monkeypatch.setattr(build, "SemanticSpace", quick)
    adam, semantic = ["--optimizer", "adam"], ["--items", "semantic", "--encoder", "lsa"]
    assert main([*TUNE, *adam, "--grid", "0.1", *semantic]) == 0
    assert main([*FEDMF, *adam, "--rounds", "1", "--table", "t.json"]) == 2
    assert main([*TUNE, *adam, "--grid", "0.1"]) == 0
    by_text, by_id = rows()
    assert [(row["items"], row["encoder"]) for row in (by_text, by_id)] == [("semantic", "lsa"), ("id", None)]
    assert by_text["valid"] != by_id["valid"]


def test_a_row_is_put_beside_what_others_wrote_meanwhile() -> None:
    table = Path("t.json")
    assert main([*TUNE, "--grid", "0.1", "--optimizer", "adam"]) == 0
    (first,) = rows()
    mine = tune.start(table, first | {"seed": 1})
    tune.save(table, first | {"seed": 2})
    tune.save(table, mine)
    tune.save(table, mine)
    assert [row["seed"] for row in rows()] == [0, 2, 1]


def test_tunings_that_write_to_one_table_take_turns() -> None:
    """Without that, rows that another has put in between reading and writing are lost."""

    names = *SETTINGS.must, *SETTINGS.should
    empty = dict.fromkeys([*names, "lr", "lr_items", "valid"]) | {"grid": []}

    def puts(batch: int) -> None:
        for seed in range(5):
            tune.save(Path("t.json"), empty | {"batch": batch, "seed": seed})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(puts, range(4)))
    assert len(rows()) == 20


def test_a_table_where_nothing_can_be_written_is_one_line() -> None:
    Path("file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"^file.t\.json cannot be written \([^\n]*\)\.$"):
        tune.save(Path("file/t.json"), {"lr": 1.0})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grid", "x"], "--grid"), (["--grid", "0.1,nan"], "--grid"), (["--grid", "0"], "--grid"),
        (["--grid", ""], "--grid"), ([], "--grid"),
        (["--grid", "1", "--grid-items", "-1"], "--grid-items"), (["--grid", "1", "--metric", "NDCG"], "NDCG@10"),
        (["--grid", "1", "--metric", "MRR@10"], "NDCG@10"), (["--grid", "1", "--backbone", "bpr"], "not one"),
        (["--grid", "1", "--table", "missing/t.json"], "missing"), (["--grid", "1", "--lr", "1"], "--lr"),
        (["--grid", "1e35"], "diverged"),
    ],
)  # fmt: skip
def test_bad_tuning_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    if told == "diverged":
        assert main([*TUNE, "--rounds", "3", *arguments]) == 2  # what was tried stays in the table
        assert rows()[0]["grid"] == [{"lr": 1e35, "lr_items": 200 * 1e35, "valid": None}]
        assert told in capsys.readouterr().err
    else:
        assert told in refusal(capsys, [*TUNE, *arguments])


def test_a_file_that_is_no_table_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.json").write_text("something of mine", encoding="utf-8")
    assert "t.json" in refusal(capsys, [*TUNE, "--grid", "1"])
    assert Path("t.json").read_text(encoding="utf-8") == "something of mine"
