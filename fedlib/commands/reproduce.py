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
from typing import Any

from fedlib.commands.build import build, build_backbone, read_split
from fedlib.commands.check import check_combination, is_centralised
from fedlib.commands.files import check_folder, told
from fedlib.commands.finished import finished
from fedlib.commands.models import MODELS
from fedlib.commands.options import ReproduceOptions, RunOptions, TuneOptions
from fedlib.commands.rates import SETTINGS, setting
from fedlib.commands.run import centralised, federated, threads
from fedlib.commands.tune import read_rows as read_rates
from fedlib.commands.tune import search
from fedlib.data.interactions import Split
from fedlib.data.splits import subsample
from fedlib.errors import InputError
from fedlib.evaluation.metrics import Ranking
from fedlib.evaluation.rankings import exposure
from fedlib.files import write_text
from fedlib.reproduce import Cell, Table
from fedlib.reproduce.faults import FAULTS
from fedlib.reproduce.fedsllm.cells import FIGURE3, TABLE2, VARIANTS, by_another_model
from fedlib.reproduce.fedsllm.data import table1
from fedlib.reproduce.leaderboard import LEADERBOARD
from fedlib.reproduce.ngcf import NGCF
from fedlib.reproduce.privacy import PRIVACY
from fedlib.reproduce.results import HERE, Row, read_file, results_file
from fedlib.run.identity import identity
from fedlib.run.rates import PACKAGED, as_row, rates_in
from fedlib.run.result import Result
from fedlib.shapes import Rates

TABLES = {table.name: table for table in (LEADERBOARD, NGCF, PRIVACY, FAULTS, TABLE2, FIGURE3, VARIANTS)}
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
    with workers(options.jobs) as pool:
        if options.tune:
            choosing = [cell for cell in cells if cell.grid and cell.rates is None]
            for told in as_completed([pool.submit(tune_cell, cell, options) for cell in choosing]):
                print(told.result(), flush=True)
        jobs = [(run_options(cell, options, seed), cell) for cell in cells for seed in seeds(cell, options.seeds)]
        rates = {cell.name: tuned(cell, options) for cell in cells if cell.grid}
        waiting = [job for job in jobs if not any(answers(row, *job, rates) for row in rows)]
        print(f"{table.name} on {options.dataset}: {len(jobs) - len(waiting)} runs are done, {len(waiting)} to go")
        for done in as_completed([pool.submit(run_cell, cell, job, rates.get(cell.name)) for job, cell in waiting]):
            row = done.result()
            rows = [old for old in rows if (old["cell"], old["seed"]) != (row["cell"], row["seed"])] + [row]
            save(path, (*table.cells, *asked.cells), rows)
            print(describe(row), flush=True)
    print(finished(table.name, cells, rows, options.dataset))


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
    return rates_in(row)


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


def answers(row: Row, options: RunOptions, cell: Cell, rates: dict[str, Rates]) -> bool:
    """Whether a finished row is that of this run, with these options and rates."""
    found = (row["cell"], row["seed"], row["options"], row["users"], None if row["lr"] is None else rates_in(row))
    asked = (cell.name, options.seed, dict(cell.options), cell.users, rates.get(cell.name))
    return found == asked and {name: row[name] for name in ("protect", "faults") if name in row} == circumstances(cell)


def circumstances(cell: Cell) -> Row:
    """What a row says of a cell's protection and faults; nothing where there are none."""
    protect = {} if cell.protect is None else {"protect": identity(cell.protect)}
    return protect if cell.faults is None else protect | {"faults": identity(vars(cell.faults))}


def run_cell(cell: Cell, options: RunOptions, rates: Rates | None) -> Row:
    """One run on one thread, as a row."""
    began, cpu = time.perf_counter(), time.process_time()
    with threads(1):
        split = read_split(options)
        if cell.users is not None:
            split = subsample(split, users=cell.users)
        if is_centralised(options):
            report, ranking = centralised(options, split, began)
        else:
            assert rates is not None
            made = build(options, split).at(rates)
            faults = {} if cell.faults is None else {"faults": cell.faults}
            made = replace(made, protect=cell.protect or made.protect, how=made.how | faults)
            report, result = federated(options, made, began)
            ranking = result.ranking()
    row = {"cell": cell.name, "seed": options.seed, "options": dict(cell.options), "users": cell.users}
    row |= circumstances(cell)
    if not is_centralised(options):
        row |= chosen_by_run(options, report, result)
    if cell.faults is not None:
        shown = exposure(result.state, result.backbone, split, k=10)
        row["exposure"] = float(shown[cell.faults.target]) / split.data.n_users
    row |= {"lr": None, "lr_items": None} if rates is None else as_row(rates)
    row |= {name: report[name] for name in ("protocol", "metrics", "valid_metrics")}
    row |= {"ranks": plain_ranks(ranking) if len(ranking.users) == ranking.n_users else None, "bytes": bytes_of(report)}
    row |= {"seconds": report["seconds"] | {"cpu": time.process_time() - cpu}}
    kept = ("device", "threads", "versions", "data_sha256", "test_sha256")
    return row | {name: report[name] for name in kept}


def chosen_by_run(options: RunOptions, report: dict[str, Any], result: Result) -> Row:
    """What a run found out beside its metrics: the round it kept, what read and wrote texts, how much it looked at."""
    found: Row = {} if options.best is None else {"round": result.state.round}
    found |= {name: report["config"][name] for name in ("encoder", "prototypes") if report["config"].get(name)}
    return found if options.select == "none" else found | {"coverage": report["history"][-1]["coverage"]}


def plain_ranks(ranking: Ranking) -> list[float | None]:
    """The ranks in the order of the users, None beyond the largest K."""
    ranks = ranking.ranks[ranking.users.argsort(stable=True)].tolist()
    return [None if rank == float("inf") else int(rank) if rank == int(rank) else rank for rank in ranks]


def bytes_of(report: dict[str, Any]) -> dict[str, float]:
    """Bytes a client sends and receives in a round, the mean over all rounds; nothing for what is not federated."""
    clients = sum(row["clients"] for row in report["history"])
    return {
        way: sum(row["bytes"] for row in report["ledger"] if row["direction"] == way) / clients
        for way in ("up", "down")
        if clients
    }


def save(path: Path, cells: Sequence[Cell], rows: Sequence[Row]) -> None:
    """Write all rows, in the order of the ``cells``."""
    order = {cell.name: place for place, cell in enumerate(cells)}
    ordered = sorted(rows, key=lambda row: (order.get(row["cell"], len(order)), row["seed"]))
    path.parent.mkdir(exist_ok=True)
    with told(path):
        write_text(path, "".join(json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n" for row in ordered))


def describe(row: Row) -> str:
    """One line on a finished run."""
    shown = "  ".join(f"{name} {value:.4f}" for name, value in [*row["metrics"].items()][:4])
    return f"{row['cell']} seed {row['seed']}: {shown}  {row['seconds']['total']:.0f} s"
