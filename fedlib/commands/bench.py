"""``fedlib bench``: the benchmarks of the source checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import fedlib
from fedlib.errors import InputError


def bench(only: str | None) -> None:
    """Run all benchmarks, or one. Raises InputError where only the installed package is at hand."""
    root = Path(fedlib.__file__).resolve().parents[1]
    if not all((root / name).is_file() for name in ("pyproject.toml", "benchmarks/run.py")):
        raise InputError("The benchmarks belong to the source checkout, not to the installed package: use a checkout.")
    sys.path.insert(0, str(root))
    importlib.import_module("benchmarks.run").main(only)
