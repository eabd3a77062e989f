"""``fedlib tune``: choose learning rates on validation data."""

from __future__ import annotations

import re
from pathlib import Path

import fedlib
from fedlib.backbones import Backbone
from fedlib.commands.files import check_file, locked, write_json
from fedlib.commands.options import GROWTH, TuneOptions, numbers
from fedlib.commands.training import (
    build_backbone,
    check_combination,
    is_centralised,
    local_training,
    places,
    read_split,
    setting,
    threads,
    train,
)
from fedlib.data.interactions import Split
from fedlib.errors import DivergedError, InputError
from fedlib.evaluation.metrics import METRICS
from fedlib.places import Place
from fedlib.run.arguments import named
from fedlib.run.rates import Row, read_table, same


def tune(options: TuneOptions) -> None:
    """Try every setting, note each result in the table as soon as it is known, and the choice at the end."""
    if is_centralised(options):
        raise InputError(f"fedlib tune is for federated models, and --backbone {options.backbone} is not one.")
    check_combination(options)
    check_metric("--metric", options.metric)
    if options.best is not None:
        check_metric("--best", options.best)
    elif "evaluate_every" in options.given:
        raise InputError("--evaluate-every is for --best: without it only the last round is evaluated.")
    lrs = numbers("--grid", options.grid)
    items = None if options.grid_items is None else numbers("--grid-items", options.grid_items)
    check_file("--table", options.table)
    read_rows(options.table)
    with threads(options.threads):
        row = search(options, read_split(options), build_backbone(options), lrs, items)
    print(describe(row))


def check_metric(option: str, text: str) -> None:
    """Raise InputError unless ``text`` is a metric such as NDCG@10."""
    name, _, k = text.partition("@")
    if name not in METRICS or not re.fullmatch(r"[1-9]\d{0,5}", k):
        raise InputError(f"{option} must be HR, NDCG, NDCG*, Precision or Recall at a K, as in NDCG@10, not {text!r}.")


def search(
    options: TuneOptions, split: Split, backbone: Backbone, lrs: list[float], items: list[float] | None,
    protect: Place | None = None,
) -> Row:  # fmt: skip
    """Try the grid and, while its largest value is the best, the next higher one; returns the finished row."""
    bound, bound_items = GROWTH * lrs[-1], GROWTH * items[-1] if items else 0.0
    key = setting(options, split, backbone) | {"metric": options.metric}
    row = start(options.table, key if protect is None else key | {"protect": named(protect)})
    while True:
        for lr in lrs:
            for lr_items in items or [item_rule(options, split, backbone, lr)]:
                if not any((tried["lr"], tried["lr_items"]) == (lr, lr_items) for tried in row["grid"]):
                    valid = try_one(options, split, backbone, lr, lr_items, protect)
                    row["grid"].append({"lr": lr, "lr_items": lr_items, "valid": valid})
                    save(options.table, row)
        best = choice(row["grid"])
        grown = grow(lrs, best["lr"], bound), items and grow(items, best["lr_items"], bound_items)
        if grown == (lrs, items):
            if not best.items() <= row.items():  # a search that was finished before leaves the table as it is
                row |= best
                save(options.table, row)
            return row
        lrs, items = grown


def item_rule(options: TuneOptions, split: Split, backbone: Backbone, lr: float) -> float:
    """The items' learning rate that a run with only ``lr`` given would take."""
    rate = local_training(options, split, backbone, lr, None).lr_items
    assert rate is not None
    return rate


def try_one(
    options: TuneOptions, split: Split, backbone: Backbone, lr: float, lr_items: float, protect: Place | None
) -> float | None:
    """The validation metric after the round that is kept; None where training diverges."""
    local = local_training(options, split, backbone, lr, lr_items)
    ks = {int(metric.partition("@")[2]) for metric in (options.metric, options.best) if metric}
    every = options.evaluate_every if options.best else options.rounds
    how = places(options, split.data, backbone) | {"protect": protect}
    try:
        result = train(options, split, backbone, local, ks=tuple(sorted(ks)), evaluate_every=every, **how)
    except DivergedError:
        return None
    return result.valid_metrics[options.metric]


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
    return read_table(path) if path.exists() else []


def start(path: Path, key: Row) -> Row:
    """The row of an earlier tuning under the same settings, or a new one."""
    fresh = key | {"grid": [], "lr": None, "lr_items": None, "valid": None, "fedlib": fedlib.__version__}
    return next((row for row in read_rows(path) if same(row, key)), fresh)


def save(path: Path, row: Row) -> None:
    """Put one row into the table, whatever other tunings have put there since."""
    with locked(path):
        rows = read_rows(path)
        at = next((i for i, other in enumerate(rows) if same(other, row)), len(rows))
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
