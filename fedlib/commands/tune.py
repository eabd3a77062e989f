"""``fedlib tune``: choose learning rates on validation data."""

from __future__ import annotations

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
from fedlib.commands.run import threads, train
from fedlib.errors import DivergedError, InputError
from fedlib.places import Place
from fedlib.run.identity import identity
from fedlib.run.rates import Row, as_row, rates_in
from fedlib.shapes import Rates


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
    """Try the grid and, while its largest value is the best, the next higher one; returns the finished row."""
    made = replace(build(options), protect=protect)
    every = options.evaluate_every if options.best else options.rounds
    made = replace(made, how=made.how | {"evaluate_every": every})
    bound, bound_items = GROWTH * lrs[-1], GROWTH * items[-1] if items else 0.0
    key = setting(options, made.split, made.backbone)
    row = start(options.table, key if protect is None else key | {"protect": identity(protect)})
    while True:
        for rates in starmap(Rates, product(lrs, items or (None,))):
            trial = made.at(rates)
            if trial.rates not in map(rates_in, row["grid"]):
                row["grid"].append(as_row(trial.rates) | {"valid": try_one(trial, options.metric)})
                save(options.table, row)
        best = choice(row["grid"])
        grown = grow(lrs, best["lr"], bound), items and grow(items, best["lr_items"], bound_items)
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


def grow(values: list[float], best: float, bound: float) -> list[float]:
    """``values`` and, where none is above the best, one more, half a decade up, unless it is above the bound.

    The best may lie above all ``values`` if an earlier tuning had gone further.

    >>> grow([0.1, 1.0], 1.0, 1000.0), grow([0.1, 1.0], 0.1, 1000.0), grow([0.1, 1.0], 1.0, 2.0)
    ([0.1, 1.0, 3.2], [0.1, 1.0], [0.1, 1.0])
    """
    higher = float(f"{values[-1] * 10**0.5:.2g}")
    return [*values, higher] if best >= values[-1] and higher <= bound else values


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
    if row["lr"] == max(tried["lr"] for tried in row["grid"]):
        lines.append("The largest learning rate tried is the best: a larger --grid may be better still.")
    return "\n".join(lines)
