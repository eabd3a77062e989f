"""What the notebooks lean on: the choice of a profile, and numbers that reach the prose."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
import torch
from nbclient import NotebookClient

import fedlib
from fedlib.book import check, plots, profile, start
from fedlib.errors import InputError


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder and an empty cache; returns the data folder."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("FEDLIB_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDLIB_PROFILE", raising=False)
    return data


@pytest.mark.parametrize("asked", ["smoke", "cpu", "full"])
def test_what_is_asked_for_is_done(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLIB_PROFILE", asked)
    assert profile() == asked


@pytest.mark.parametrize("asked", ["", None])
def test_without_real_data_a_chapter_uses_the_synthetic_shop(
    asked: str | None, nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked is not None:
        monkeypatch.setenv("FEDLIB_PROFILE", asked)
    assert profile() == "smoke"


def test_with_real_data_it_uses_them(nothing_at_hand: Path) -> None:
    (nothing_at_hand / "ml-1m").mkdir()
    assert profile() == "smoke"  # not the one the chapters read
    (nothing_at_hand / "ml-100k").mkdir()
    assert profile() == "cpu"


def test_another_profile_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLIB_PROFILE", "fast")
    with pytest.raises(InputError, match=r"^FEDLIB_PROFILE is 'fast', but must be one of smoke, cpu, full\.$"):
        profile()


def test_a_chapter_starts_with_the_style_and_one_line_on_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDLIB_PROFILE", "smoke")
    with mpl.rc_context():
        assert start() == "smoke"
        assert mpl.rcParams["figure.facecolor"] == plots.STYLE["figure.facecolor"]
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"fedlib {fedlib.__version__}, profile smoke, ")
    assert second.startswith("made-up data")


@pytest.mark.parametrize(
    ("yours", "expected", "said"),
    [
        (None, 3, "not done yet"),
        (..., [1, 2], "not done yet"),
        (3, 3, "yours 3, expected 3: right"),
        (0.1 + 0.2, 0.3, "yours 0.3, expected 0.3: right"),
        (torch.tensor(2.0), 2, "yours 2.0, expected 2: right"),
        (0.31, 0.3, "yours 0.31, expected 0.3: not yet"),
        ([1, 0.5], (1, 0.5), "yours [1, 0.5], expected [1, 0.5]: right"),
        ([1], [1, 2], "yours [1], expected [1, 2]: not yet"),
        (7, [7], "yours 7, expected [7]: not yet"),
        (1, True, "yours 1, expected True: right"),
        ("b", "a", "yours b, expected a: not yet"),
        ("b", 1.0, "yours b, expected 1: not yet"),
        ({1}, {1}, "yours {1}, expected {1}: right"),
        (float("nan"), 1.0, "yours nan, expected 1: not yet"),
    ],
)
def test_an_answer_is_compared_and_both_are_shown(
    yours: object, expected: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(yours, expected)
    shown = capsys.readouterr().out.strip()
    assert shown.replace("tensor(2.)", "2.0") == said


def test_how_close_an_answer_must_be_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    check(0.31, 0.3, tolerance=0.1)
    assert capsys.readouterr().out.endswith("right\n")


def test_glue_sends_what_myst_nb_would_send() -> None:
    values = "[0.125, 'a word', pandas.DataFrame({'HR@10': [0.5]})]"
    ours = f"import pandas\nfrom fedlib.book import glue\nfor value in {values}: glue('name', value)"
    theirs = f"import pandas, myst_nb\nfor value in {values}: myst_nb.glue('name', value, display=False)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (ours, theirs)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    sent = [[dict(output.data) | {"": dict(output.metadata)} for output in cell.outputs] for cell in notebook.cells]
    assert len(sent[0]) == 3
    assert sent[0] == sent[1]
