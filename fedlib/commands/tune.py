"""``fedlib tune``: choose learning rates on validation data."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product, starmap
from pathlib import Path

import fedlib
from fedlib.commands.build import Experiment, build
from fedlib.commands.check import check_tune
from fedlib.commands.files import locked, write_json
from fedlib.commands.options import GROWTH, TuneOptions
from fedlib.commands.parsers import numbers
from fedlib.commands.rates import SETTINGS, setting
from fedlib.commands.run import train
from fedlib.errors import DivergedError, InputError
from fedlib.places import Place
from fedlib.run.identity import identity
from fedlib.run.rates import Row, as_row, rates_in
from fedlib.shapes import Rates
from fedlib.threads import threads


def tune(options: TuneOptions) -> None:
    """Try every setting, note each result in the table as soon as it is known, and the choice at the end."""
    check_tune(options)
    lrs = numbers("--grid", options.grid)
    items = None if options.grid_items is None else numbers("--grid-items", options.grid_items)
    read_rows(options.table)
    with threads(options.threads):
        row = search(options, lrs, items)
    print(describe(row))


def search(options: TuneOptions, lrs: list[float], items: list[float] | None, protect: Place | None = None) -> Row:
    """Try all of the grid and, while an end of it is the best, one more value beyond it; returns the finished row."""
    made = replace(build(options), protect=protect)
    every = options.evaluate_every if options.best else options.rounds
    made = replace(made, how=made.how | {"evaluate_every": every})
    bounds, bounds_items = limits(lrs), limits(items or lrs)
    key = setting(options, made.split, made.backbone)
    row = start(options.table, key if protect is None else key | {"protect": identity(protect)})
    while True:
        for rates in starmap(Rates, product(lrs, items or (None,))):
            trial = made.at(rates)
            if trial.rates not in map(rates_in, row["grid"]):
                row["grid"].append(as_row(trial.rates) | {"valid": try_one(trial, options.metric)})
                save(options.table, row)
        best = choice(row["grid"])
        grown = grow(lrs, best["lr"], bounds), items and grow(items, best["lr_items"], bounds_items)
        if grown == (lrs, items):
            if not best.items() <= row.items():  # a search that was finished before leaves the table as it is
                row |= best
                save(options.table, row)
            return row
        lrs, items = grown


def try_one(trial: Experiment, metric: str) -> float | None:
    """The validation metric after the round that is kept; None where training diverges."""
    try:
        return train(trial).valid_metrics[metric]
    except DivergedError:
        return None


def choice(grid: list[Row]) -> Row:
    """The best setting tried, the one with the smallest rates of equals. Raises InputError if all diverged."""
    finished = [tried for tried in grid if tried["valid"] is not None]
    if not finished:
        raise InputError("Training diverged with every learning rate of the grid: try smaller ones.")
    return max(sorted(finished, key=lambda tried: (tried["lr"], tried["lr_items"])), key=lambda tried: tried["valid"])


def limits(values: list[float]) -> tuple[float, float]:
    """How far a grid may grow on either side."""
    return values[0] / GROWTH, values[-1] * GROWTH


def grow(values: list[float], best: float, bounds: tuple[float, float]) -> list[float]:
    """``values`` and, where the best is the first or last of them, the next third of a decade beyond it.

    Not beyond the ``bounds``. The best may lie outside all ``values`` if an earlier tuning had gone further.

    >>> grow([0.1, 1.0], 1.0, (0.001, 1000.0)), grow([0.1, 0.22, 1.0], 0.22, (0.001, 1000.0))
    ([0.1, 1.0, 2.2], [0.1, 0.22, 1.0])
    >>> grow([0.1, 1.0], 0.1, (0.001, 1000.0)), grow([0.1, 1.0], 1.0, (0.001, 2.0))
    ([0.046, 0.1, 1.0], [0.1, 1.0])
    """
    lower, higher = beside(values[0], -1), beside(values[-1], 1)
    before = [lower] if best <= values[0] and lower >= bounds[0] else []
    after = [higher] if best >= values[-1] and higher <= bounds[1] else []
    return [*before, *values, *after]


def beside(rate: float, step: int) -> float:
    """The value so many thirds of a decade above the one that is nearest to ``rate``.

    >>> beside(0.1, 1), beside(0.22, 1), beside(3.16, 1), beside(0.001, -1)
    (0.22, 0.46, 4.6, 0.00046)
    """
    return float(f"{10 ** ((round(3 * math.log10(rate)) + step) / 3):.2g}")


def read_rows(path: Path) -> list[Row]:
    """The rows of the table so far."""
    return SETTINGS.read(path) if path.exists() else []


def start(path: Path, key: Row) -> Row:
    """The row of an earlier tuning under the same settings, or a new one."""
    fresh = key | {"grid": [], "lr": None, "lr_items": None, "valid": None, "fedlib": fedlib.__version__}
    return next((row for row in read_rows(path) if SETTINGS.same(row, key)), fresh)


def save(path: Path, row: Row) -> None:
    """Put one row into the table, whatever other tunings have put there since."""
    with locked(path):
        rows = read_rows(path)
        at = next((i for i, other in enumerate(rows) if SETTINGS.same(other, row)), len(rows))
        write_json(path, [*rows[:at], row, *rows[at + 1 :]])


def describe(row: Row) -> str:
    """Everything tried and the choice, as a table for a reader."""
    lines = [f"{'lr':>12}{'lr of items':>14}{'valid ' + row['metric']:>18}"]
    for tried in sorted(row["grid"], key=lambda tried: (tried["lr"], tried["lr_items"])):
        value = "diverged" if tried["valid"] is None else f"{tried['valid']:.4f}"
        mark = "  <- chosen" if (tried["lr"], tried["lr_items"]) == (row["lr"], row["lr_items"]) else ""
        lines.append(f"{tried['lr']:12g}{tried['lr_items']:14g}{value:>18}{mark}")
    lrs = [tried["lr"] for tried in row["grid"]]
    if len(set(lrs)) > 1 and row["lr"] in (min(lrs), max(lrs)):
        lines.append(f"The best learning rate, {row['lr']:g}, is an end of what may be tried: a wider --grid may have "
                     "a better one.")  # fmt: skip
    return "\n".join(lines)
