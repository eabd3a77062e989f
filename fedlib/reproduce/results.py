"""The finished rows of a table: one line of JSON a run, in ``book/results`` of the repository.

A row::

    {"cell", "seed", "options", "users",  # what was run: every option that was not left at its default
     "protect", "faults",                 # and what protected and what befell it, where something did
     "lr", "lr_items",                    # the rates, chosen on validation data; null where there are none
     "protocol", "metrics", "valid_metrics", "ranks",   # ranks of the held-out items in the order of the users
     "bytes",                             # a client sends and receives in a round, "up" and "down"
     "exposure",                          # share of users who get the target item among ten, where there are faults
     "round", "encoder", "prototypes",    # where there are any: the round that was kept, what read the texts, what
     "codes", "coverage", "positives_kept",   # wrote the prototypes, a digest of the codes that items start from, the
                                          # share of positives ever trained on, the share of positives in what was kept
     "seconds",                           # "training": of all rounds; "cpu": of the whole run on one thread
     "device", "threads", "versions", "data_sha256", "test_sha256"}

``ranks`` beyond the largest K may be null, and all is null where a user has more than one held-out item, or none.
"""

from __future__ import annotations

import json
import math
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedlib.errors import InputError
from fedlib.evaluation.metrics import hit_ratio, ndcg

Row = dict[str, Any]
HERE = Path(__file__).resolve().parents[2] / "book" / "results"  # in a copy of the repository
INSTALLED = Path(sysconfig.get_path("data")) / "share" / "fedlib" / "results"


def read_rows(table: str, dataset: str) -> list[Row]:
    """The finished rows of a table on a data set, as they come with fedlib. Raises InputError where there are none."""
    for folder in (HERE, INSTALLED):
        path = results_file(folder, table, dataset)
        if path.exists():
            return read_file(path)
    raise InputError(f"There are no finished rows of {table} on {dataset}: `fedlib reproduce {table}` makes them.")


def results_file(folder: Path, table: str, dataset: str) -> Path:
    """Where the rows of a table on a data set are kept."""
    return folder / f"{table}.{dataset}.jsonl"


def read_file(path: Path) -> list[Row]:
    """The rows of a file. Raises InputError, with the line, for what is not a row."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            row["cell"], row["seed"], row["options"], row["users"]
        except (ValueError, TypeError, KeyError) as err:
            raise InputError(f"{path}, line {number}, is not a row of results: delete the line or the file.") from err
        rows.append(row)
    return rows


def per_user(row: Row, metric: str) -> np.ndarray:
    """A row's "HR@K" or "NDCG@K" of every user, (m,), for paired intervals between rows of one test set.

    Raises InputError for another metric.
    """
    name, _, k = metric.partition("@")
    if name not in ("HR", "NDCG") or not k.isdigit():
        raise InputError(f"{metric!r} is not known user by user: take HR or NDCG at a K, as in NDCG@10.")
    ranks = torch.tensor([math.inf if rank is None else rank for rank in row["ranks"]], dtype=torch.float64)
    return (hit_ratio if name == "HR" else ndcg)(ranks, int(k)).numpy()
