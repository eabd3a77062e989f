"""The repository's address stands in one place, and everything made from it agrees."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml

from fedlib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SOMEWHERE = "https://github.com/some-group/federated-recommendation-book"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("address", ROOT / "tools" / "address.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up there
    spec.loader.exec_module(module)
    return module


address = load_tool()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Tree:
    """A copy of all files the tool reads or writes, and the tool with that copy before it."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]) -> None:
        self.root, self.printed = root, printed
        (root / "notebooks").mkdir()
        for path in (ROOT / "_config.yml", ROOT / "README.md", *(ROOT / "notebooks").glob("*.*")):
            shutil.copy(path, root / path.relative_to(ROOT))
        patch.setattr(address, "ROOT", root)

    def run(self, *options: str) -> Outcome:
        code = address.main(list(options))
        return Outcome(code, *self.printed.readouterr())

    def contents(self) -> dict[str, str]:
        files = (path for path in self.root.rglob("*.*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_text(encoding="utf-8") for path in files}

    def chapters(self, kind: str) -> list[Path]:
        return sorted((self.root / "notebooks").glob(f"*.{kind}"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tree:
    return Tree(tmp_path, monkeypatch, capsys)


def test_everything_made_from_the_address_agrees_today() -> None:
    command = [sys.executable, ROOT / "tools" / "address.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_address_is_set_everywhere_and_taken_away_again(tree: Tree) -> None:
    assert tree.run("--set", "", "--branch", "main").code == 0  # wherever the project lives now
    before = tree.contents()
    assert tree.run("--set", SOMEWHERE).code == 0
    after = tree.contents()
    changed = {name for name in after if after[name] != before[name]}
    chapters = {name for name in after if name.startswith("notebooks")}
    assert changed == {"_config.yml", "README.md", *chapters}
    assert tree.run("--check").code == 0
    assert tree.run().out == ""  # nothing left to write
    assert tree.contents() == after
    assert address.repository(tree.root) == address.Address(SOMEWHERE, "main")
    assert address.colab_link(address.repository(tree.root), "03_federated_loop") in after["README.md"]

    config_before, config_after = (text["_config.yml"].splitlines() for text in (before, after))
    differ = [pair for pair in zip(config_before, config_after, strict=True) if pair[0] != pair[1]]
    assert differ == [('  url: ""', f'  url: "{SOMEWHERE}"')]
    assert tree.run("--set", "").code == 0
    assert tree.contents() == before


def test_a_new_address_keeps_what_a_chapter_has_computed(tree: Tree) -> None:
    def computed(notebook: Path) -> list[tuple[object, object]]:
        cells = nbformat.read(notebook, as_version=4).cells
        return [(cell.get("outputs"), cell.get("execution_count")) for cell in cells]

    before = {path.name: computed(path) for path in tree.chapters("ipynb")}
    assert tree.run("--set", SOMEWHERE, "--branch", "next").code == 0
    for path in tree.chapters("ipynb"):
        assert computed(path) == before[path.name]
        (cell,) = (c for c in nbformat.read(path, as_version=4).cells if "setup" in c.metadata.get("tags", []))
        assert "federated-recommendation-book@next" in cell.source
        assert cell.source in path.with_suffix(".py").read_text(encoding="utf-8")


def test_a_chapter_with_another_set_up_is_named_and_mended(tree: Tree) -> None:
    chapter = tree.chapters("py")[0]
    good = chapter.read_text(encoding="utf-8")
    chapter.write_text(good.replace("# @title Set-up", "# @title set up"), encoding="utf-8")
    done = tree.run("--check")
    assert (done.code, done.out) == (1, f"notebooks/{chapter.name} differs\n")
    assert tree.run().out == f"notebooks/{chapter.name} written\n"
    assert chapter.read_text(encoding="utf-8") == good
    chapter.write_text(good.replace('"setup"', '"other"'), encoding="utf-8")
    done = tree.run("--check")
    assert (done.code, done.err) == (2, f'{chapter.name} has 0 cells tagged "setup", but must have one.\n')


@pytest.mark.parametrize(
    "url",
    [
        "github.com/ORG/REPO",
        "http://github.com/ORG/REPO",
        "https://github.com/ORG",
        "https://github.com/ORG/REPO/",
        "https://github.com/ORG/REPO.git",
        "https://github.com/ORG/REPO/tree/main",
        "https://example.org/ORG/REPO",
        'https://github.com/ORG/REPO"; import os; "',
    ],
)
def test_a_bad_address_is_refused_in_a_sentence_and_nothing_is_written(url: str, tree: Tree) -> None:
    before = tree.contents()
    done = tree.run("--set", url)
    assert done.code == 2
    assert done.err.startswith(f"The address is {url!r}, but must look like https://github.com/ORG/REPO")
    assert done.err.count("\n") == 1
    assert tree.contents() == before


def test_a_bad_branch_and_a_missing_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a name such as main"):
        address.parse(SOMEWHERE, 'main" + "')
    for config in ("title: x\n", "repository: {url: ''}\n", "# nothing\n"):
        (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
        with pytest.raises(InputError, match="must have the key repository"):
            address.repository(tmp_path)


def test_only_the_two_values_change_in_either_style_of_yaml() -> None:
    flow = "a: 1 # one\nrepository: {branch: main, url: '', path_to_book: ''}  # here\nb: [2]\n"
    changed = address.with_fields(flow, url=SOMEWHERE, branch="main")
    assert changed == flow.replace("url: ''", f'url: "{SOMEWHERE}"')
    assert yaml.safe_load(changed)["repository"]["url"] == SOMEWHERE


def test_the_set_up_cell_is_short_and_installs_only_where_fedlib_is_missing() -> None:
    longest = address.Address(f"https://github.com/{'o' * 39}/federated-recommendation-book", "main")
    cell = address.setup_cell(longest)
    assert all(len(line) <= 78 for line in cell.splitlines())
    (condition,) = (node for node in ast.parse(cell).body if isinstance(node, ast.If))
    asked: list[list[str]] = []
    scope = {"sys": sys, "subprocess": type("", (), {"run": lambda command, check: asked.append(command)})}
    exec(compile(ast.Module(condition.body, []), "cell", "exec"), scope)
    assert asked == [[sys.executable, "-m", "pip", "install", "-q", f"fedlib @ git+{longest.url}@main"]]
    assert ast.unparse(condition.test) == "importlib.util.find_spec('fedlib') is None"


def test_no_other_file_spells_an_address_of_ours() -> None:
    """Neither the real one, but for the places made from it, nor one made up for the time being."""
    here = address.repository()
    made_up = r"github\.com/((ORG|USER|OWNER|YOUR[\w-]*)/|[\w.-]+/fedlib\b)"
    ours = re.compile(f"{made_up}|{re.escape(here.url)}" if here else made_up, flags=re.IGNORECASE)
    made_from_it = {"_config.yml", "README.md", *(f"notebooks/{path.name}" for path in (ROOT / "notebooks").iterdir())}
    examples = {"tools/address.py", "tests/test_address.py"}
    folders = (".ci", ".github", "benchmarks", "book", "fedlib", "notebooks", "tests", "tools")
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    kinds = {".bib", ".cff", ".ipynb", ".md", ".py", ".sh", ".toml", ".yml", ".yaml", ""}
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and path.suffix in kinds and name not in examples | (made_from_it if here else set()):
            assert not ours.search(path.read_text(encoding="utf-8")), name
