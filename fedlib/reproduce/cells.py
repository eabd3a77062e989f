"""What a table consists of: cells, each the options of a run and the rates to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedlib.places import Place
from fedlib.run.faults import Faults


@dataclass(frozen=True)
class Grid:
    """The learning rates to try on validation data, for the network and the items (None: the backbone's rule).

    While the largest is the best, a larger one joins (see ``fedlib tune``). ``metric`` decides. The rates are chosen in
    runs without the cell's faults and, unless ``protected``, without its protection.
    """

    lr: tuple[float, ...]
    lr_items: tuple[float, ...] | None
    metric: str
    protected: bool = False


@dataclass(frozen=True)
class Cell:
    """One row of a table: its ``name``, and the options of ``fedlib run`` without data set, seed and rates.

    ``grid`` is None for what has no rates to choose. ``rates`` are the options of the cell whose rates this one takes,
    where it does not choose its own. ``users``: only so many of them, drawn at random, where a data set
    is too large for every machine. ``protect`` and ``faults`` are those of :func:`~fedlib.federation.federate`; with
    faults, even with none switched on, the row also says how many users get the hostile clients' target recommended.
    """

    name: str
    options: Mapping[str, Any]
    grid: Grid | None = None
    rates: Mapping[str, Any] | None = None
    users: int | None = None
    protect: Place | None = None
    faults: Faults | None = None


@dataclass(frozen=True)
class Table:
    """A named list of cells; ``title`` says what the table is for."""

    name: str
    title: str
    cells: tuple[Cell, ...]
