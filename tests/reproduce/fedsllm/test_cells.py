"""FedSLLM's tables: the cells, what the paper prints, and one beside the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from math import log2

import pytest

from fedlib.commands.check import check_combination
from fedlib.commands.options import RunOptions
from fedlib.reproduce.cells import Table
from fedlib.reproduce.fedsllm.cells import BACKBONES, FIGURE3, PAPERS, SELECTORS, TABLE2, VARIANTS, paper
from fedlib.reproduce.fedsllm.report import beside, chosen_reading

KS = (5, 10, 20)


@pytest.mark.parametrize("table", [TABLE2, FIGURE3, PAPERS, VARIANTS], ids=lambda table: table.name)
def test_every_cell_is_a_run_of_its_own(table: Table) -> None:
    assert max(Counter(cell.name for cell in table.cells).values()) == 1
    known = {f.name for f in fields(RunOptions)}
    for cell in table.cells:
        assert cell.options.keys() <= known, cell.name
        check_combination(RunOptions(dataset="ml-100k", given=frozenset(cell.options), **cell.options))


def test_rates_come_from_a_row_of_table_2_that_chooses_its_own() -> None:
    chosen = [dict(cell.options) for cell in TABLE2.cells if cell.grid and cell.rates is None]
    borrowed = [cell for table in (TABLE2, FIGURE3, PAPERS, VARIANTS) for cell in table.cells if cell.rates is not None]
    assert borrowed
    for cell in borrowed:
        assert dict(cell.rates or {}) in chosen, cell.name
        assert cell.rates["backbone"] == cell.options["backbone"]  # type: ignore[index]


def test_the_papers_numbers_are_all_there() -> None:
    rows = paper()
    assert tuple(sorted(rows)) == tuple(sorted(BACKBONES))
    for printed in rows.values():
        assert len(printed) == 10
        for name, cells in printed.items():
            assert len(cells) == 4
            for metrics in cells.values():
                assert len(metrics) == (2 if name == "Ours-Cluster" else 6)
                assert all(0 < value < 100 for value in metrics.values())


def test_known_cells_of_the_paper() -> None:
    """Read off the tables by eye, one in each corner."""
    rows = paper()
    assert rows["fedncf"]["Base"]["ml-100k"]["HR@5"] == 40.40
    assert rows["fedpergnn"]["Ours-LLaMa"]["amazon-software"]["NDCG@20"] == 21.89
    assert rows["pfedrec"]["Least"]["amazon-software"]["HR@20"] == 69.11
    assert rows["fedmf"]["Ours-Cluster"]["ml-1m"] == {"HR@10": 36.14, "NDCG@10": 17.38}


def test_what_no_ranking_can_give_stands_in_the_paper_and_not_only_once() -> None:
    """One held-out item: HR grows with K, and NDCG lies between HR / log2(K + 1) and HR."""

    def possible(metrics: dict[str, float]) -> bool:
        hits, gains = ([metrics[f"{name}@{k}"] for k in KS] for name in ("HR", "NDCG"))
        grows = hits == sorted(hits) and gains == sorted(gains)
        return grows and all(
            hit / log2(k + 1) - 0.01 <= gain <= hit + 0.01 for k, hit, gain in zip(KS, hits, gains, strict=True)
        )

    wrong = [
        (backbone, name, dataset)
        for backbone, printed in paper().items()
        for name, cells in printed.items()
        for dataset, metrics in cells.items()
        if len(metrics) == 6 and not possible(dict(metrics))
    ]
    assert ("pfedrec", "FedSelect", "amazon-software") in wrong and ("pfedrec", "Ours-Qwen", "ml-1m") in wrong
    assert ("fedncf", "FedSelect", "amazon-industrial") in wrong


def row(cell: str, seed: int, ranks: list[float | None], valid: float) -> dict:
    hit = sum(rank is not None and rank <= 10 for rank in ranks) / len(ranks)
    return {"cell": cell, "seed": seed, "ranks": ranks, "metrics": {"HR@10": hit}, "valid_metrics": {"NDCG@10": valid}}


def test_validation_chooses_the_reading_and_users_are_paired() -> None:
    names = ["fedmf/base", *(f"fedmf/{name}" for name in SELECTORS)]
    rows = [row(name, seed, [1, None, 3, 40], 0.2) for name in names for seed in (0, 1)]
    good = [row("fedmf/recorded/intent", seed, [1, 2, 3, 40], 0.3) for seed in (0, 1)]
    rows = [r for r in rows if r["cell"] != "fedmf/recorded/intent"] + good
    assert chosen_reading(rows, "fedmf", "recorded") == "intent"
    assert chosen_reading(rows, "fedmf", "keyword") == "hard_min"  # the first of equals
    table = beside(rows, "fedmf", "ml-100k")
    assert table.loc["recorded", ["ours", "less base"]].tolist() == [75.0, 25.0]
    assert table.loc["recorded", "reading"] == "intent"
    assert table.loc["random", ["ours", "less base", "low", "high", "paper"]].tolist() == [50, 0, 0, 0, 14.42]
    assert table["ours"].isna()[["qwen", "llama"]].all() and table.loc["qwen", "paper"] == 46.13
    assert table.loc["qwen", "reading"] == "not run" and table.loc["base", "reading"] == ""
    rows += [row("fedmf/qwen/intent", 0, [1, 2, 3, 4], 0.3)]
    assert beside(rows, "fedmf", "ml-100k").loc["qwen", ["reading", "ours"]].tolist() == ["intent", 100]
    assert table.loc["cluster", "paper"] == 38.92
