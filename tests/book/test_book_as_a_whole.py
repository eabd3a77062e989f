"""What holds for all chapters together, and for the repository they are in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedlib.reproduce.results import read_file
from tests.book.chapter import NOTEBOOKS, ROOT, read

BUDGET = {"smoke": 360, "cpu": 2400}  # seconds for all chapters
MOST_BYTES = 60_000_000
# Tables, arrays, models, archives, photographs: nothing of the kind has a reason to be here yet.
DATA = re.compile(
    r"\.(csv|tsv|dat|data|base|test|inter|item|user|jsonl|npy|npz|pkl|pickle|parquet|feather|arrow|h5|hdf5|db|sqlite|mat"
    r"|pt|pth|ckpt|safetensors|bin|gz|bz2|xz|zst|zip|tar|tgz|7z|rar|jpe?g|png|gif|webp)$",
    flags=re.IGNORECASE,
)


def files() -> list[Path]:
    """What git keeps, or would keep: all files it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def too_slow(runs: list[dict[str, int]]) -> list[str]:
    """Complaints about the seconds of the chapters, each by profile."""
    totals = {name: sum(run.get(name, 0) for run in runs) for name in BUDGET}
    return [
        f"all chapters take {total} s in profile {name}, but may take {BUDGET[name]} s"
        for name, total in totals.items()
        if total > BUDGET[name]
    ]


def test_every_chapter_has_both_files() -> None:
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in (ROOT / "notebooks").glob("*.py")}


def test_all_chapters_together_are_quick_enough() -> None:
    runs = [read(path).stamp.get("runs", {}) for path in NOTEBOOKS]
    assert not too_slow([{name: run["seconds"] for name, run in chapter.items()} for chapter in runs])


@pytest.mark.parametrize("runs", [[{"smoke": 20}] * 19, [{"smoke": 9, "cpu": 170}] * 15])
def test_slow_chapters_would_be_noticed(runs: list[dict[str, int]]) -> None:
    assert len(too_slow(runs)) == 1


def test_the_repository_is_small() -> None:
    assert sum(path.stat().st_size for path in files()) < MOST_BYTES


def test_no_data_set_is_in_the_repository() -> None:
    kept = [path.relative_to(ROOT).as_posix() for path in files()]
    assert "pyproject.toml" in kept
    rows = [name for name in kept if re.fullmatch(r"book/results/[\w.-]+\.jsonl", name)]
    assert not [name for name in kept if DATA.search(name) and name not in rows]
    for name in rows:  # results named after their data set, and nothing else
        assert all({"cell", "metrics", "ranks"} <= row.keys() for row in read_file(ROOT / name))


@pytest.mark.parametrize("name", ["u.data.gz", "ml-100k/u.item", "posters/1.JPG", "items.csv", "model.safetensors"])
def test_a_data_set_would_be_noticed(name: str) -> None:
    assert DATA.search(name)


def test_nbmake_collects_every_notebook() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--nbmake", "notebooks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    collected = set(re.findall(r"notebooks/(\w+)\.ipynb", done.stdout))
    assert collected == {path.stem for path in NOTEBOOKS}, done.stdout + done.stderr
