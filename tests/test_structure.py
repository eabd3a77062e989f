"""The house keeps its shape: imports go down, files and functions stay small, and no engine knows a method by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fedlib

PACKAGE = Path(fedlib.__file__).parent
FILES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
Graph = dict[str, set[str]]


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module of the package that a file names in an import, for types and inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph() -> Graph:
    """Which file imports which. A package's ``__init__`` only says where names live: who imports it, imports them."""
    inits = {name for name in MODULES if f"{name}.__init__" in FILES}
    direct = {name: {found for found in imports(tree) if found in MODULES} for name, tree in MODULES.items()}
    return {
        name: {leaf for found in direct[name] for leaf in (named(found, tree, direct) if found in inits else {found})}
        for name, tree in MODULES.items()
        if name not in inits
    }


def named(package: str, tree: ast.Module, direct: Graph) -> set[str]:
    """The files behind the names that are imported from a package."""
    wanted = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == package
        for alias in node.names
    }
    found = set()
    for node in ast.walk(MODULES[package]):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found |= {node.module for alias in node.names if (alias.asname or alias.name) in wanted}
    return {leaf for leaf in found if leaf in direct and f"{leaf}.__init__" not in FILES}


def circles(arrows: Graph) -> list[set[str]]:
    """The sets of more than one file in which each reaches each."""
    reach = {name: set(found) for name, found in arrows.items()}
    changed = True
    while changed:
        changed = False
        for found in reach.values():
            more = set().union(*(reach[other] for other in found)) - found if found else set()
            changed, _ = changed or bool(more), found.update(more)
    together = {name: {other for other in found if name in reach[other]} | {name} for name, found in reach.items()}
    return [set(group) for group in {frozenset(group) for group in together.values()} if len(group) > 1]


def test_no_circle_of_imports_is_larger_than_two_files() -> None:
    assert [sorted(group) for group in circles(graph()) if len(group) > 2] == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_the_ground_imports_nobody() -> None:
    arrows = graph()
    for name in ("shapes", "scatter", "rng", "errors", "choices", "files", "threads"):
        assert arrows[f"fedlib.{name}"] == set()


def code_lines(node: ast.FunctionDef) -> int:
    """The lines of a function without its docstring."""
    assert node.end_lineno is not None
    first = node.body[0]
    told = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
    return node.end_lineno - node.lineno + 1 - told


def test_files_and_functions_are_small() -> None:
    files = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: lines for name, lines in files.items() if lines > 250} == {}
    functions = {
        f"{name}.{node.name}": code_lines(node)
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > 40} == {}


# What all backbones share; every other file of the folder is a method.
SHARED = {"base", "exchange", "graph", "layers", "linear", "losses", "meeting", "tower", "triples"}
KNOW_NO_METHOD = ("federation", "places", "engine.", "evaluation.", "server.", "stores.", "run.")


def test_loop_and_engine_know_no_method_by_name() -> None:
    """Neither a backbone, nor a place: whatever keeps the contracts can stand in the loop."""
    known = {
        name: found & {other for other in MODULES if is_method(other)}
        for name, found in graph().items()
        if name.removeprefix("fedlib.").startswith(KNOW_NO_METHOD)
    }
    assert {name: methods for name, methods in known.items() if methods} == {}


def is_method(module: str) -> bool:
    """Whether a file is about one method: a backbone, or a place of one of the four folders."""
    _, _, rest = module.partition(".")
    folder, _, name = rest.partition(".")
    if folder == "backbones":
        return bool(name) and name not in SHARED
    return folder in ("select", "augment", "prototypes") and bool(name)
