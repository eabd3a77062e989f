"""FedSLLM's Table 5: the paper's figures by its own count, and what the ledger says of the same runs."""

from __future__ import annotations

import pytest
import torch

from fedlib import FALE, FedNCF, FedSelect, InputError, LocalTraining, RandomSelection, federate
from fedlib.evaluation.flops import multiply_adds
from fedlib.reproduce.fedsllm.costs import (
    MB,
    PRINTED,
    as_counted,
    parts,
    printed,
    selecting,
    table5,
    traffic,
    training,
)
from tests.small import small_split

THE_PAPERS = FedNCF(32, hidden=(128, 64), gmf=0, dropout=0.5)
N = 1682  # items of ML-100K


@pytest.mark.parametrize("row", PRINTED)
def test_the_rules_give_every_figure_of_the_table(row: str) -> None:
    megabytes, millions = as_counted(row, THE_PAPERS, N)
    assert f"{megabytes:.4f}" == f"{printed(row).megabytes:.4f}"
    assert f"{millions:.4f}" == f"{printed(row).millions:.4f}"


def test_the_parts_by_hand() -> None:
    assert parts(THE_PAPERS, N) == (1682 * 32, 32, 64 * 128 + 128 + 128 * 64 + 64 + 64 + 1)
    assert multiply_adds(THE_PAPERS) == 16_448
    assert training(THE_PAPERS, 0.1, negatives=4, epochs=2) == pytest.approx(3 * 16_448)  # .1 x 5 samples x 2 epochs
    assert selecting("FALE", THE_PAPERS, 100) == 2 * 64 * 64 + 64
    assert selecting("FedSLLM", THE_PAPERS, 100, 10) == 16_448 * 1.1 + 320


def test_the_ledger_of_five_runs() -> None:
    """The private user vector is not among what leaves, and what FALE and FedSelect add is what they send."""
    backbone, local = FedNCF(8, hidden=(12,), gmf=0), LocalTraining(batch=8)
    places = {
        "Base": None,
        "Random": RandomSelection(0.4, over="positives"),
        "FALE": FALE(0.4, over="positives"),
        "FedSelect": FedSelect(0.4, over="positives"),
    }
    results = {
        name: federate(small_split(), backbone, select=place, local=local, rounds=2, device="cpu")
        for name, place in places.items()
    }
    tables, user, network = parts(backbone, 40)
    assert (tables, user, network) == (320, 8, 16 * 12 + 12 + 13)
    up, down = ({name: round(traffic(r, way) * MB) for name, r in results.items()} for way in ("up", "down"))
    rest = 40 + 4  # which rows were touched, and the number of samples
    assert up["Base"] == up["Random"] == 4 * (tables + network) + rest and down["Base"] == 4 * (tables + network)
    assert up["FALE"] - up["Base"] == down["FALE"] - down["Base"] == 4 * 16 * 16
    assert down["FedSelect"] - down["Base"] == 4 * 301 + 8
    assert up["FedSelect"] - up["Base"] == 4 * 13 + 8 * 301
    table = table5(results, positives=float(small_split().train.counts.float().mean()))
    assert list(table.index) == list(places) and torch.tensor(table["MB up"].tolist()).min() > 0
    assert table.loc["Base", "M training"] == pytest.approx(2.5 * table.loc["Random", "M training"])


def test_another_row_is_refused() -> None:
    with pytest.raises(InputError, match="Table 5 has the rows"):
        printed("Ours")
