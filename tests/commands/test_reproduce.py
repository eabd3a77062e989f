"""``fedlib reproduce``: a table's runs are those of ``fedlib run``, each is done once, and nothing finished is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedlib import load
from fedlib.cli import main
from fedlib.commands import reproduce
from fedlib.commands.finished import finished, overview
from fedlib.protect.robust import RobustAggregation
from fedlib.prototypes.prompts import generation_messages
from fedlib.prototypes.summary import summary_of
from fedlib.reproduce import Cell, Grid, Table, per_user, read_rows
from fedlib.reproduce.results import Row, read_file
from fedlib.run.faults import Faults
from tests.command_line import here as here
from tests.command_line import refusal, report

pytestmark = pytest.mark.usefixtures("here")
SHARED = {"protocol": "loo99", "topk": "5,10"}
FEDMF = Cell("fedmf", SHARED | {"backbone": "fedmf", "rounds": 2}, Grid((1.0, 10.0), (31.6,), "NDCG@10"))
TABLE = Table(
    "small",
    "three rows",
    (FEDMF, Cell("random", SHARED | {"backbone": "random"}, None), Cell("most", {"backbone": "popularity"}, None)),
)
COMMAND = ["reproduce", "small", "--dataset", "synthetic", "--device", "cpu", "--seeds", "2", "--jobs", "1",
           "--results", "rows", "--rates", "t.json"]  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "TABLES", {"small": TABLE})


def rows() -> list[Row]:
    return read_file(Path("rows/small.synthetic.jsonl"))


def test_every_cell_is_run_as_fedlib_run_does_and_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*COMMAND, "--tune"]) == 0
    assert [(row["cell"], row["seed"]) for row in rows()] == [
        ("fedmf", 0), ("fedmf", 1), ("random", 0), ("random", 1), ("most", 0)
    ]  # fmt: skip
    first = rows()[1]
    rates = ["--lr", str(first["lr"]), "--lr-items", str(first["lr_items"])]
    alone = report("run", "--dataset", "synthetic", "--device", "cpu", "--backbone", "fedmf", "--rounds", "2",
                   "--seed", "1", "--topk", "5,10", *rates)  # fmt: skip
    assert {name: first[name] for name in ("metrics", "valid_metrics", "test_sha256")} == {
        name: alone[name] for name in ("metrics", "valid_metrics", "test_sha256")
    }
    assert first["lr"] == max(json.loads(Path("t.json").read_text())[0]["grid"], key=lambda tried: tried["valid"])["lr"]
    sent = sum(row["bytes"] for row in alone["ledger"] if row["direction"] == "up")
    assert first["bytes"]["up"] == sent / sum(row["clients"] for row in alone["history"])
    for row in rows():
        for metric in ("HR@10", "NDCG@5"):
            assert per_user(row, metric).mean() == pytest.approx(row["metrics"][metric])

    before = Path("rows/small.synthetic.jsonl").read_bytes()
    assert main(COMMAND) == 0
    told = capsys.readouterr().out
    assert "5 runs are done, 0 to go" in told
    assert [line.split()[0] for line in told.splitlines()[-3:]] == ["fedmf", "random", "most"]
    assert Path("rows/small.synthetic.jsonl").read_bytes() == before

    other = replace(TABLE.cells[1], options=SHARED | {"backbone": "random", "topk": "5,10,20"})
    monkeypatch.setattr(reproduce, "TABLES", {"small": replace(TABLE, cells=(FEDMF, other, TABLE.cells[2]))})
    assert main(COMMAND) == 0
    assert "3 runs are done, 2 to go" in capsys.readouterr().out
    assert len(rows()) == 5
    assert "HR@20" in rows()[2]["metrics"]


def test_protection_and_faults_of_a_cell_are_in_its_row_and_in_the_choice_of_its_rates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(share: float) -> dict[str, Table]:
        assert FEDMF.grid is not None
        faults, median = Faults(before=share, target=3), RobustAggregation(rule="median")
        plain = replace(FEDMF, name="plain", faults=faults)
        robust = replace(FEDMF, name="robust", faults=faults, protect=median, grid=replace(FEDMF.grid, protected=True))
        return {"small": Table("small", "two rows", (plain, robust))}

    monkeypatch.setattr(reproduce, "TABLES", table(0.5))
    assert main([*COMMAND, "--seeds", "1", "--tune"]) == 0
    plain, robust = rows()
    assert plain["faults"] == robust["faults"] and plain["faults"]["before"] == 0.5
    assert "protect" not in plain and robust["protect"]["rule"] == "median"
    assert 0 <= plain["exposure"] <= 1 and plain["metrics"] != robust["metrics"]
    chosen = json.loads(Path("t.json").read_text())
    assert ["protect" in row for row in chosen] == [False, True]
    assert chosen[0]["grid"] != chosen[1]["grid"]
    given = ["--lr", str(plain["lr"]), "--lr-items", str(plain["lr_items"])]
    alone = report("run", "--dataset", "synthetic", "--device", "cpu", "--backbone", "fedmf", "--rounds", "2", *given)
    assert alone["metrics"]["HR@10"] != plain["metrics"]["HR@10"]  # half of the clients did not answer

    assert main([*COMMAND, "--seeds", "1"]) == 0
    assert "2 runs are done, 0 to go" in capsys.readouterr().out
    monkeypatch.setattr(reproduce, "TABLES", table(0.25))
    assert main([*COMMAND, "--seeds", "1"]) == 0
    assert "0 runs are done, 2 to go" in capsys.readouterr().out


def test_rates_chosen_under_a_protection_are_not_those_of_a_run_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--seeds", "1", "--tune", "--cells", "fedmf"]) == 0
    chosen = json.loads(Path("t.json").read_text())
    Path("t.json").write_text(json.dumps([chosen[0] | {"protect": {"name": "Other"}}]))
    capsys.readouterr()
    assert "No rates" in refusal(capsys, [*COMMAND, "--seeds", "1", "--cells", "fedmf"])


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--tune" in refusal(capsys, COMMAND)
    assert "small" in refusal(capsys, ["reproduce", "big"])
    assert "fedmf, random, most" in refusal(capsys, [*COMMAND, "--cells", "pfedrec"])
    assert not Path("rows/small.synthetic.jsonl").exists()


def test_a_run_that_fails_ends_the_rest_and_leaves_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*COMMAND, "--tune", "--cells", "fedmf", "--seeds", "1"]) == 0
    table = json.loads(Path("t.json").read_text())
    Path("t.json").write_text(json.dumps([row | {"lr": 1e30, "lr_items": 1e30} for row in table]))
    monkeypatch.setattr(reproduce, "TABLES", {"small": replace(TABLE, cells=(TABLE.cells[1], FEDMF, TABLE.cells[2]))})
    capsys.readouterr()
    assert main(COMMAND) == 2
    assert "diverged" in capsys.readouterr().err
    assert [(row["cell"], row["seed"]) for row in rows()][:2] == [("random", 0), ("random", 1)]
    assert "most" not in {row["cell"] for row in rows()}


def test_a_damaged_row_is_named_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows").mkdir()
    Path("rows/small.synthetic.jsonl").write_text(
        '{"cell": "random", "seed": 0, "options": {}, "users": null}\n{"cell": "ra'
    )
    assert "line 2" in refusal(capsys, [*COMMAND, "--cells", "random"])
    assert Path("rows/small.synthetic.jsonl").read_text().endswith('"ra')


def test_only_what_is_known_user_by_user_is_given() -> None:
    row = {"ranks": [1, 3.5, None]}
    assert per_user(row, "HR@3").tolist() == [1, 0, 0]
    assert per_user(row, "NDCG@4") == pytest.approx([1, 0.4608, 0], abs=1e-4)  # 1 / log2(4.5)
    with pytest.raises(ValueError, match="Recall"):
        per_user(row, "Recall@10")


def test_a_line_of_the_printed_table_is_a_cells_mean_and_spread() -> None:
    def run(cell: str, ranks: list[float] | None, **metrics: float) -> Row:
        return {"cell": cell, "ranks": ranks, "metrics": {name.replace("_", "@"): x for name, x in metrics.items()}}

    one = [run("one", [1.0], HR_5=0.1, NDCG_5=0.1, HR_10=x, NDCG_10=x / 2) for x in (0.5, 0.7)]
    several = run("several", None, HR_20=0.9, NDCG_20=0.1, Recall_20=0.2)  # what a user's hits come to is not HR then
    table = overview(["several", "never run", "one"], [*one, several]).fillna("")
    table = table.map(lambda x: x.replace("\xa0", " ") if isinstance(x, str) else x)
    assert table.index.tolist() == ["several", "one"]
    assert table.loc["one"].to_dict() == {
        "HR@10": "60.0 ± 14.1", "NDCG@10": "30.0 ± 7.1", "Recall@20": "", "NDCG@20": "", "seeds": 2
    }  # fmt: skip
    assert table.loc["several", ["Recall@20", "NDCG@20", "seeds"]].tolist() == ["20.0", "10.0", 1]


def test_fedsllms_rows_are_printed_beside_the_papers() -> None:
    told = finished("fedsllm.table2", [Cell("fedncf/base", {})], read_rows("fedsllm.table2", "ml-100k"), "ml-100k")
    base, *_ = (line.split() for line in told.partition("fedncf, HR@10")[2].splitlines() if line.startswith("base"))
    assert base[-1] == "55.6"  # Table 2's first cell of FedNCF with K = 10, read off by eye
    assert "loo99" in told and "all-MiniLM-L6-v2" in told
    assert "fedncf, NDCG@10" in told and "fedmf" not in told


CHOICE = {"backbone": "fedmf", "rounds": 2, "select": "entropy", "ratio": 0.2, "select_over": "samples"} | SHARED
BY_CHANCE = CHOICE | {"select": "random"}
BALANCED = Table(
    "small",
    "two rules, chance with their balance",
    (
        Cell("entropy", CHOICE, FEDMF.grid),
        Cell("label", CHOICE | {"select": "label"}, FEDMF.grid),
        Cell("random", BY_CHANCE, FEDMF.grid),
        Cell("balanced", BY_CHANCE, FEDMF.grid, rates=BY_CHANCE, balanced_as=("entropy", "label")),
    ),
)


def test_a_control_has_the_balance_of_the_rule_that_is_best_on_validation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "TABLES", {"small": BALANCED})
    one_seed = [*COMMAND, "--seeds", "1"]
    assert main([*one_seed, "--tune", "--cells", "random"]) == 0
    capsys.readouterr()
    assert "keeps the balance of entropy, label, which has no rows" in refusal(
        capsys, [*one_seed, "--cells", "balanced"]
    )
    assert main([*one_seed, "--tune"]) == 0
    rule = max(rows()[:2], key=lambda row: row["valid_metrics"]["NDCG@10"])
    chance, balanced = rows()[2:]
    assert balanced["cell"] == "balanced" and balanced["lr"] == chance["lr"]
    assert balanced["options"]["positive_share"] == round(rule["positives_kept"], 4)
    assert balanced["positives_kept"] == pytest.approx(rule["positives_kept"], abs=0.01)
    assert abs(chance["positives_kept"] - 0.2) < 0.05
    made_up = [row | {"positives_kept": 0.1 + 0.5 * (row["cell"] == rule["cell"])} for row in rows()]
    assert reproduce.balanced(BALANCED.cells[-1], made_up).options["positive_share"] == 0.6
    assert main(one_seed) == 0
    assert "1 runs are done, 0 to go" in capsys.readouterr().out


def test_a_row_may_be_bound_to_some_of_the_rates_that_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FEDMF.grid is not None
    bound = replace(FEDMF, name="bound", rates=FEDMF.options, grid=replace(FEDMF.grid, within=(1.0,)))
    monkeypatch.setattr(reproduce, "TABLES", {"small": Table("small", "two rows", (FEDMF, bound))})
    assert main([*COMMAND, "--seeds", "1", "--tune"]) == 0
    tried = json.loads(Path("t.json").read_text())[0]["grid"]
    assert {one["lr"] for one in tried} > {1.0, 10.0}  # an end was the best, and so it grew
    assert [row["lr"] for row in rows()] == [max(tried, key=lambda one: one["valid"])["lr"], 1.0]


RECORDED = {"backbone": "fedmf", "variant": "fedsllm", "rounds": 1, "items": "semantic", "encoder": "lsa",
            "select": "prototypes", "ratio": 0.5, "select_over": "positives", "reading": "intent",
            "llm": "recorded"}  # fmt: skip
PROTOTYPES = Cell("fedmf/recorded/intent", RECORDED, Grid((0.01,), None, "NDCG@10"))
BY_MODEL = Table("small", "one row more", (PROTOTYPES, *TABLE.cells))


def records(*models: str) -> None:
    messages = generation_messages(summary_of(load("synthetic")))
    entry = {"dataset": "synthetic", "purpose": "generate", "messages": messages, "date": "2026-01-01"}
    answer = json.dumps(["astronomy", "climbing", "cooking", "gardening", "music"])
    Path("record.json").write_text(json.dumps([entry | {"answer": answer, "model": model} for model in models]))


def test_another_models_record_makes_rows_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "TABLES", {"small": BY_MODEL})
    records("Qwen/Qwen2.5-1.5B-Instruct")
    assert main([*COMMAND, "--tune", "--cells", "recorded"]) == 0
    assert main([*COMMAND, "--prototypes", "record.json"]) == 0
    assert [(row["cell"], row["prototypes"].partition(",")[0]) for row in rows()] == [
        *[("fedmf/recorded/intent", "recorded: Claude (Anthropic)")] * 2,
        *[("fedmf/qwen/intent", "recorded: Qwen/Qwen2.5-1.5B-Instruct")] * 2,
    ]
    assert {(row["lr"], row["lr_items"]) for row in rows()} == {(rows()[0]["lr"], rows()[0]["lr_items"])}
    assert {len(row["codes"]) for row in rows()} == {12} and len({row["codes"] for row in rows()}) == 1


@pytest.mark.parametrize("models", [(), ("Qwen/Qwen2.5-1.5B-Instruct", "another")])
def test_a_record_that_is_not_one_models_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, models: tuple[str, ...]
) -> None:
    monkeypatch.setattr(reproduce, "TABLES", {"small": BY_MODEL})
    records(*models)
    assert f"answers of {len(models)} models" in refusal(capsys, [*COMMAND, "--prototypes", "record.json"])


def test_a_table_without_recorded_prototypes_takes_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    records("Qwen/Qwen2.5-1.5B-Instruct")
    assert "has no cells with recorded prototypes" in refusal(capsys, [*COMMAND, "--prototypes", "record.json"])
