"""``fedlib reproduce``: run the cells of a table and keep one row a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from fedlib.commands.build import build_backbone, read_split
from fedlib.commands.check import check_combination
from fedlib.commands.files import check_folder, told
from fedlib.commands.finished import finished
from fedlib.commands.models import MODELS
from fedlib.commands.options import ReproduceOptions, RunOptions, TuneOptions
from fedlib.commands.rates import SETTINGS, setting
from fedlib.commands.rows import answers, describe, run_cell
from fedlib.commands.tune import choice, search
from fedlib.commands.tune import read_rows as read_rates
from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.files import write_text
from fedlib.reproduce import Cell, Table
from fedlib.reproduce.faults import FAULTS
from fedlib.reproduce.fedsllm.cells import FIGURE3, PAPERS, TABLE2, VARIANTS, by_another_model
from fedlib.reproduce.fedsllm.data import table1
from fedlib.reproduce.leaderboard import LEADERBOARD
from fedlib.reproduce.ngcf import NGCF
from fedlib.reproduce.privacy import PRIVACY
from fedlib.reproduce.results import HERE, Row, read_file, results_file
from fedlib.run.identity import identity
from fedlib.run.rates import PACKAGED, rates_in
from fedlib.shapes import Rates
from fedlib.threads import threads

TABLES = {table.name: table for table in (LEADERBOARD, NGCF, PRIVACY, FAULTS, TABLE2, FIGURE3, PAPERS, VARIANTS)}
COUNTED = {"fedsllm.table1": table1}  # tables that need no run


def reproduce(options: ReproduceOptions) -> None:
    """Run what is not finished, several runs side by side, note each row as soon as it is known, and print them all."""
    if options.table in COUNTED:
        counted = COUNTED[options.table]()
        for dataset, note in counted.pop("notes").items():
            print(f"{dataset}: {note}")
        print(counted.map("{:.7g}".format, na_action="ignore").T.to_string(na_rep=""))
        return
    if options.table not in TABLES:
        known = ", ".join([*(f"{table.name} ({table.title})" for table in TABLES.values()), *COUNTED])
        raise InputError(f"There is no table {options.table!r}; there is {known}.")
    table = TABLES[options.table]
    asked = table if options.prototypes is None else by_another_model(table, options.prototypes)
    cells = chosen(asked, options.cells)
    folder = options.results or HERE
    check_folder("--results", folder)
    path = results_file(folder, table.name, options.dataset)
    rows = read_file(path) if path.exists() else []
    for part in ([cell for cell in cells if not cell.balanced_as], [cell for cell in cells if cell.balanced_as]):
        if part:
            rows = run_cells([balanced(cell, rows) for cell in part], rows, (*table.cells, *asked.cells), path, options)
    print(finished(table.name, cells, rows, options.dataset))


def run_cells(
    cells: Sequence[Cell], rows: list[Row], order: Sequence[Cell], path: Path, options: ReproduceOptions
) -> list[Row]:
    """All ``rows`` after the runs of these cells that were not done."""
    began, new = time.perf_counter(), []
    with workers(options.jobs) as pool:
        if options.tune:
            choosing = [cell for cell in cells if cell.grid and cell.rates is None]
            for told in as_completed([pool.submit(tune_cell, cell, options) for cell in choosing]):
                print(told.result(), flush=True)
        jobs = [(run_options(cell, options, seed), cell) for cell in cells for seed in seeds(cell, options.seeds)]
        rates = {cell.name: tuned(cell, options) for cell in cells if cell.grid}
        waiting = [job for job in jobs if not any(answers(row, *job, rates) for row in rows)]
        print(f"{path.stem}: {len(jobs) - len(waiting)} runs are done, {len(waiting)} to go", flush=True)
        for done in as_completed([pool.submit(run_cell, cell, job, rates.get(cell.name)) for job, cell in waiting]):
            row = done.result()
            rows = [old for old in rows if (old["cell"], old["seed"]) != (row["cell"], row["seed"])] + [row]
            new.append(row["seconds"])
            save(path, order, rows)
            print(describe(row), flush=True)
    if new:
        print(time_spent(new, time.perf_counter() - began))
    return rows


def time_spent(seconds: Sequence[dict[str, float]], wall: float) -> str:
    """How long runs took together, and how much of that was training."""
    whole = sum(one["total"] for one in seconds)
    trained = sum(one["training"] for one in seconds) / whole
    return f"{len(seconds)} runs of {whole:.0f} s in {wall:.0f} s, {trained:.0%} of it in rounds of training"


def balanced(cell: Cell, rows: Sequence[Row]) -> Cell:
    """The cell with the share of positives that the best of the cells it is balanced as has kept.

    Raises InputError where one of them has no rows.
    """
    if not cell.balanced_as:
        return cell
    found = {name: [row for row in rows if row["cell"] == name] for name in cell.balanced_as}
    if missing := [name for name, its in found.items() if not its]:
        raise InputError(f"{cell.name} keeps the balance of {', '.join(missing)}, which has no rows: run that first.")
    assert cell.grid is not None
    metric = cell.grid.metric
    best = max(found.values(), key=lambda its: fmean(row["valid_metrics"][metric] for row in its))
    share = round(fmean(row["positives_kept"] for row in best), 4)
    return replace(cell, options={**cell.options, "positive_share": share})


@contextmanager
def workers(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for the runs. Where one fails, those not begun are given up: nobody would keep their rows."""
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # without a failure none is left


def chosen(table: Table, names: str | None) -> list[Cell]:
    """The cells whose names contain one of the ``names``; all where there are none. Raises InputError for no cell."""
    wanted = [] if names is None else [name.strip() for name in names.split(",")]
    cells = [cell for cell in table.cells if not wanted or any(name and name in cell.name for name in wanted)]
    if not cells:
        known = ", ".join(cell.name for cell in table.cells)
        raise InputError(f"--cells {names}: no cell of {table.name} has such a name; there are {known}.")
    return cells


def seeds(cell: Cell, number: int) -> range:
    """The seeds of a cell's runs: one is enough for what draws nothing."""
    model = MODELS[cell.options["backbone"]]
    return range(number if model.variants or "seed" in model.options else 1)


def run_options(cell: Cell, options: ReproduceOptions, seed: int) -> RunOptions:
    """The options of one run of a cell."""
    model = MODELS[cell.options["backbone"]]
    given = {*cell.options, "seed"} | (
        {"device"} & options.given if model.variants or "device" in model.options else set()
    )
    found = RunOptions(
        dataset=options.dataset, seed=seed, device=options.device, given=frozenset(given),
        prototypes=options.prototypes, **cell.options,
    )  # fmt: skip
    check_combination(found)
    return found


def tuned(cell: Cell, options: ReproduceOptions) -> Rates:
    """The rates that were chosen for a cell, or the one it takes them from, under exactly these options, with seed 0.

    Raises InputError if none were.
    """
    assert cell.grid is not None
    run = run_options(replace(cell, options=cell.rates or cell.options), options, 0)
    how = {name: getattr(run, name) for name in ("dataset", "protocol", "split_seed", "stores", "partition")}
    key = setting(run, split_of(RunOptions(backbone=run.backbone, **how)), build_backbone(run))
    key |= {"metric": cell.grid.metric} | protected(cell)
    row = next((row for row in read_rates(table_of(options)) if SETTINGS.same(row, key)), None)
    if row is None or row["lr"] is None:
        raise InputError(f"No rates have been chosen for {cell.name} on {options.dataset}: add --tune.")
    if not cell.grid.within:
        return rates_in(row)
    return rates_in(choice([tried for tried in row["grid"] if tried["lr"] in cell.grid.within]))


@lru_cache(maxsize=4)
def split_of(options: RunOptions) -> Split:
    """The split of these options, read once for all cells that differ in nothing else."""
    return read_split(options)


def protected(cell: Cell) -> Row:
    """The part of the rates' setting that says under which protection they are chosen, where they are."""
    return {"protect": identity(cell.protect)} if cell.grid and cell.grid.protected and cell.protect else {}


def table_of(options: ReproduceOptions) -> Path:
    """The table of chosen rates."""
    return options.rates or PACKAGED


def tune_cell(cell: Cell, options: ReproduceOptions) -> str:
    """Choose a cell's rates on validation data, unless that has been done."""
    assert cell.grid is not None
    tune = TuneOptions(
        dataset=options.dataset, device=options.device, table=table_of(options), grid="", metric=cell.grid.metric,
        **{name: value for name, value in cell.options.items() if name != "topk"},
    )  # fmt: skip
    with threads(1):
        items = cell.grid.lr_items
        row = search(tune, [*cell.grid.lr], None if items is None else [*items],
                     cell.protect if cell.grid.protected else None)  # fmt: skip
    return f"{cell.name}: rates {row['lr']:g} and {row['lr_items']:g}, {row['metric']} {row['valid']:.4f} on validation"


def save(path: Path, cells: Sequence[Cell], rows: Sequence[Row]) -> None:
    """Write all rows, in the order of the ``cells``."""
    order = {cell.name: place for place, cell in enumerate(cells)}
    ordered = sorted(rows, key=lambda row: (order.get(row["cell"], len(order)), row["seed"]))
    path.parent.mkdir(exist_ok=True)
    with told(path):
        write_text(path, "".join(json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n" for row in ordered))
