"""What a table consists of: cells, each the options of a run and the rates to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """The learning rates to try on validation data, for the network and the items (None: the backbone's rule).

    While the largest is the best, a larger one joins (see ``fedlib tune``). ``metric`` decides.
    """

    lr: tuple[float, ...]
    lr_items: tuple[float, ...] | None
    metric: str


@dataclass(frozen=True)
class Cell:
    """One row of a table: its ``name``, and the options of ``fedlib run`` without data set, seed and rates.

    ``grid`` is None for what has no rates to choose. ``users``: only so many of them, drawn at random, where a data set
    is too large for every machine.
    """

    name: str
    options: Mapping[str, Any]
    grid: Grid | None = None
    users: int | None = None


@dataclass(frozen=True)
class Table:
    """A named list of cells; ``title`` says what the table is for."""

    name: str
    title: str
    cells: tuple[Cell, ...]
