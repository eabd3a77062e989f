"""What ``fedlib reproduce`` says at its end: the finished rows as a table, beside the paper's where one is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fedlib.reproduce import Cell
from fedlib.reproduce.fedsllm.cells import TABLE2
from fedlib.reproduce.fedsllm.report import beside, complete, runs, spread
from fedlib.reproduce.results import Row


def finished(table: str, cells: Sequence[Cell], rows: Sequence[Row], dataset: str) -> str:
    """The cells' rows in percent; for FedSLLM's Table 2 also, backbone by backbone, beside what the paper prints."""
    names = [cell.name for cell in cells]
    parts = ["In percent, mean ± spread over seeds:", overview(names, rows).to_string(na_rep="")]
    for backbone in complete(rows) if table == TABLE2.name else ():
        if any(name.startswith(f"{backbone}/") for name in names):
            for metric in ("HR@10", "NDCG@10"):
                parts.append(
                    f'\n{backbone}, {metric} in percent; low, high: 95 % interval over seeds and users of "less base"'
                )
                parts.append(beside(rows, backbone, dataset, metric).round(1).to_string(na_rep=""))
    return "\n".join(parts)


def overview(names: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    """A line for each cell that has rows: HR and NDCG at ten, or at the first K there is, and what they were made with.

    Recall stands in for HR where a user has several held-out items.
    """
    lines = {}
    for name in names:
        if found := runs(rows, name):
            k = 10 if "HR@10" in found[0]["metrics"] else next(iter(found[0]["metrics"])).partition("@")[2]
            hits = "HR" if found[0]["ranks"] else "Recall"
            shown = {f"{metric}@{k}": spread(rows, name, f"{metric}@{k}") for metric in (hits, "NDCG")}
            made = {key: found[0][key] for key in ("protocol", "encoder", "prototypes") if key in found[0]}
            lines[name] = shown | {"seeds": len(found)} | made
    return pd.DataFrame.from_dict(lines, orient="index")
