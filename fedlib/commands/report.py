"""What a run hands on: a JSON document for scripts, a short summary for people."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy
import pandas as pd
import torch

import fedlib
from fedlib.commands.build import Experiment
from fedlib.commands.options import RunOptions
from fedlib.data.interactions import Split
from fedlib.run.result import Result
from fedlib.select import PrototypeSelection


@dataclass(frozen=True)
class Seconds:
    """Wall-clock times of a run: before the first round, of each round, of each evaluation, and all together."""

    prepare: float
    rounds: list[float]
    evaluations: list[float]
    total: float


def make_report(
    options: RunOptions, split: Split, config: dict[str, Any], seconds: Seconds, metrics: dict[str, float],
    valid_metrics: dict[str, float], history: list[dict], ledger: list[dict], device: str,
) -> dict[str, Any]:  # fmt: skip
    """The document ``--out`` writes: strict JSON, null where there is no number."""
    common = {name: getattr(options, name) for name in ("dataset", "backbone", "seed", "split_seed")}
    common |= {"ks": list(options.ks), "notes": list(split.data.notes)}
    return {
        "config": common | config,
        "protocol": split.protocol,
        "metrics": metrics,
        "valid_metrics": valid_metrics,
        "history": history,
        "seconds": {
            "prepare": seconds.prepare,
            "round_median": median(seconds.rounds) if seconds.rounds else None,
            "evaluate_median": median(seconds.evaluations) if seconds.evaluations else None,
            "total": seconds.total,
        },
        "ledger": ledger,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
            "fedlib": fedlib.__version__,
        },
        "data_sha256": split.data.sha256,
        "test_sha256": split.test_sha256,
    }  # fmt: skip


def about(options: RunOptions, made: Experiment, result: Result) -> dict[str, Any]:
    """What a federated run was made with."""
    source = made.select.prototypes.source if isinstance(made.select, PrototypeSelection) else None
    config = {
        "variant": options.variant, "local_only": options.local_only, "rounds": options.rounds,
        "stores": options.stores, "partition": (options.partition or "random") if options.stores else None,
        "global_share": options.global_share, "executor": options.executor, "chunk": result.chunk,
        "settings": made.settings, "items": options.items, "prototypes": source,
    } | (made.items.space.about() if made.items else {})  # fmt: skip
    return config | {"model" if name == "backbone" else name: value for name, value in result.config.items()}


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, with None where there is no finite number."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


NEGATIVES = {
    "untouched": "untouched items, so the held-out ones are spared (--negatives-from unobserved tells the model less)",
    "unobserved": "unobserved items, the held-out ones among them",
}


def summary(report: dict[str, Any]) -> str:
    """A few lines for a reader: what was run, the test metrics, and how long it took."""
    config, seconds, ks = report["config"], report["seconds"], report["config"]["ks"]
    model = f"{config['backbone']} ({config['variant']})" if "variant" in config else config["backbone"]
    names = dict.fromkeys(name.partition("@")[0] for name in report["metrics"])
    lines = [f"{model} on {config['dataset']}, protocol {report['protocol']}, {report['device']}", *config["notes"]]
    if "local" in config:
        local = config["local"]
        lines += [f"learning rate {local['lr']:g}, of items {local['lr_items']:g} ({config['settings']})"]
        lines += [f"training negatives: {NEGATIVES[local['negatives_from']]}"]
    lines += ["", " " * 10 + "".join(f"{'@' + str(k):>10}" for k in ks)]
    lines += [f"{name:10}" + "".join(f"{report['metrics'][f'{name}@{k}']:10.4f}" for k in ks) for name in names]
    times = {name.replace("_", " "): value for name, value in seconds.items() if value is not None}
    return "\n".join([*lines, "", "seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in times.items())])
