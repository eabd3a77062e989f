"""The program that executes chapters, on the example in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tests.book.chapter import read, tool
from tests.book.example import text
from tests.book.test_rules import complaining

Call = Callable[..., int]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tools/execute.py`` over a folder that holds the example."""
    (tmp_path / "00_example.py").write_text(text(), encoding="utf-8")
    program = tool("execute")
    monkeypatch.setattr(program, "NOTEBOOKS", tmp_path)
    return program


@pytest.fixture
def call(program: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call it as on the command line; the environment it sets is put back."""

    def main(*arguments: str) -> int:
        with monkeypatch.context() as patch:
            patch.setenv("FEDLIB_PROFILE", "")
            patch.setenv("TQDM_DISABLE", "")
            patch.setattr("sys.argv", ["execute.py", *arguments])
            return program.main()

    return main


@pytest.fixture
def in_seconds(program: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let every run take so long, without running anything."""

    def take(seconds: float) -> None:
        def run(notebook: NotebookNode) -> float:
            notebook.metadata["language_info"] = NotebookNode(name="python", version="3")
            return seconds

        monkeypatch.setattr(program, "run", run)

    return take


def stored(folder: Path) -> NotebookNode:
    return nbformat.read(folder / "00_example.ipynb", as_version=4)


def runs(folder: Path) -> dict[str, Any]:
    return {name: run["seconds"] for name, run in stored(folder).metadata.fedlib.runs.items()}


def test_what_it_stores_keeps_every_rule(call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--profile", "cpu", "00_example") == 0
    assert not complaining(read(tmp_path / "00_example.ipynb"))
    assert capsys.readouterr().out.startswith("00_example: cpu, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_example.ipynb", "00_example.py"]


def test_smoke_adds_its_seconds_and_leaves_the_outputs(
    call: Call, in_seconds: Callable[[float], None], tmp_path: Path
) -> None:
    in_seconds(100)
    call("--profile", "cpu")
    before = stored(tmp_path)
    in_seconds(9)
    call("--profile", "smoke")
    assert runs(tmp_path) == {"cpu": 100, "smoke": 9}
    after = stored(tmp_path)
    after.metadata.fedlib.runs.pop("smoke")
    assert after == before

    in_seconds(90)
    call("--profile", "cpu", "--time-only")
    assert runs(tmp_path) == {"cpu": 90, "smoke": 9}
    in_seconds(80)
    call("--profile", "cpu")
    assert runs(tmp_path) == {"cpu": 80, "smoke": 9}


def test_seconds_of_other_code_are_neither_added_nor_kept(
    call: Call, in_seconds: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_seconds(9)
    call("--profile", "smoke")
    assert "not recorded" in capsys.readouterr().out
    assert not (tmp_path / "00_example.ipynb").exists()
    call("--profile", "cpu")
    call("--profile", "smoke")
    (tmp_path / "00_example.py").write_text(text().replace('"random": 0.1', '"random": 0.2'), encoding="utf-8")
    in_seconds(8)
    call("--profile", "smoke")
    assert runs(tmp_path) == {"cpu": 9, "smoke": 9}
    call("--profile", "cpu")
    assert runs(tmp_path) == {"cpu": 8}


def test_a_chapter_that_fails_is_not_written(
    call: Call, program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(notebook: NotebookNode) -> float:
        raise CellExecutionError("", "ValueError", "no")

    monkeypatch.setattr(program, "run", run)
    assert call() == 1
    assert not (tmp_path / "00_example.ipynb").exists()


def test_what_cannot_be_done_is_said_in_one_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert call("--profile", "full") == 2
    assert (
        capsys.readouterr().err == "the profile full needs a graphics card that torch can use: take the profile cpu\n"
    )
    assert call("99_missing") == 2
    assert capsys.readouterr().err == "there is no chapter 99_missing: notebooks/99_missing.py does not exist\n"
