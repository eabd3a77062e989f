"""FedSLLM's Table 1: its data sets beside ours."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fedlib.data import load
from fedlib.errors import InputError

PRINTED = {  # users, items, interactions, sparsity in percent
    "ml-100k": (943, 1682, 100_000, 93.70),
    "ml-1m": (6040, 3706, 1_000_209, 95.53),
    "amazon-industrial": (11_041, 5334, 77_071, 99.87),
    "amazon-software": (1826, 802, 12_805, 99.13),
}
COLUMNS = ("users", "items", "interactions", "sparsity")


def table1() -> pd.DataFrame:
    """Our counts beside the paper's, with what the reader of a data set has to say of it.

    A column of ours is missing (NaN) where the data set is not at hand; nothing is fetched.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, printed in PRINTED.items():
        rows[name] = {f"{column}, paper": value for column, value in zip(COLUMNS, printed, strict=True)}
        try:
            data = load(name, download=False)
        except InputError:
            rows[name] |= {"notes": "data not at hand"}
            continue
        number = len(data.interactions.items)
        ours = (data.n_users, data.n_items, number, round(100 * (1 - number / (data.n_users * data.n_items)), 2))
        rows[name] |= dict(zip(COLUMNS, ours, strict=True))
        rows[name] |= {"notes": "; ".join((*(["as in the paper"] if ours == printed else []), *data.notes))}
    columns = [name for column in COLUMNS for name in (column, f"{column}, paper")] + ["notes"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
