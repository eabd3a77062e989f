"""The API pages show every public name of the package, and nothing that is not there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import fedlib

sphinx_inventory = pytest.importorskip("sphinx.util.inventory", reason="the book's tools are not installed")

BOOK = Path(__file__).resolve().parents[1] / "book"
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in sorted((BOOK / "api").glob("*.md")))
ON_PAGES = re.findall(r"^\.\. automodule:: ([\w.]+)$", PAGES, flags=re.MULTILINE)

# How files are read and fetched, and the words and noise of the shop: no program outside the package calls them.
INTERNAL = {f"fedlib.data.{name}" for name in ("assemble", "download", "files", "noise", "words")}
CONF = """
extensions = ["myst_parser", "api"]
include_patterns = ["api/*.md"]
root_doc = "api/index"
myst_enable_extensions = ["dollarmath"]
"""


def public(module_name: str) -> set[str]:
    """The full names of the functions, classes and exceptions that a module defines for others."""
    named = {name: thing for name, thing in vars(importlib.import_module(module_name)).items() if name[0] != "_"}
    origin = {name: thing.func if isinstance(thing, partial) else thing for name, thing in named.items()}
    return {
        f"{module_name}.{name}"
        for name, thing in origin.items()
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == module_name
    }


def test_every_module_has_its_place_on_one_page() -> None:
    modules = {
        module.name
        for module in pkgutil.walk_packages(fedlib.__path__, "fedlib.")
        if not module.ispkg and not re.match(r"fedlib\.(commands\.|cli$|__main__$)", module.name)
    }
    assert sorted(ON_PAGES) == sorted(modules - INTERNAL), "add the new module to a page of book/api, or to INTERNAL"


def test_the_first_page_names_what_can_be_imported_from_fedlib() -> None:
    index = (BOOK / "api" / "index.md").read_text(encoding="utf-8")
    linked = re.findall(r"\{py:\w+\}`~(fedlib[\w.]+)`", index)
    for full in linked:
        module, _, name = full.rpartition(".")
        assert getattr(importlib.import_module(module), name) is getattr(fedlib, name)
    assert sorted(full.rpartition(".")[2] for full in linked) == sorted({*fedlib.__all__} - {"__version__"})


def test_the_built_pages_hold_exactly_the_public_names(tmp_path: Path) -> None:
    """autodoc leaves out what has no docstring without a word, so the built index is compared with the modules."""
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(BOOK / '_ext')!r})\n{CONF}", encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-b",
        "html",
        "-c",
        str(tmp_path),
        str(BOOK),
        str(tmp_path / "out"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with (tmp_path / "out" / "objects.inv").open("rb") as file:
        built = sphinx_inventory.InventoryFile.load(file, "", lambda base, uri: uri)
    shown = {name for kind in ("function", "class", "exception") for name in built.get(f"py:{kind}", {})}
    assert shown == {name for module in ON_PAGES for name in public(module)} | {"fedlib.cli.main"}
    page = (tmp_path / "out" / "api" / "tools.html").read_text(encoding="utf-8")
    assert "--clients-per-round" in page and "--grid-items" in page
