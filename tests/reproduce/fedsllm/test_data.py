"""FedSLLM's Table 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlib.cli import main
from fedlib.reproduce.fedsllm.data import PRINTED, table1


def test_the_papers_sparsity_follows_from_its_counts() -> None:
    for users, items, interactions, sparsity in PRINTED.values():
        assert round(100 * (1 - interactions / (users * items)), 2) == sparsity


def test_what_is_not_at_hand_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table = table1()
    assert (table["notes"] == "data not at hand").all() and table["users"].isna().all()


def test_ours_beside_the_papers(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table1()
    assert table.loc["ml-100k", ["users", "items", "interactions", "sparsity"]].tolist() == list(PRINTED["ml-100k"])
    assert table.loc["ml-1m", "interactions"] == 1_000_209 and table.loc["ml-1m", "notes"].startswith("as in the paper")
    assert table.loc["amazon-industrial", "interactions"] == 59_136
    assert "another than FedSLLM's" in table.loc["amazon-industrial", "notes"]
    assert main(["reproduce", "fedsllm.table1"]) == 0
    told = capsys.readouterr().out
    assert "59136" in told and "another than FedSLLM's" in told
    assert max(map(len, told.partition("amazon-software: ")[2].splitlines())) < 80  # notes are lines of their own
