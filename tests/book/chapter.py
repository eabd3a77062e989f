"""A chapter as the rules see it: the cells of its two files, and what stands in them."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@dataclass(frozen=True)
class Chapter:
    """The notebook as the .py file tells it and as the .ipynb stores it, with the bytes of the latter."""

    name: str
    source: NotebookNode
    notebook: NotebookNode
    size: int

    @property
    def cells(self) -> list[NotebookNode]:
        return self.notebook.cells

    @property
    def code(self) -> list[NotebookNode]:
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def stamp(self) -> dict[str, Any]:
        """What ``tools/execute.py`` wrote about the run."""
        return self.notebook.metadata.get("fedlib", {})


@cache
def read(path: Path) -> Chapter:
    """The chapter of an .ipynb and the .py beside it."""
    return Chapter(
        path.stem, jupytext.read(path.with_suffix(".py")), nbformat.read(path, as_version=4), path.stat().st_size
    )


def tool(name: str) -> ModuleType:
    """A program of ``tools/`` as a module; they import one another by name, as programs in one folder do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return importlib.import_module(name)


def where(cell: NotebookNode) -> str:
    """How a complaint names a cell: by its first line."""
    first = cell.source.strip().partition("\n")[0]
    return f'the cell "{first[:50]}{"..." if len(first) > 50 else ""}"'


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def figure(cell: NotebookNode) -> dict[str, str]:
    """The alternative text, caption and name in a cell's header, those it has."""
    options = cell.metadata.get("mystnb", {})
    return dict(options.get("image", {})) | dict(options.get("figure", {}))


def pieces(chapter: Chapter) -> list[tuple[str, NotebookNode, str]]:
    """(heading, cell, text) of the text cells, cut at the level-two headings; before the first the heading is empty."""
    heading, found = "", []
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            first, *rest = f"\n{cell.source}".split("\n## ")
            found.append((heading, cell, first.lstrip("\n")))
            for part in rest:
                heading, _, text = part.partition("\n")
                heading = heading.strip()
                found.append((heading, cell, text))
    return found


def headings(chapter: Chapter) -> list[str]:
    return re.findall(r"^## (.+?) *$", prose(chapter), flags=re.MULTILINE)


def prose(chapter: Chapter) -> str:
    """All text cells, one after the other."""
    return "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")


def section(chapter: Chapter, heading: str) -> str:
    """The text under a level-two heading."""
    return "\n\n".join(text for under, _, text in pieces(chapter) if under == heading)


def code_under(chapter: Chapter, heading: str) -> list[NotebookNode]:
    """The code cells of a section."""
    under, found = "", []
    for cell in chapter.cells:
        if cell.cell_type == "code":
            found += [cell] if under == heading else []
        else:
            under = [under, *re.findall(r"^## (.+?) *$", cell.source, flags=re.MULTILINE)][-1]
    return found


def glued(cell: NotebookNode) -> list[str]:
    """The names of the values a cell stores for the prose."""
    return [
        output.metadata["scrapbook"]["name"] for output in cell.outputs if "scrapbook" in output.get("metadata", {})
    ]


def shown(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs a reader sees: all but the stored values."""
    return [output for output in cell.outputs if "scrapbook" not in output.get("metadata", {})]


def printed(cell: NotebookNode) -> str:
    """The text of all outputs, of stored values and tables too. Pictures are left out: base64 may spell anything."""
    texts = [output.get("text", "") for output in cell.outputs]
    for output in cell.outputs:
        for mime, data in output.get("data", {}).items():
            if not mime.startswith("image/"):
                texts.append(data if isinstance(data, str) else json.dumps(data))
    return "\n".join(texts)
