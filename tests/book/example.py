"""A small chapter that keeps every rule, for the tests that break one of them.

It is ``example_chapter.txt`` in the percent format. Its outputs are made up here, so that a change of the text gives a
consistent chapter in no time; ``test_execute.py`` runs it once in earnest.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tests.book.chapter import Chapter, figure, tags, tool


def text() -> str:
    """The example as a .py file, with the set-up cell of today."""
    address = tool("address")
    raw = Path(__file__).with_name("example_chapter.txt").read_text(encoding="utf-8")
    return raw.replace("SETUP\n", address.setup_cell(address.repository()) + "\n")


def example(source: str) -> Chapter:
    """The chapter of a .py file's text, as if it had been executed in the profile cpu."""
    written = jupytext.reads(source, "py:percent")
    notebook = copy.deepcopy(written)
    notebook.metadata = NotebookNode(kernelspec={"name": "python3"})
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and "skip-execution" not in tags(cell)]
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
        if cell.cell_type == "code":
            cell.outputs = outputs(cell)
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    notebook.metadata.fedlib = {
        "profile": "cpu",
        "device": "cpu",
        "versions": {},
        "runs": {"cpu": {"seconds": 9, "device": "cpu"}},
        "hashes": tool("freshness").hashes(notebook),
    }
    return Chapter("example", written, notebook, size=1000)


def outputs(cell: NotebookNode) -> list[NotebookNode]:
    """What a cell of the example would show."""
    found = [value(name) for name in re.findall(r'book\.glue\("(\w+)"', cell.source)]
    if figure(cell):
        found.append(new_output("display_data", {"image/png": "iVBORw0KGgo="}))
    if "to_frame" in cell.source:
        found.append(new_output("execute_result", {"text/html": "<td>random <td>popularity <td>local-only"}))
    if "raises-exception" in tags(cell):
        found.append(new_output("error", ename="ValueError", evalue="no", traceback=[]))
    if "exercise" in tags(cell):
        found.append(line("not done yet"))
    if "solution" in tags(cell):
        found.append(line("yours 4, expected 4: right"))
    return found


def value(name: str) -> NotebookNode:
    """A value stored for the prose."""
    return new_output(
        "display_data", {"application/papermill.record/text/plain": "3"}, metadata={"scrapbook": {"name": name}}
    )


def line(printed: str, stream: str = "stdout") -> NotebookNode:
    return new_output("stream", name=stream, text=printed + "\n")
