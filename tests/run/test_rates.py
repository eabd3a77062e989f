"""The table of tuned learning rates: which row a run reads, and that the packaged table is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedlib.commands.rates import SETTINGS
from fedlib.errors import InputError
from fedlib.run.rates import PACKAGED, as_row, rates_in
from fedlib.shapes import Rates

RUN: dict[str, Any] = {
    "dataset": "ml-100k", "backbone": "pfedrec", "variant": "original", "local_only": False, "items": "id",
    "protocol": "loo99",
    "optimizer": "sgd", "clients_per_round": 1.0, "local_epochs": 1, "batch": 256, "negatives": 4,
    "negatives_from": "untouched", "weight_decay": 0.0, "lr_decay": 1.0, "dim": 32,
    "encoder": None, "select": "none", "select_over": None, "positive_share": None, "ratio": None, "reading": None,
    "llm": None, "n_prototypes": None,
    "update_every": None, "sampled": False, "stores": None, "partition": None,
    "augment": "none", "augment_share": None, "global_share": 0.0, "server_optimizer": "mean", "server_lr": None,
    "rounds": 100, "seed": 0, "split_seed": 0, "best": None, "evaluate_every": None,
}  # fmt: skip


def row(lr: float | None = 0.3, **other: Any) -> dict[str, Any]:
    grid = [] if lr is None else [{"lr": lr, "lr_items": lr, "valid": 0.5}]
    chosen = {"lr": lr, "lr_items": lr, "valid": None if lr is None else 0.5}
    return RUN | {"metric": "NDCG@10", "grid": grid, "fedlib": "0.1.0"} | chosen | other


@pytest.mark.parametrize(
    "name",
    ["dataset", "backbone", "variant", "local_only", "items", "select", "select_over", "protocol", "optimizer",
     "augment", "server_optimizer"],
)  # fmt: skip
def test_a_row_for_another_kind_of_run_is_not_read(name: str) -> None:
    assert SETTINGS.find([row()], RUN) == row()
    assert SETTINGS.find([row(**{name: "another"})], RUN) is None


def test_all_clients_and_some_clients_are_two_kinds_of_run() -> None:
    assert SETTINGS.find([row()], RUN | {"clients_per_round": 0.1}) is None
    assert SETTINGS.find([row(clients_per_round=0.5)], RUN) is None
    assert SETTINGS.find([row(clients_per_round=0.5)], RUN | {"clients_per_round": 30.0}) is not None


def test_users_and_stores_are_two_kinds_of_run() -> None:
    assert SETTINGS.find([row()], RUN | {"stores": 10}) is None
    assert SETTINGS.find([row(stores=5)], RUN) is None
    assert SETTINGS.find([row(stores=5)], RUN | {"stores": 10}) is not None


def test_a_row_without_a_choice_is_not_read() -> None:
    assert SETTINGS.find([row(None)], RUN) is None


def test_of_several_rows_the_most_similar_run_is_read_and_the_first_of_equals() -> None:
    rows = [row(0.1, batch=64, dim=8), row(0.2, dim=8), row(0.3, batch=64)]
    assert SETTINGS.find(rows, RUN) == rows[1]
    assert SETTINGS.find(rows, RUN | {"batch": 64, "dim": 8}) == rows[0]


def test_rows_are_the_same_only_if_every_setting_is() -> None:
    assert SETTINGS.same(row(0.1), row(0.2))
    for name in (*SETTINGS.must, *SETTINGS.should):
        assert not SETTINGS.same(row(), row(**{name: "another"}))


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[1]", "[{}]", "not json", json.dumps([row(float("nan"))]), json.dumps([row(-1.0)]),
        json.dumps([row("0.1")]), json.dumps([row(lr_items=None)]), json.dumps([{"dataset": "ml-100k"}]),
    ],
)  # fmt: skip
def test_a_damaged_table_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    table = tmp_path / "table.json"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"^[^\n]*table\.json[^\n]*$"):
        SETTINGS.read(table)


def test_every_choice_in_the_packaged_table_is_the_best_it_tried() -> None:
    for packed in SETTINGS.read(PACKAGED):
        assert packed.keys() - {"protect"} == row().keys()
        assert all(tried.keys() == {"lr", "lr_items", "valid"} for tried in packed["grid"])
        best = max(tried["valid"] for tried in packed["grid"] if tried["valid"] is not None)
        assert packed["valid"] == best
        assert {name: packed[name] for name in ("lr", "lr_items", "valid")} in packed["grid"]


def test_no_two_packaged_rows_are_of_one_setting() -> None:
    rows = SETTINGS.read(PACKAGED)
    assert not any(SETTINGS.same(a, b) for i, a in enumerate(rows) for b in rows[:i])


def test_a_row_from_before_an_option_is_one_of_a_run_without_it(tmp_path: Path) -> None:
    newer = ("items", "encoder", "select", "ratio", "reading", "llm", "n_prototypes", "update_every", "sampled", "best",
             "evaluate_every", "augment", "augment_share", "global_share", "server_optimizer", "server_lr",
             "select_over", "positive_share")  # fmt: skip
    older = {name: value for name, value in row().items() if name not in newer}
    (tmp_path / "table.json").write_text(json.dumps([older]), encoding="utf-8")
    (read,) = SETTINGS.read(tmp_path / "table.json")
    assert read == row()
    assert SETTINGS.same(read, row()) and SETTINGS.find([read], RUN) == row()
    assert SETTINGS.find([read], RUN | {"augment": "all"}) is None


def test_a_rate_of_a_fusion_stands_in_a_row_only_where_there_is_one() -> None:
    assert as_row(Rates(0.1, 3.0)) == {"lr": 0.1, "lr_items": 3.0}
    three = Rates(0.1, 3.0, 0.5)
    assert as_row(three) == {"lr": 0.1, "lr_items": 3.0, "lr_fusion": 0.5}
    assert [rates_in(row(**as_row(rates))) for rates in (Rates(0.1, 3.0), three)] == [Rates(0.1, 3.0), three]
