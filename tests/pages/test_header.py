"""The header and the footer that book/_ext/chapter_header.py makes from a notebook's metadata."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from tests.pages.files import BOOK, CHAPTERS, ROOT

METADATA = {
    "profile": "cpu",
    "device": "cpu",
    "versions": {"python": "3.11.7", "torch": "2.13.0", "fedlib": "0.1.0"},
    "runs": {"smoke": {"seconds": 14, "device": "cpu"}, "cpu": {"seconds": 119, "device": "cpu"}},
    "hashes": {"cells": "0123456789abcdef", "data": {"synthetic": "aa", "ml-100k": "bb"}},
}


def build(folder: Path, metadata: dict[str, Any], words: int = 1001, url: str = "") -> tuple[BeautifulSoup, str]:
    """The page of a small chapter with this metadata, and the build's warnings."""
    source = folder / "source"
    source.mkdir()
    cells = [new_markdown_cell("# A chapter"), new_markdown_cell("word " * words)]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), source / "index.ipynb")
    warnings = StringIO()
    settings = {
        "extensions": ["myst_nb", "chapter_header"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {"repository_url": url, "repository_branch": "main"},
        "nb_execution_mode": "off",
    }
    with patch_docutils(source), docutils_namespace(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book" / "_ext")
        Sphinx(source, None, folder / "out", folder / "trees", "html", settings, status=None, warning=warnings).build()
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    return BeautifulSoup(page, "html.parser"), warnings.getvalue()


def header(page: BeautifulSoup) -> list[str]:
    return [item.get_text() for item in page.select(".chapter-facts li")]


def test_the_header_follows_the_title_and_the_provenance_ends_the_page(tmp_path: Path) -> None:
    page, warnings = build(tmp_path, {"fedlib": METADATA})
    assert warnings == ""
    # 1,004 words take five minutes and a bit, so ten.
    assert header(page) == [
        "10 minutes to read",
        "runs in 14 s (smoke) · 119 s (cpu) · full: not measured",
        "outputs: profile cpu",
    ]
    assert page.select_one("article h1").find_next_sibling().get("class") == ["chapter-facts", "simple"]
    assert page.select_one(".chapter-provenance").get_text() == (
        "Outputs of this page: profile cpu, device cpu, Python 3.11.7, fedlib 0.1.0, torch 2.13.0. "
        "Data: ml-100k, synthetic. Code cells: 01234567."
    )


def test_a_repository_with_an_address_gives_a_link_to_colab(tmp_path: Path) -> None:
    metadata = METADATA | {"runs": METADATA["runs"] | {"full": {"seconds": 0.2, "device": "NVIDIA H200"}}}
    page, _ = build(tmp_path, {"fedlib": metadata}, words=10, url="https://github.com/someone/something")
    assert header(page)[1:] == [
        "runs in 14 s (smoke) · 119 s (cpu) · 1 s (full, NVIDIA H200)",
        "outputs: profile cpu",
        "Open in Colab",
    ]
    link = page.select_one(".chapter-facts a")["href"]
    assert link == "https://colab.research.google.com/github/someone/something/blob/main/index.ipynb"
    assert page.select_one('a[href="https://github.com/someone/something"]')


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def remove(metadata: dict[str, Any]) -> None:
        for key in keys[:-1]:
            metadata = metadata[key]
        del metadata[keys[-1]]

    return remove


@pytest.mark.parametrize(
    "damage",
    [
        without("fedlib"),
        without("fedlib", "runs", "cpu"),
        without("fedlib", "hashes", "data"),
        lambda metadata: metadata["fedlib"]["runs"]["cpu"].update(seconds="119 s"),
    ],
)
def test_metadata_that_is_missing_or_wrong_is_a_warning(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    metadata = copy.deepcopy({"fedlib": METADATA})
    damage(metadata)
    page, warnings = build(tmp_path, metadata)
    assert "metadata.fedlib is missing or incomplete" in warnings
    assert "make execute NOTEBOOK=index" in warnings
    assert header(page) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_both(chapter: str) -> None:
    page = BeautifulSoup((BOOK / chapter).read_text(encoding="utf-8"), "html.parser")
    notebook = json.loads((ROOT / chapter).with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert f"outputs: profile {notebook['metadata']['fedlib']['profile']}" in header(page)
    assert notebook["metadata"]["fedlib"]["hashes"]["cells"][:8] in page.select_one(".chapter-provenance").get_text()
