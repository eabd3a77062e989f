"""FedSLLM's tables from finished rows, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedlib.errors import InputError
from fedlib.reproduce.fedsllm import READINGS, paper
from fedlib.reproduce.results import Row, per_user
from fedlib.stats import paired_bootstrap

CHOICE = "NDCG@10"  # what decides between readings, on validation data
PRINTED = {  # our row -> the paper's; several readings of one row share its place
    "base": "Base", "random": "Random", "entropy": "Entropy", "margin": "Margin", "least": "Least",
    "fedselect": "FedSelect", "fale": "FALE", "recorded": None, "keyword": None, "cluster": "Ours-Cluster",
}  # fmt: skip
NOT_RUN = ("Ours-Qwen", "Ours-LLaMa")


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


def cell_of(rows: Sequence[Row], backbone: str, row: str) -> str:
    """The cell behind one of the rows of ``PRINTED``: for FedSLLM's, the reading that validation chose."""
    own = row in ("recorded", "keyword", "cluster")
    return f"{backbone}/{row}/{chosen_reading(rows, backbone, row)}" if own else f"{backbone}/{row}"


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
        less = paired_bootstrap(users(rows, cell, metric), base)
        table[row] = {
            "reading": cell.rpartition("/")[2] if cell.count("/") == 2 else "",
            "ours": 100 * mean(rows, cell, metric),
            "less base": 100 * less.mean_difference,
            "low": 100 * less.low,
            "high": 100 * less.high,
            "paper": theirs(name),
        }
    table |= {name: {"reading": "not run", "paper": theirs(name)} for name in NOT_RUN}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("row")
