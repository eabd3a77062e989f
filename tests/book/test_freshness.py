"""Which modules a chapter's hash covers, and what changes it."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

import fedlib
from tests.book.chapter import tool

freshness = tool("freshness")
PACKAGES = [
    ".".join(["fedlib", *path.parent.relative_to(freshness.PACKAGE).parts])
    for path in sorted(freshness.PACKAGE.rglob("__init__.py"))
]
Hash = Callable[[str, str, str], str]


def reached(code: str) -> set[str]:
    return freshness.reached(ast.parse(code))


def chapter(*cells: str) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(cell) for cell in cells])


def test_the_examples_in_its_docstrings_are_true() -> None:
    found = doctest.testmod(freshness)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_name_is_found_where_python_finds_it(package: str) -> None:
    module = importlib.import_module(package)
    for name in set(getattr(module, "__all__", [])) - {"__version__"}:
        assert freshness.home(f"{package}.{name}") == getattr(module, name).__module__


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_a_package_below_fedlib_does_nothing_but_import(package: str) -> None:
    # Otherwise it would have to count itself.
    _, *rest = freshness.parsed(package).body
    assert all(
        isinstance(line, ast.Import | ast.ImportFrom) or ast.unparse(line).startswith("__all__") for line in rest
    )


@pytest.mark.parametrize(
    "code",
    [
        "from fedlib import FedMF",
        "def f():\n    from fedlib.backbones import FedMF as Model",
        "import fedlib\nfedlib.FedMF(dim=2)",
        "import fedlib as f\nf.backbones.FedMF(dim=2)",
        "from fedlib import backbones\nbackbones.FedMF.alone",
    ],
)
def test_all_ways_to_take_a_name_reach_its_module_and_what_that_needs(code: str) -> None:
    needed = ("backbones.fedmf", "backbones.base", "backbones.linear", "rng", "scatter", "shapes")
    others = ("backbones.fedncf", "backbones.ngcf", "federation", "evaluation.rankings", "cli", "book.chapter")
    assert {f"fedlib.{name}" for name in needed} <= reached(code)
    assert not {f"fedlib.{name}" for name in others} & reached(code)


def test_a_run_reaches_the_loop_but_not_the_command_line() -> None:
    found = reached("from fedlib import federate")
    assert {
        "fedlib.federation",
        "fedlib.engine.clients",
        "fedlib.engine.training",
        "fedlib.server.sums",
        "fedlib.evaluation.metrics",
    } <= found
    assert not {
        name for name in found if name in {"fedlib.cli", "fedlib.book.chapter"} or name.startswith("fedlib.commands")
    }


def test_every_import_of_the_package_is_absolute() -> None:
    for module in freshness.files():
        freshness.needs(module)
    with pytest.raises(ValueError, match="write the module's full name"):
        reached("from .data import load")


SMALL = {
    "__init__.py": "from fedlib.models import Model, Other",
    "cli.py": "import os",
    "rates.py": "import json\nRATE = 0.1\nTABLE = 'tuned.json'",
    "tuned.json": "[1]",
    "other.json": "[1]",
    "models/__init__.py": "from fedlib.models.one import Model\nfrom fedlib.models.two import Other",
    "models/one.py": '"""Docs."""\nclass Model:\n    """Docs."""\n    def rate(self):\n        """Docs."""\n'
    "        from fedlib.rates import RATE\n        return RATE",
    "models/two.py": "Other = 2",
}


@pytest.fixture
def modules_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hash:
    """The hash of a chapter's modules where fedlib is the small package above, with one of its files changed."""

    def hash_of(name: str, old: str, new: str) -> str:
        for other, text in SMALL.items():
            (tmp_path / other).parent.mkdir(exist_ok=True)
            (tmp_path / other).write_text(text.replace(old, new) if other == name else text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, "freshness")  # what a module remembers of the real package is not for here
        apart: Any = tool("freshness")
        apart.PACKAGE = tmp_path
        return apart.hashes(chapter("from fedlib import Model"))["modules"]

    return hash_of


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models/one.py", "Docs.", "Other words."),
        ("models/one.py", '        """Docs."""\n', ""),
        ("models/one.py", "return RATE", "\n        return RATE  # as it is"),
        ("models/two.py", "2", "3"),
        ("cli.py", "os", "sys"),
        ("other.json", "1", "2"),
        ("__init__.py", "Model, Other", "Model"),
    ],
)
def test_words_layout_and_what_is_not_reached_do_not_matter(name: str, old: str, new: str, modules_hash: Hash) -> None:
    assert old in SMALL[name]
    assert modules_hash(name, old, new) == modules_hash(name, "", "")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rates.py", "0.1", "0.2"),
        ("rates.py", "json", "math"),
        ("models/one.py", "return RATE", "return -RATE"),
        ("models/one.py", "RATE", "TABLE"),
        ("models/__init__.py", "one import Model\nfrom fedlib.models.two import Other", "two import Other as Model"),
        ("tuned.json", "1", "2"),
    ],
)
def test_what_a_reached_module_does_matters(name: str, old: str, new: str, modules_hash: Hash) -> None:
    assert old in SMALL[name]
    assert modules_hash(name, old, new) != modules_hash(name, "", "")


def test_the_cells_hash_knows_code_but_not_the_set_up() -> None:
    def hash_of(setup: str, *rest: str) -> str:
        first = new_code_cell(setup, metadata={"tags": ["setup"]})
        return freshness.hashes(new_notebook(cells=[first, *chapter(*rest).cells]))["cells"]

    assert hash_of("a = 1", "b = 2", "c = 3") == hash_of("a = 9", "b = 2", "c = 3")
    assert len({hash_of("", *rest) for rest in (("b = 2", "c = 3"), ("b = 2", "c = 4"), ("b = 2\nc = 3",))}) == 3


def test_data_sets_are_those_named_in_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDLIB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    named = chapter('name = "synthetic" if smoke else "ml-100k"', "# ml-1m")
    assert freshness.data_hashes(named) == {"synthetic": fedlib.load("synthetic").sha256}  # ml-100k is not at hand
    assert freshness.data_hashes(chapter("a = 1")) == {}


def test_finished_rows_count_where_their_table_and_data_set_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(freshness, "RESULTS", tmp_path)
    monkeypatch.setenv("FEDLIB_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "paper.table1.ml-100k.jsonl").write_text("{}", encoding="utf-8")
    reads = chapter('read_rows("paper.table1", "ml-100k")')
    before = freshness.data_hashes(reads)
    assert before.keys() == {"paper.table1.ml-100k"}
    assert freshness.data_hashes(chapter('read_rows("paper.table1", "ml-1m")')) == {}
    (tmp_path / "paper.table1.ml-100k.jsonl").write_text("[]", encoding="utf-8")
    assert freshness.data_hashes(reads) != before


def test_data_sets_at_hand_are_hashed(real_data: Path) -> None:
    sha256 = fedlib.load("ml-100k", root=real_data, download=False).sha256
    assert freshness.data_hashes(chapter('load("ml-100k")')) == {"ml-100k": sha256}
