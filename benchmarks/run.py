"""Runs the benchmarks, each in a process of its own, and prints one table.

``python -m benchmarks.run [--only NAME]``; NAME is a part of a benchmark's key.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks import (
    bench_backbones,
    bench_device,
    bench_engine,
    bench_graph,
    bench_protect,
    bench_ranking,
    bench_secagg,
    bench_select,
    machine,
)
from fedlib import FedMF, PFedRec

Row = dict[str, Any]


def benchmarks() -> dict[str, tuple[int, Callable[..., Any], tuple]]:
    """Key -> (threads, function, arguments)."""
    table: dict[str, tuple[int, Callable[..., Any], tuple]] = {
        "pfedrec": (1, bench_engine.pfedrec_ml100k, ()),
        "oracle-943": (1, bench_engine.against_oracle, (943, 1_682, PFedRec(32), 15)),
        "oracle-943-fedmf": (1, bench_engine.against_oracle, (943, 1_682, FedMF(32), 15)),
        "oracle-500": (1, bench_engine.against_oracle, (500, 20_000, PFedRec(32), 25)),
        "oracle-500-fedmf": (1, bench_engine.against_oracle, (500, 20_000, FedMF(32), 25)),
        "growth-1000": (1, bench_engine.growth, (1_000,)),
        "growth-50000": (1, bench_engine.growth, (50_000,)),
        "backbones-ml-100k": (1, bench_backbones.rounds, ("ml-100k", 8)),
        "backbones-ml-1m": (1, bench_backbones.rounds, ("ml-1m", 5)),
        "ranking": (2, bench_ranking.ranking_rows, (2,)),
        "sparse": (1, bench_graph.sparse_product, ()),
        "ngcf-gowalla": (1, bench_graph.ngcf_epoch, ("gowalla",)),
        "ngcf-yelp2018": (1, bench_graph.ngcf_epoch, ("yelp2018",)),
        "stores-gowalla": (1, bench_graph.fedngcf_round, ()),
        "secagg": (1, bench_secagg.secure_sums, ()),
        "protect": (1, bench_protect.dp_round, ("ml-100k",)),
        "select": (1, bench_select.selection, ("ml-100k",)),
        "robust": (1, bench_protect.robust_rules, ()),
        "chunk": (1, bench_engine.best_chunk, ("cpu",)),
        "waits": (1, bench_device.waits, ()),
    }
    if torch.cuda.is_available():
        table["chunk-cuda"] = (1, bench_engine.best_chunk, ("cuda",))
        table["ngcf-gowalla-cuda"] = (1, bench_graph.ngcf_epoch, ("gowalla", "cuda"))
        table["pfedrec-cuda"] = (1, bench_engine.pfedrec_ml100k, ("cuda",))
    return table


def in_own_process(threads: int, work: Callable[..., Any], arguments: tuple) -> Any:
    """Call ``work`` in a fresh process, so that its memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=torch.set_num_threads, initargs=(threads,)) as alone:
        return alone.submit(work, *arguments).result()


def line(row: Row) -> str:
    """One row of the table."""
    floor = row.get("floor_seconds")
    above = f"{floor:.3f} s ({row['floor_what']}), {row['seconds'] / floor:.1f}x above" if floor else ""
    extra = [f"{row['times']:.1f} times faster"] if "times" in row else []
    extra += [f"{row['per_interaction'] * 1e6:.2f} us/interaction"] if "per_interaction" in row else []
    extra += [row["note"]] if "note" in row else []
    cells = [
        row["name"],
        f"{row['seconds']:.3f}" if "seconds" in row else "-",
        row.get("asked", "-"),
        f"{row['peak_mb']:.0f}",
        above,
        "; ".join(extra),
    ]
    return f"| {' | '.join(cells)} |"


def main(only: str | None = None) -> None:
    """Print the table; a benchmark whose equality check fails stops everything."""
    chosen = {key: entry for key, entry in benchmarks().items() if only is None or only in key}
    if not chosen:
        raise SystemExit(f'There is no benchmark "{only}": choose from {", ".join(benchmarks())}.')
    print(in_own_process(1, machine.describe, (1,)), flush=True)
    print("| benchmark | seconds (median) | asked | peak MB | floor | notes |\n|---|---|---|---|---|---|", flush=True)
    for threads, work, arguments in chosen.values():
        rows = in_own_process(threads, work, arguments)
        for row in rows if isinstance(rows, list) else [rows]:
            print(line(row), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    main(parser.parse_args().only)
