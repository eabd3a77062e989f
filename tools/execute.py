"""Run chapters and store their outputs: ``python tools/execute.py --profile cpu [NAME ...]``.

The .py pair is the source: the .ipynb is made from its cells, run from the first to the last in the notebooks' folder,
and stamped with the profile, the device, the seconds, the versions and a hash of its code. Nothing volatile is stored,
so that a second run of a deterministic chapter differs in the seconds at most. A chapter that raises is not written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from fedlib import __version__

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def digest(*texts: str) -> str:
    """sha256 of the texts, each ended so that moving a line from one to the next changes it."""
    return hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()


def code_hash(notebook: NotebookNode) -> str:
    """A hash of all code cells: it tells whether the stored outputs belong to the code beside them."""
    return digest(*(cell.source.rstrip() for cell in notebook.cells if cell.cell_type == "code"))


def from_source(source: Path) -> NotebookNode:
    """The notebook of a .py file, without outputs; a cell's id is made of its text, so it is the same everywhere."""
    notebook = jupytext.read(source)
    notebook.metadata = NotebookNode(jupytext={"formats": "ipynb,py:percent"}, kernelspec=KERNEL)
    notebook.nbformat_minor = 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        cell.id = digest(cell.cell_type, cell.source, str(seen[cell.source]))[:12]
        seen[cell.source] += 1
    return notebook


def run(notebook: NotebookNode) -> float:
    """Run all cells in place; returns the seconds."""
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    ).execute()
    return time.perf_counter() - start


def stamp(notebook: NotebookNode, profile: str, seconds: float) -> None:
    """Say where the outputs come from, and drop what a rerun would change for no reason."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info.pop("version", None)
    notebook.metadata["fedlib"] = {
        "profile": profile,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "seconds": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "torch": version("torch").split("+")[0],
            "fedlib": __version__,
        },
        "code_sha256": code_hash(notebook),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Run chapters and store their outputs.")
    parser.add_argument("names", nargs="*", help="for instance 03_federated_loop; all chapters without a name")
    parser.add_argument("--profile", default="cpu", choices=["smoke", "cpu", "full"])
    args = parser.parse_args()
    os.environ |= {"FEDLIB_PROFILE": args.profile, "TQDM_DISABLE": "1"}

    names = [Path(name).stem for name in args.names] or sorted(path.stem for path in NOTEBOOKS.glob("*.py"))
    for name in names:
        source = NOTEBOOKS / f"{name}.py"
        if not source.exists():
            print(f"there is no chapter {name}: notebooks/{name}.py does not exist", file=sys.stderr)
            return 2
        notebook = from_source(source)
        try:
            seconds = run(notebook)
        except CellExecutionError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        stamp(notebook, args.profile, seconds)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(f"{name}: {args.profile}, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
