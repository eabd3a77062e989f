"""Run chapters and store their outputs: ``python tools/execute.py --profile cpu [NAME ...]``.

The .py pair is the source: the .ipynb is made from its cells, run from the first to the last in the notebooks' folder,
and stamped with the profile, the device, the versions and the hashes of what it depends on (``tools/freshness.py``).
Nothing volatile is stored, so that a second run of a deterministic chapter differs in the seconds at most. A chapter
that raises is not written.

The stamp's ``runs`` keep the seconds of each profile the same code has run in. The profile ``smoke`` uses made-up data
and never stores its outputs: it, and any other with ``--time-only``, adds its seconds to the stored notebook.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import torch
from freshness import ROOT, data_hashes, digest, hashes
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from fedlib import __version__
from fedlib.files import write_text

NOTEBOOKS = ROOT / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def from_source(source: Path) -> NotebookNode:
    """The notebook of a .py file, without outputs; a cell's id is made of its text, so it is the same everywhere."""
    notebook = jupytext.read(source)
    notebook.metadata = NotebookNode(jupytext={"formats": "ipynb,py:percent"}, kernelspec=KERNEL)
    notebook.nbformat_minor = 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on the .py file's layout
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


def stamp(profile: str) -> dict[str, Any]:
    """Where the outputs come from."""
    versions = {
        "python": platform.python_version(),
        "torch": version("torch").split("+")[0],
        "fedlib": __version__,
    }
    return {"profile": profile, "device": device(), "versions": versions}


def device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def execute(source: Path, profile: str, time_only: bool) -> str:
    """Run one chapter and store what is to be stored; returns a line that says so."""
    target = source.with_suffix(".ipynb")
    notebook = from_source(source)
    now = hashes(notebook)  # of the code that is about to run, not of what it may have become by the end
    seconds = run(notebook)
    now["data"] = data_hashes(notebook)  # a run may fetch a data set
    line = f"{source.stem}: {profile}, {seconds:.0f} s"
    stored = nbformat.read(target, as_version=4) if target.exists() else NotebookNode(metadata={})
    before = stored.metadata.get("fedlib", {})
    same_code = before.get("hashes", {}).get("cells") == now["cells"]
    if time_only and not same_code:
        return f"{line}, not recorded: the stored outputs are of other code; execute it in the profile cpu or full"
    if not time_only:
        notebook.metadata.pop("widgets", None)
        notebook.metadata.language_info.pop("version", None)
        notebook.metadata["fedlib"] = stamp(profile) | {"hashes": now, "runs": before["runs"] if same_code else {}}
        stored = notebook
    stored.metadata["fedlib"]["runs"][profile] = {"seconds": round(seconds), "device": device()}
    write_text(target, nbformat.writes(stored) + "\n")
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description="Run chapters and store their outputs.")
    parser.add_argument("names", nargs="*", help="for instance 03_federated_loop; all chapters without a name")
    parser.add_argument("--profile", default="cpu", choices=["smoke", "cpu", "full"])
    parser.add_argument("--time-only", action="store_true", help="add the seconds, leave the stored outputs")
    args = parser.parse_args()
    if args.profile == "full" and not torch.cuda.is_available():
        print("the profile full needs a graphics card that torch can use: take the profile cpu", file=sys.stderr)
        return 2
    os.environ |= {"FEDLIB_PROFILE": args.profile, "TQDM_DISABLE": "1"}

    names = [Path(name).stem for name in args.names] or sorted(path.stem for path in NOTEBOOKS.glob("*.py"))
    for name in names:
        source = NOTEBOOKS / f"{name}.py"
        if not source.exists():
            print(f"there is no chapter {name}: notebooks/{name}.py does not exist", file=sys.stderr)
            return 2
        try:
            print(execute(source, args.profile, args.time_only or args.profile == "smoke"), flush=True)
        except CellExecutionError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
