"""Ways to break the example: change its text, what its notebook stores, or its stamp."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from tests.book.chapter import Chapter
from tests.book.example import example, text

Rule = Callable[[Chapter], list[str]]
Change = Callable[[], Chapter]


@dataclass(frozen=True)
class Broken:
    """``change`` makes a chapter that breaks ``rule``, and the rules in ``also``, which it cannot but break with it."""

    rule: Rule
    what: str
    change: Change
    also: tuple[Rule, ...] = ()


def written(old: str, new: str, count: int = 1) -> Change:
    """Another text in both files, as if executed. ``count`` is how often it is replaced, -1 for everywhere."""

    def change() -> Chapter:
        assert old in text(), f"the example has no {old!r}"
        return example(text().replace(old, new, count))

    return change


def without(old: str) -> Change:
    return written(old, "")


def stored(inside: str, spoil: Callable[[NotebookNode], Any]) -> Change:
    """Another .ipynb: ``spoil`` changes the first cell whose text has ``inside`` in it."""

    def change() -> Chapter:
        chapter = example(text())
        spoil(next(cell for cell in chapter.cells if inside in cell.source))
        return chapter

    return change


def shows(inside: str, *more: NotebookNode) -> Change:
    """More outputs in a cell."""
    return stored(inside, lambda cell: cell.outputs.extend(more))


def stamped(**values: Any) -> Change:
    """Other values in the stamp; a dictionary is merged with the one that is there."""

    def change() -> Chapter:
        chapter = example(text())
        for name, value in values.items():
            chapter.stamp[name] = chapter.stamp[name] | value if isinstance(value, dict) else value
        return chapter

    return change


def whole(spoil: Callable[[NotebookNode], Any]) -> Change:
    """Another .ipynb: ``spoil`` changes it as a whole."""

    def change() -> Chapter:
        chapter = example(text())
        spoil(chapter.notebook)
        return chapter

    return change


def sized(size: int) -> Change:
    return lambda: dataclasses.replace(example(text()), size=size)
