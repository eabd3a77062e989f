"""Rules on numbers in the text: they come out of the code. Every public function of this file is a rule."""

from __future__ import annotations

import re
from functools import cache

from tests.book.chapter import ROOT, Chapter, glued, pieces, prose, where

QUOTED = re.compile(r"\{glue(?::\w+)?\}`([^`:]+)")
QUESTIONS = {"Entry check", "Quiz"}
# What is no prose: code blocks, display and inline maths, code and roles, questions' and hints' answers, addresses.
NO_PROSE = re.compile(
    r"^```.*?^```|\$\$.*?\$\$|\$[^$\n]+(?:\n[^$\n]+)?\$|`[^`]+`|<details.*?</details>|https?://\S+|\]\([^)]*\)",
    flags=re.DOTALL | re.MULTILINE,
)
VERSION = re.compile(
    r"\b(?:Python|PyTorch|torch|NumPy|pandas|fedlib|version|[Ss]ection|[Tt]able|[Ee]q\.|[Ee]quation) \d[\d.]*"
)
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d{2,}(?!\.?\w)|\d+\.\d+ ?%")


def quoted_numbers_are_stored(chapter: Chapter) -> list[str]:
    """What the text quotes, a cell of this chapter stores."""
    stored = {name for cell in chapter.code for name in glued(cell)}
    return [f"the text quotes {name!r}, which no cell stores" for name in sorted(_quoted(prose(chapter)) - stored)]


def stored_numbers_are_quoted(chapter: Chapter) -> list[str]:
    """A stored value that nobody quotes is left over from an older text."""
    quoted = _quoted(prose(chapter)) | _quoted(_pages())
    return [
        f"{where(cell)} stores {name!r}, which no text quotes"
        for cell in chapter.code
        for name in glued(cell)
        if name not in quoted
    ]


def no_number_is_typed(chapter: Chapter) -> list[str]:
    """No number with two or more decimals, and no percentage with any, stands in the prose as such."""
    complaints = []
    for heading, cell, text in pieces(chapter):
        if heading not in QUESTIONS:
            typed = DECIMAL.findall(VERSION.sub(" ", NO_PROSE.sub(" ", text)))
            complaints += [
                f'{where(cell)}, under "{heading}", has the typed number {number}: quote it from a cell'
                for number in typed
            ]
    return complaints


def no_fact_of_the_run_is_quoted(chapter: Chapter) -> list[str]:
    """Seconds and profile are in the page's header, which is made from the stamp."""
    facts = {"seconds", "profile"}
    return [
        f"{where(cell)} stores {name!r} of the run" for cell in chapter.code for name in glued(cell) if name in facts
    ]


def no_cell_needs_mystnb(chapter: Chapter) -> list[str]:
    """MyST-NB is not on Colab; fedlib.book.chapter.glue does the same."""
    return [
        f"{where(cell)} imports myst_nb: take fedlib.book.chapter.glue"
        for cell in chapter.code
        if "myst_nb" in cell.source
    ]


def _quoted(text: str) -> set[str]:
    return set(QUOTED.findall(text))


@cache
def _pages() -> str:
    """The book's pages that are no chapters."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").rglob("*.md")))
