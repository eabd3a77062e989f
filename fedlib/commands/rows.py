"""One run of a cell, as a row of results."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fedlib.commands.build import build, read_split
from fedlib.commands.check import is_centralised
from fedlib.commands.options import RunOptions
from fedlib.commands.run import centralised, federated
from fedlib.data.splits import subsample
from fedlib.evaluation.metrics import Ranking
from fedlib.evaluation.rankings import exposure
from fedlib.items import SemanticTable
from fedlib.items.cache import digest
from fedlib.reproduce import Cell
from fedlib.reproduce.results import Row
from fedlib.run.identity import identity
from fedlib.run.rates import as_row, rates_in
from fedlib.run.result import Result
from fedlib.shapes import Rates
from fedlib.threads import threads


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
    training = sum(one["seconds"] for one in report["history"])
    row |= {"seconds": report["seconds"] | {"training": training, "cpu": time.process_time() - cpu}}
    kept = ("device", "threads", "versions", "data_sha256", "test_sha256")
    return row | {name: report[name] for name in kept}


def chosen_by_run(options: RunOptions, report: dict[str, Any], result: Result) -> Row:
    """What a run found out beside its metrics: the round it kept, what read and wrote texts, how much it looked at."""
    found: Row = {} if options.best is None else {"round": result.state.round}
    found |= {name: report["config"][name] for name in ("encoder", "prototypes") if report["config"].get(name)}
    if isinstance(result.items, SemanticTable):
        found["codes"] = digest([], result.items.space.codes)[:12]
    for column in ("coverage", "positives kept"):
        if column in report["history"][-1]:
            found[column.replace(" ", "_")] = report["history"][-1][column]
    return found


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


def describe(row: Row) -> str:
    """One line on a finished run."""
    shown = "  ".join(f"{name} {value:.4f}" for name, value in [*row["metrics"].items()][:4])
    return f"{row['cell']} seed {row['seed']}: {shown}  {row['seconds']['total']:.0f} s"
