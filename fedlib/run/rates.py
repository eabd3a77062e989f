"""The learning rates that were chosen on validation data: the table ``fedlib tune`` writes and runs read.

A row says under which settings the rates were chosen and everything that was tried::

    {"dataset", "backbone", "optimizer", ...,   # the options that decide which runs may read it, and how like it one is
     "metric",
     "grid": [{"lr", "lr_items", "valid"}, ...],  # valid null: it diverged
     "lr", "lr_items", "valid", "fedlib",         # the choice, null before it; lr_fusion where there is such a rate
     "protect"}                                   # only where something did

No number in it comes from test data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlib.errors import InputError
from fedlib.shapes import Rates

Row = dict[str, Any]
PACKAGED = Path(__file__).with_name("tuned.json")
RATES = {"network": "lr", "items": "lr_items", "fusion": "lr_fusion"}  # as rows and LocalTraining name them


@dataclass(frozen=True)
class Settings:
    """Which settings a row names: what it must share with a run that reads it, and what it should.

    ``absent`` is what a row means that does not name a setting, because there was none when it was made.
    """

    must: tuple[str, ...]
    should: tuple[str, ...]
    absent: Row

    def read(self, path: Path) -> list[Row]:
        """The rows of a table, complete. Raises InputError for a file that is not one."""
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise InputError(
                f"{path} is not a readable table of settings ({type(err).__name__}): name another."
            ) from err
        rows = [self.absent | row if isinstance(row, dict) else row for row in rows] if isinstance(rows, list) else rows
        if not isinstance(rows, list) or not all(self._is_row(row) for row in rows):
            raise InputError(f"{path} is not a table of settings as `fedlib tune` writes it: name another.")
        return rows

    def find(self, rows: list[Row], setting: Row) -> Row | None:
        """The row whose rates suit a run with this ``setting``; None if none does.

        A row suits if it agrees in what it must, and in whether all clients take part or some, and whether they are
        stores, and if its choice is made; of several, the one that agrees in most of what it should is taken, the first
        of equals. ``setting`` may leave out what a run does not have, such as the metric.
        """

        def agreement(row: Row) -> int:
            return sum(name in setting and row[name] == setting[name] for name in self.should)

        suited = [row for row in rows if row["lr"] is not None and all(row[name] == setting[name] for name in self.must)
                  and row.get("protect") == setting.get("protect")
                  and (row["clients_per_round"] == 1) == (setting["clients_per_round"] == 1)
                  and (row["stores"] is None) == (setting["stores"] is None)]  # fmt: skip
        return max(suited, key=agreement, default=None)

    def same(self, row: Row, setting: Row) -> bool:
        """Whether a row was made under exactly this ``setting``."""
        names = (*self.must, *self.should)
        return all(row[name] == setting[name] for name in names) and row.get("protect") == setting.get("protect")

    def _is_row(self, row: Any) -> bool:
        needed = {*self.must, *self.should, "grid", "lr", "lr_items", "valid"}
        if not isinstance(row, dict) or not needed <= row.keys():
            return False
        rates = [row[name] for name in RATES.values() if name in row]
        return rates == [None, None] or all(isinstance(x, int | float) and 0 < x < float("inf") for x in rates)


def rates_in(row: Row) -> Rates:
    """The rates in a row whose choice is made, or in an entry of its grid."""
    return Rates(**{field: row[name] for field, name in RATES.items() if name in row})


def as_row(rates: Rates) -> Row:
    """The rates as a row names them; that of a fusion only where there is one."""
    named = {name: getattr(rates, field) for field, name in RATES.items()}
    return {name: value for name, value in named.items() if name != "lr_fusion" or value is not None}
