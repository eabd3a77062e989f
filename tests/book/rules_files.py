"""Rules on the two files of a chapter and on how it was executed. Every public function of this file is a rule."""

from __future__ import annotations

from typing import Any

from nbformat import NotebookNode

from tests.book.chapter import Chapter, tags, tool, where

TAGS = {
    "setup", "exercise", "solution",
    "hide-cell", "hide-input", "hide-output", "remove-cell", "remove-input", "remove-output",
    "raises-exception", "skip-execution",
}  # fmt: skip
BUDGET = {"smoke": 20, "cpu": 180, "full": 1200}  # seconds a chapter
MOST_BYTES = 1_000_000


def pair_holds_the_same_cells(chapter: Chapter) -> list[str]:
    """The .ipynb has the cells of the .py file: kind, text, tags, figure options and form view."""
    ours = [(cell.cell_type, cell.source.rstrip(), _options(cell)) for cell in chapter.source.cells]
    theirs = [(cell.cell_type, cell.source.rstrip(), _options(cell)) for cell in chapter.cells]
    if ours == theirs:
        return []
    differ = [cell for cell, a, b in zip(chapter.source.cells, ours, theirs, strict=False) if a != b]
    if differ:
        return [f"{where(differ[0])} of the .py file is another one in the .ipynb: execute the chapter again"]
    return [f"the .py file has {len(ours)} cells and the .ipynb {len(theirs)}: execute the chapter again"]


def cells_have_known_options_only(chapter: Chapter) -> list[str]:
    """A misspelt tag or option does nothing, and nobody would notice."""
    complaints = []
    for cell in chapter.cells:
        unknown = set(tags(cell)) - TAGS | set(cell.metadata) - {"tags", "mystnb", "cellView"}
        complaints += [f"{where(cell)} has the unknown tag or option {name!r}" for name in sorted(unknown)]
    return complaints


def kernel_is_plain_python(chapter: Chapter) -> list[str]:
    kernel = chapter.notebook.metadata.get("kernelspec", {}).get("name")
    return [] if kernel == "python3" else [f"the kernel is {kernel!r}, but everybody has 'python3' only"]


def stamp_says_where_the_outputs_come_from(chapter: Chapter) -> list[str]:
    """Profile, device, versions, seconds and hashes are there, and the profile is one with real data."""
    missing = {"profile", "device", "versions", "runs", "hashes"} - chapter.stamp.keys()
    if missing:
        return [f"the stamp lacks {', '.join(sorted(missing))}: execute the chapter again"]
    profile, runs = chapter.stamp["profile"], chapter.stamp["runs"]
    complaints = []
    if profile not in {"cpu", "full"}:
        complaints.append(f"the outputs come from the profile {profile!r}, but must come from cpu or full")
    if profile not in runs:
        complaints.append(f"the seconds of the run in profile {profile!r} are missing")
    complaints += [f"the run {name!r} is of no known profile" for name in sorted(runs.keys() - BUDGET)]
    complaints += [f"the run {name!r} lacks its device" for name, run in runs.items() if not run.get("device")]
    return complaints


def outputs_belong_to_these_cells(chapter: Chapter) -> list[str]:
    return _stale(chapter, "cells", "its code has changed")


def outputs_belong_to_this_fedlib(chapter: Chapter) -> list[str]:
    return _stale(chapter, "modules", "a module of fedlib that it reaches has changed")


def outputs_belong_to_this_lock(chapter: Chapter) -> list[str]:
    return _stale(chapter, "lock", "requirements.lock has changed")


def outputs_belong_to_this_data(chapter: Chapter) -> list[str]:
    """The data sets that the chapter names and that are at hand, and the finished rows it reads, are what they were."""
    stored = chapter.stamp.get("hashes", {}).get("data", {})
    now = tool("freshness").data_hashes(chapter.notebook)
    return [f"the data {name} is not what it was executed with" for name in now if stored.get(name) != now[name]]


def cells_ran_in_order(chapter: Chapter) -> list[str]:
    """Execution counts are 1, 2, ... over the cells that are to run."""
    ran = [cell for cell in chapter.code if cell.source.strip() and "skip-execution" not in tags(cell)]
    for number, cell in enumerate(ran, start=1):
        if cell.execution_count != number:
            return [
                f"{where(cell)} ran as number {cell.execution_count} in place of {number}: execute it from the start"
            ]
    return []


def no_cell_failed(chapter: Chapter) -> list[str]:
    """An error is stored only where the cell announces it."""
    failed = [cell for cell in chapter.code if any(output.output_type == "error" for output in cell.outputs)]
    return [f"{where(cell)} ended in an error" for cell in failed if "raises-exception" not in tags(cell)]


def nothing_on_stderr(chapter: Chapter) -> list[str]:
    """Warnings and progress bars do not belong on a page."""
    noisy = [cell for cell in chapter.code if any(output.get("name") == "stderr" for output in cell.outputs)]
    return [f"{where(cell)} wrote to stderr" for cell in noisy]


def runs_are_quick_enough(chapter: Chapter) -> list[str]:
    """At most 20 s in smoke, 3 minutes in cpu, 20 minutes in full."""
    runs = {name: run["seconds"] for name, run in chapter.stamp.get("runs", {}).items() if name in BUDGET}
    return [
        f"a run in profile {name} took {seconds} s, but may take {BUDGET[name]} s"
        for name, seconds in runs.items()
        if seconds > BUDGET[name]
    ]


def file_is_small(chapter: Chapter) -> list[str]:
    return (
        [] if chapter.size < MOST_BYTES else [f"the .ipynb has {chapter.size} bytes, but must stay under {MOST_BYTES}"]
    )


def _options(cell: NotebookNode) -> dict[str, Any]:
    return {"tags": tags(cell)} | {name: cell.metadata.get(name) for name in ("mystnb", "cellView")}


def _stale(chapter: Chapter, part: str, reason: str) -> list[str]:
    stored = chapter.stamp.get("hashes", {}).get(part)
    now = tool("freshness").hashes(chapter.notebook)[part]
    return [] if stored == now else [f"{reason} since it was executed: execute it again (make execute)"]
