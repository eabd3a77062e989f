"""FedSLLM's tables from finished rows, beside what the paper prints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fedlib.errors import InputError
from fedlib.evaluation.stats import crossed_bootstrap, mean_and_spread
from fedlib.prototypes.recorded import PACKAGED, read_record
from fedlib.reproduce.fedsllm.cells import BACKBONES, READINGS, SHARES, THEIRS, UPDATED_EVERY, paper
from fedlib.reproduce.results import Row, per_user

CHOICE = "NDCG@10"  # what decides between readings, on validation data
PRINTED = {  # our row -> the paper's; several readings of one row share its place
    "base": "Base",
    "random": "Random",
    "entropy": "Entropy",
    "margin": "Margin",
    "least": "Least",
    "fedselect": "FedSelect",
    "fale": "FALE",
    "recorded": None,
    "keyword": None,
    "cluster": "Ours-Cluster",
    "qwen": "Ours-Qwen",
    "llama": "Ours-LLaMa",
}
BY_PROTOTYPES = ("recorded", "keyword", "cluster", *THEIRS.values())


def runs(rows: Sequence[Row], cell: str) -> list[Row]:
    """All seeds of a cell."""
    return [row for row in rows if row["cell"] == cell]


def mean(rows: Sequence[Row], cell: str, metric: str, which: str = "metrics") -> float:
    """A metric's mean over a cell's seeds, on the test items or, with "valid_metrics", on the validation items."""
    return float(np.mean([row[which][metric] for row in runs(rows, cell)]))


def chosen_reading(rows: Sequence[Row], backbone: str, prototypes: str) -> str:
    """The reading of Eqs. 11 to 13 that is best on validation data. Raises InputError where none was run."""
    there = [name for name in READINGS if runs(rows, f"{backbone}/{prototypes}/{name}")]
    if not there:
        raise InputError(f"There are no rows of {backbone} with {prototypes} prototypes.")
    return max(there, key=lambda name: mean(rows, f"{backbone}/{prototypes}/{name}", CHOICE, "valid_metrics"))


def cell_of(rows: Sequence[Row], backbone: str, row: str) -> str | None:
    """The cell behind a row of ``PRINTED``, with the reading that validation chose; None if it was not run."""
    if row not in BY_PROTOTYPES:
        return f"{backbone}/{row}" if runs(rows, f"{backbone}/{row}") else None
    if not any(runs(rows, f"{backbone}/{row}/{reading}") for reading in READINGS):
        return None
    return f"{backbone}/{row}/{chosen_reading(rows, backbone, row)}"


def users(rows: Sequence[Row], cell: str, metric: str) -> np.ndarray:
    """A metric of every user under each of a cell's seeds, (S, m)."""
    return np.stack([per_user(row, metric) for row in sorted(runs(rows, cell), key=lambda row: row["seed"])])


def beside(rows: Sequence[Row], backbone: str, dataset: str, metric: str = "HR@10") -> pd.DataFrame:
    """One backbone's rows in percent: ours, less Base with its 95 % interval over seeds and users, and the paper's.

    NaN stands where the paper prints nothing, or where nobody ran a row.
    """
    printed, base = paper()[backbone], users(rows, f"{backbone}/base", metric)

    def theirs(name: str | None) -> float:
        return printed[name].get(dataset, {}).get(metric, np.nan) if name else np.nan

    table = {}
    for row, name in PRINTED.items():
        cell = cell_of(rows, backbone, row)
        table[row] = {"reading": "not run" if cell is None else cell.partition(f"/{row}/")[2], "paper": theirs(name)}
        if cell is not None:
            less = gap(100 * users(rows, cell, metric), 100 * base)
            table[row] |= {"ours": 100 * mean(rows, cell, metric)}
            table[row] |= dict(zip(("less base", "low", "high"), less, strict=True))
    columns = ["reading", "ours", "less base", "low", "high", "paper"]
    return pd.DataFrame.from_dict(table, orient="index", columns=columns).rename_axis("row")


def complete(rows: Sequence[Row]) -> list[str]:
    """The backbones that have Base and Random, which all other rows are compared with."""
    there = {row["cell"] for row in rows}
    return [name for name in BACKBONES if {f"{name}/base", f"{name}/random"} <= there]


def spread(rows: Sequence[Row], cell: str, metric: str) -> str:
    """A metric in percent as "mean ± spread" over seeds; with one seed, "mean"."""
    centre, wide = mean_and_spread([100 * row["metrics"][metric] for row in runs(rows, cell)])
    return f"{centre:.1f}" if np.isnan(wide) else f"{centre:.1f}\xa0±\xa0{wide:.1f}"


def gap(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """The mean of ``first - second``, (S, m) each, with its 95 % interval over seeds and users: mean, low, high.

    :func:`~fedlib.evaluation.stats.crossed_bootstrap` over the seeds both have, which are their first ones.
    """
    seeds = min(len(first), len(second))
    found = crossed_bootstrap(first[:seeds] - second[:seeds])
    return found.mean_difference, found.low, found.high


def ours_and_theirs(tables: Mapping[str, Sequence[Row]], metrics: Sequence[str]) -> pd.DataFrame:
    """Tables 2, 3 and 6 of the paper: "ours / the paper's" in percent, a line for each data set and row.

    ``tables`` has the rows of each data set. "–" stands for what the paper does not print.
    """

    def box(dataset: str, backbone: str, row: str, metric: str) -> str:
        cell = cell_of(tables[dataset], backbone, row)
        why = "not run" if row in THEIRS.values() else "not run yet"
        ours = why if cell is None else f"{100 * mean(tables[dataset], cell, metric):.1f}"
        theirs = paper()[backbone].get(PRINTED[row] or "", {}).get(dataset, {})
        return f"{ours}\xa0/\xa0{theirs.get(metric, '–')}"

    lines = {
        (dataset, row): {(b, metric): box(dataset, b, row, metric) for b in BACKBONES for metric in metrics}
        for dataset in tables
        for row in PRINTED
    }
    return pd.DataFrame.from_dict(lines, orient="index")


def curve(tenth: Sequence[Row], more: Sequence[Row], cell: str, metric: str = "HR@10") -> dict[float, float]:
    """Figure 3: a metric in percent over the share of samples kept, as far as it was run.

    ``tenth`` are the rows of Table 2, which has the share of a tenth, and ``more`` those of Figure 3.
    """
    points = {SHARES[0]: 100 * mean(tenth, cell, metric)}
    for share in SHARES[1:]:
        if runs(more, f"{cell}/S={share:g}"):
            points[share] = 100 * mean(more, f"{cell}/S={share:g}", metric)
    return points


def updates() -> pd.DataFrame:
    """What the model of the record saw and did at each update of the prototypes, in the one run of each data set."""
    seen: dict[tuple[str, int], dict[str, str | int]] = {}
    for entry in read_record(PACKAGED):
        if entry["purpose"] == "update":
            shares = re.findall(r'"([^"]*)": (\d+)[,}]', entry["messages"][-1]["content"])
            text, most = max(shares, key=lambda pair: int(pair[1]))
            after = UPDATED_EVERY * (1 + sum(name == entry["dataset"] for name, _ in seen))
            told = {"prototypes": len(shares), "most counted": text, "percent": int(most)}
            seen[entry["dataset"], after] = told | {"written next": len(json.loads(entry["answer"]))}
    return pd.DataFrame.from_dict(seen, orient="index").rename_axis(["data set", "after round"])
