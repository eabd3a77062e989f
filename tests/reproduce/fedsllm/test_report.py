"""What the chapters show of FedSLLM's rows."""

from __future__ import annotations

import numpy as np
import pytest

from fedlib.evaluation.stats import crossed_bootstrap
from fedlib.reproduce.fedsllm.report import complete, curve, gap, ours_and_theirs, spread, updates


def row(cell: str, seed: int = 0, hit: float = 0.5) -> dict:
    return {"cell": cell, "seed": seed, "metrics": {"HR@10": hit}, "valid_metrics": {"NDCG@10": hit}}


def test_a_backbone_is_complete_with_base_and_random() -> None:
    rows = [row("fedmf/base"), row("fedmf/random"), row("fedncf/base"), row("pfedrec/random")]
    assert complete(rows) == ["fedmf"]


def test_a_spread_needs_two_seeds() -> None:
    rows = [row("fedmf/base", 0, 0.5), row("fedmf/base", 1, 0.52), row("fedmf/random", 0, 0.4)]
    assert spread(rows, "fedmf/base", "HR@10") == "51.0\xa0±\xa01.4"
    assert spread(rows, "fedmf/random", "HR@10") == "40.0"


def test_a_gap_is_over_the_seeds_that_both_have_and_over_users() -> None:
    one, other = np.random.default_rng(1).integers(0, 2, (2, 3, 500)).astype(float)
    found = crossed_bootstrap(one[:2] - other[:2])
    assert gap(one, other[:2]) == (found.mean_difference, found.low, found.high)
    assert gap(one, one) == (0, 0, 0)


def test_ours_stand_beside_the_papers() -> None:
    tables = {"ml-100k": [row("fedmf/base", hit=0.5631), row("fedmf/recorded/intent", hit=0.5)]}
    table = ours_and_theirs(tables, ["HR@10"])
    shown = table["fedmf", "HR@10"]["ml-100k"]
    assert shown["base"] == "56.3\xa0/\xa027.78" and shown["recorded"] == "50.0\xa0/\xa0–"
    assert shown["qwen"] == "not run\xa0/\xa046.13" and shown["fale"] == "not run yet\xa0/\xa012.62"


def test_a_curve_begins_at_the_row_of_table_2_and_leaves_out_what_was_not_run() -> None:
    more = [row("fedmf/random/S=1", hit=0.6), row("fedmf/random/S=0.4", hit=0.55)]
    points = curve([row("fedmf/random", hit=0.5)], more, "fedmf/random")
    assert list(points) == [0.1, 0.4, 1.0] and list(points.values()) == pytest.approx([50, 55, 60])


def test_the_updates_on_record_follow_each_other() -> None:
    table = updates()
    for name in ("ml-100k", "ml-1m", "amazon-industrial", "synthetic"):
        of_run = table.loc[name]
        assert of_run.index.tolist() == [50, 100, 150, 200]
        assert of_run["prototypes"].tolist()[1:] == of_run["written next"].tolist()[:-1]
    assert table.loc[("ml-100k", 100), "most counted"] == "Action, war and western adventures"
