"""The chapters as files: pairs that agree, outputs of one clean run, nothing of the machine they were made on."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def execute_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", ROOT / "tools" / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_chapter_has_both_files() -> None:
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in (ROOT / "notebooks").glob("*.py")}


@each_notebook
def test_the_pair_holds_the_same_cells(path: Path) -> None:
    def content(notebook: NotebookNode) -> list[tuple[str, str, list[str], dict[str, object]]]:
        return [
            (cell.cell_type, cell.source.rstrip(), cell.metadata.get("tags", []), cell.metadata.get("mystnb", {}))
            for cell in notebook.cells
        ]

    assert content(jupytext.read(path.with_suffix(".py"))) == content(read(path))


@each_notebook
def test_the_outputs_come_from_one_clean_run(path: Path) -> None:
    ran = [cell for cell in code_cells(path) if cell.source.strip()]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))
    assert not any(output.output_type == "error" for cell in ran for output in cell.outputs)


@each_notebook
def test_the_stamp_belongs_to_this_code(path: Path) -> None:
    notebook = read(path)
    stamp = notebook.metadata.fedlib
    assert stamp.keys() == {"profile", "device", "seconds", "versions", "code_sha256"}
    assert stamp["profile"] in {"cpu", "full"}, "outputs in the book come from real data"
    assert stamp["code_sha256"] == execute_tool().code_hash(notebook), "run the chapter again: make execute"


@each_notebook
def test_every_figure_has_alternative_text_and_a_caption(path: Path) -> None:
    for cell in code_cells(path):
        if any(mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {})):
            options = cell.metadata.get("mystnb", {})
            assert options.get("image", {}).get("alt"), f"no alternative text: {cell.source}"
            assert options.get("figure", {}).get("caption"), f"no caption: {cell.source}"


@each_notebook
def test_the_file_runs_anywhere(path: Path) -> None:
    assert read(path).metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1_000_000
    # Pictures are left out: their base64 text may spell anything.
    texts = [
        json.dumps({mime: data for mime, data in output.get("data", {}).items() if not mime.startswith("image/")})
        + str(output.get("text", ""))
        for cell in code_cells(path)
        for output in cell.outputs
    ]
    assert not re.search(r"(?<!\w)/(root|home|work|tmp|opt|Users)/|[A-Z]:\\\\", "\n".join(texts))


def test_nbmake_collects_every_notebook() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--nbmake", "notebooks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    collected = set(re.findall(r"notebooks/(\w+)\.ipynb", done.stdout))
    assert collected == {path.stem for path in NOTEBOOKS}, done.stdout + done.stderr
