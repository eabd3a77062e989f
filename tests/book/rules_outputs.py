"""Rules on what stored outputs must not hold. Every public function of this file is a rule."""

from __future__ import annotations

import re
from functools import cache

from fedlib.data import load, names
from tests.book.chapter import Chapter, printed, tool, where

SHORTEST_TITLE = 12
PATH = re.compile(
    r"(?<!\w)/(?:root|home|work|tmp|opt|usr|content|Users)/\S*|\b[A-Z]:\\(?:Users|Documents|Windows|Program)\S*"
)
FOREIGN = re.compile(
    r"<(?:img|script|link|iframe)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:|//|data:)", flags=re.IGNORECASE
)


def outputs_have_no_machine_path(chapter: Chapter) -> list[str]:
    return [f"{where(cell)} shows the path {path}" for cell in chapter.code for path in PATH.findall(printed(cell))]


def outputs_have_no_photos(chapter: Chapter) -> list[str]:
    """Figures are drawn, and stored as PNG or SVG. Photographs are somebody's, and come as JPEG."""
    return [
        f"{where(cell)} stores a picture as {mime}: store a drawn figure, as PNG or SVG"
        for cell in chapter.code
        for output in cell.outputs
        for mime in output.get("data", {})
        if mime.startswith("image/") and mime not in ("image/png", "image/svg+xml")
    ]


def outputs_load_nothing(chapter: Chapter) -> list[str]:
    """A table may not bring pictures or scripts, neither from other hosts nor inside it."""
    return [f"{where(cell)} shows HTML that loads something" for cell in chapter.code if FOREIGN.search(printed(cell))]


def outputs_need_no_kernel(chapter: Chapter) -> list[str]:
    """A stored widget is an empty box on a page."""
    complaints = ["the notebook stores the state of widgets"] if "widgets" in chapter.notebook.metadata else []
    return complaints + [
        f"{where(cell)} shows a widget"
        for cell in chapter.code
        for output in cell.outputs
        if any("widget" in mime for mime in output.get("data", {}))
    ]


def outputs_have_no_real_titles(chapter: Chapter) -> list[str]:
    """Of the real data sets that the chapter names, as far as they are at hand."""
    real = {name for name, *_ in names()} - {"synthetic"}
    at_hand = tool("freshness").data_hashes(chapter.notebook).keys() & real
    titles = [title for name in at_hand for title in _real_titles(name)]
    texts = [(cell, printed(cell).lower()) for cell in chapter.code]
    return [
        f"{where(cell)} shows a title of a real data set" for cell, text in texts if any(map(text.__contains__, titles))
    ]


@cache
def _real_titles(name: str) -> list[str]:
    """A data set's titles in lower case, with and without the year, those that are hardly met by chance."""
    titles = load(name, download=False).catalogue.title.str.lower()
    both = {*titles, *titles.str.replace(r" \(\d{4}\)$", "", regex=True)}
    return sorted(title for title in both if len(title) >= SHORTEST_TITLE)
