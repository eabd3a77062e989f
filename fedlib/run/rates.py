"""The learning rates that were chosen on validation data: the table ``fedlib tune`` writes and runs read.

A row says under which settings the rates were chosen and everything that was tried::

    {"dataset", "backbone", "variant", "local_only", "items", "select", "protocol", "optimizer",  # what a run has to
     "local_epochs", "batch", "negatives", "negatives_from", "clients_per_round", "weight_decay", "lr_decay", "dim",
     "encoder", "ratio", "reading", "llm", "n_prototypes", "update_every", "sampled", "stores", "partition",
     "rounds", "seed", "split_seed", "metric", "best", "evaluate_every",                   # and what it should share
     "grid": [{"lr", "lr_items", "valid"}, ...],                                            # valid null: it diverged
     "lr", "lr_items", "valid", "fedlib",                                                   # the choice, null before it
     "protect"}                                                                             # only where something did

No number in it comes from test data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedlib.errors import InputError

Row = dict[str, Any]
PACKAGED = Path(__file__).with_name("tuned.json")
MUST_AGREE = ("dataset", "backbone", "variant", "local_only", "items", "select", "protocol", "optimizer")
SHOULD_AGREE = (
    "clients_per_round", "local_epochs", "batch", "negatives", "negatives_from", "weight_decay", "lr_decay", "dim",
    "encoder", "ratio", "reading", "llm", "n_prototypes", "update_every", "sampled", "stores", "partition", "rounds",
    "seed", "split_seed", "metric", "best", "evaluate_every",
)  # fmt: skip
# Settings that joined later, and what rows without them mean.
JOINED: Row = {
    "items": "id", "encoder": None, "select": "none", "ratio": None, "reading": None, "llm": None,
    "n_prototypes": None, "update_every": None, "sampled": False, "best": None, "evaluate_every": None,
}  # fmt: skip
SETTING = MUST_AGREE + SHOULD_AGREE


def read_table(path: Path = PACKAGED) -> list[Row]:
    """The rows of a table. Raises InputError for a file that is not one."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise InputError(f"{path} is not a readable table of settings ({type(err).__name__}): name another.") from err
    rows = [JOINED | row if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else rows
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise InputError(f"{path} is not a table of settings as `fedlib tune` writes it: name another.")
    return rows


def find(rows: list[Row], setting: Row) -> Row | None:
    """The row whose rates suit a run with this ``setting``; None if none does.

    A row suits if it agrees in what it must (data, model, protocol, optimiser, whether all clients take part or some,
    whether they are stores) and its choice is made; of several, the one that agrees in most of the rest is taken, the
    first of equals.
    ``setting`` may leave out what a run does not have, such as the metric.
    """

    def agreement(row: Row) -> int:
        return sum(name in setting and row[name] == setting[name] for name in SHOULD_AGREE)

    suited = [row for row in rows if row["lr"] is not None and all(row[name] == setting[name] for name in MUST_AGREE)
              and row.get("protect") == setting.get("protect")
              and (row["clients_per_round"] == 1) == (setting["clients_per_round"] == 1)
              and (row["stores"] is None) == (setting["stores"] is None)]  # fmt: skip
    return max(suited, key=agreement, default=None)


def same(row: Row, setting: Row) -> bool:
    """Whether a row was made under exactly this ``setting``."""
    return all(row[name] == setting[name] for name in SETTING) and row.get("protect") == setting.get("protect")


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not {*SETTING, "grid", "lr", "lr_items", "valid"} <= row.keys():
        return False
    rates = [row["lr"], row["lr_items"]]
    return rates == [None, None] or all(isinstance(x, int | float) and 0 < x < float("inf") for x in rates)
