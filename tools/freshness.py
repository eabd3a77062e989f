"""What a chapter's outputs depend on, as hashes: its code, the modules of fedlib it reaches, the lock and its data.

``tools/execute.py`` stores them with the outputs and ``tests/book`` computes them again: where one differs, the outputs
belong to something else, and the chapter has to be executed again. A module counts by what it does: its comments,
docstrings and layout do not. Which modules a chapter reaches is read from import statements, those inside functions
included. A package's ``__init__.py`` only says where a name lives, so it is looked through and does not count itself.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

import fedlib
from fedlib.data import load, names

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(fedlib.__file__).parent
RESULTS = ROOT / "book" / "results"


def digest(*texts: str) -> str:
    """sha256 of the texts, each ended so that moving a line from one to the next changes it."""
    return hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()


def hashes(notebook: NotebookNode) -> dict[str, Any]:
    """All of a chapter's hashes. The set-up cell is generated and stands in no hash of the cells."""
    modules = sorted(reached(tree(notebook)))
    return {
        "cells": digest(
            *(cell.source.rstrip() for cell in code(notebook) if "setup" not in cell.metadata.get("tags", []))
        ),
        "modules": digest(*(text for module in modules for text in (module, *content(module)))),
        "lock": digest((ROOT / "requirements.lock").read_text(encoding="utf-8")),
        "data": data_hashes(notebook),
    }


def data_hashes(notebook: NotebookNode) -> dict[str, str]:
    """The hashes of the data sets whose names stand in the code as strings, of those that are at hand.

    Finished rows of a table count as data: those of ``table.dataset`` where both names stand in the code.
    """
    found = {node.value for node in ast.walk(tree(notebook)) if isinstance(node, ast.Constant)}
    sets = {name: data_hash(name) for name, _, place in sorted(names()) if place != "not here" and name in found}
    rows = [path for path in sorted(RESULTS.glob("*.jsonl")) if {*path.stem.rsplit(".", 1)} <= found]
    return sets | {path.stem: digest(path.read_text(encoding="utf-8")) for path in rows}


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tree(notebook: NotebookNode) -> ast.Module:
    """The syntax tree of all of a chapter's code."""
    return ast.parse("\n".join(cell.source for cell in code(notebook)))


@cache
def data_hash(name: str) -> str:
    """The sha256 of a data set's interactions."""
    return load(name, download=False).sha256


def reached(code: ast.Module) -> set[str]:
    """The modules of fedlib that the code uses, directly or through one another."""
    found: set[str] = set()
    todo = homes(code)
    while todo:
        found |= todo
        todo = set().union(*map(needs, todo)) - found
    return found


@cache
def needs(module: str) -> set[str]:
    """The modules of fedlib that a module uses directly."""
    return homes(parsed(module))


def homes(code: ast.Module) -> set[str]:
    """The modules of fedlib that define what the code imports or takes as an attribute of an imported package."""
    return {module for name in uses(code) if (module := home(name))}


def uses(code: ast.Module) -> Iterator[str]:
    """The full dotted names of what the code takes from fedlib: ``plots.curve`` is ``fedlib.book.plots.curve``."""
    meant: dict[str, str] = {}
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                top = alias.name.partition(".")[0]
                meant[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"a relative import, of {node.module}: write the module's full name")
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                meant[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in meant:
                yield f"{meant[first]}.{rest}"


def home(name: str) -> str | None:
    """The module that defines a dotted name; None if none does: it is a package, or not fedlib's.

    >>> home("fedlib.FedMF"), home("fedlib.data.load"), home("fedlib.rng.key"), home("fedlib.data"), home("torch.nn")
    ('fedlib.backbones.fedmf', 'fedlib.data.sources', 'fedlib.rng', None, None)
    """
    top, *parts = name.split(".")
    if top != "fedlib":
        return None
    module = top
    for part in parts:
        if f"{module}.{part}" in files():
            module = f"{module}.{part}"
        elif not is_package(module):
            return module
        else:
            origin = exports(module).get(part)
            return home(origin) if origin else None
    return None if is_package(module) else module


@cache
def exports(package: str) -> dict[str, str]:
    """``{name: where it comes from}`` of what a package offers without defining it."""
    imports = [node for node in ast.walk(parsed(package)) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


@cache
def files() -> dict[str, Path]:
    """The file of each module and package of fedlib."""
    found = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(["fedlib", *parts]).removesuffix(".__init__"): path for path, parts in found.items()}


def is_package(module: str) -> bool:
    return files()[module].name == "__init__.py"


@cache
def parsed(module: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(files()[module].read_text(encoding="utf-8"))


@cache
def content(module: str) -> list[str]:
    """What a module's hash is made of: its code, and the tables of numbers beside it that it names."""
    code = meaning(parsed(module))
    tables = sorted(files()[module].parent.glob("*.json"))
    return [code, *(table.read_text(encoding="utf-8") for table in tables if table.name in code)]


def meaning(node: Any) -> str:
    """A syntax tree as text without docstrings, the same in every version of Python.

    >>> meaning(ast.parse("def f(): return 1")) == meaning(ast.parse("def f():  # one\\n    'Give 1.'\\n    return 1"))
    True
    """
    if isinstance(node, list):
        return f"[{', '.join(map(meaning, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    # Later versions of Python add fields that are empty in the code of earlier ones.
    filled = [f"{name}={meaning(value)}" for name, value in fields.items() if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(filled)})"
