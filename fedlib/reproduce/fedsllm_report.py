"""FedSLLM's tables from finished rows, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedlib.errors import InputError
from fedlib.reproduce.fedsllm import READINGS, THEIRS, paper
from fedlib.reproduce.results import Row, per_user
from fedlib.stats import paired_bootstrap

CHOICE = "NDCG@10"  # what decides between readings, on validation data
PRINTED = {  # our row -> the paper's; several readings of one row share its place
    "base": "Base", "random": "Random", "entropy": "Entropy", "margin": "Margin", "least": "Least",
    "fedselect": "FedSelect", "fale": "FALE", "recorded": None, "keyword": None, "cluster": "Ours-Cluster",
    "qwen": "Ours-Qwen", "llama": "Ours-LLaMa",
}  # fmt: skip
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
    """A metric of every user, the mean over a cell's seeds, (m,)."""
    return np.mean([per_user(row, metric) for row in runs(rows, cell)], axis=0)


def beside(rows: Sequence[Row], backbone: str, dataset: str, metric: str = "HR@10") -> pd.DataFrame:
    """One backbone's rows in percent: ours, less Base with its 95 % paired interval over users, and the paper's.

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
            less = paired_bootstrap(users(rows, cell, metric), base)
            differences = {"less base": less.mean_difference, "low": less.low, "high": less.high}
            table[row] |= {"ours": 100 * mean(rows, cell, metric)} | {n: 100 * v for n, v in differences.items()}
    columns = ["reading", "ours", "less base", "low", "high", "paper"]
    return pd.DataFrame.from_dict(table, orient="index", columns=columns).rename_axis("row")
