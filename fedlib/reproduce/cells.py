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

    All are tried, and while an end is the best, one beyond it joins (see ``fedlib tune``). ``metric`` decides. The
    rates are chosen in runs without the cell's faults and, unless ``protected``, without its protection. ``within``:
    of all that was tried only these may be chosen.
    """

    lr: tuple[float, ...]
    lr_items: tuple[float, ...] | None
    metric: str
    protected: bool = False
    within: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One row of a table: its ``name``, and the options of ``fedlib run`` without data set, seed and rates.

    ``grid`` is None for what has no rates to choose. ``rates`` are the options of the cell whose rates this one takes,
    where it does not choose its own. ``users``: only so many of them, drawn at random, where a data set
    is too large for every machine. ``protect`` and ``faults`` are those of :func:`~fedlib.federation.federate`; with
    faults, even with none switched on, the row also says how many users get the hostile clients' target recommended.
    ``balanced_as``: other cells of the table. The one of them that is best on validation data has kept a share of
    positives, and that is this cell's ``positive_share``; it is run after them.
    """

    name: str
    options: Mapping[str, Any]
    grid: Grid | None = None
    rates: Mapping[str, Any] | None = None
    users: int | None = None
    protect: Place | None = None
    faults: Faults | None = None
    balanced_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A named list of cells; ``title`` says what the table is for."""

    name: str
    title: str
    cells: tuple[Cell, ...]
