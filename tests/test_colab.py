"""The set-up cell where a reader meets it: a machine like Colab's, with the usual packages and an older numpy."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, version
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
THERE = ("ipykernel", "matplotlib", "pandas", "pillow", "pip", "requests", "scikit-learn", "torch", "tqdm")
OLDER_NUMPY = "2.0.2" if sys.version_info < (3, 13) else "2.3.2"  # the first that Python has ready-made packages of

ADDRESS = "https://github.com/some-group/federated-recommendation"  # for git another name of a folder of the test's


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def with_needs(*names: str) -> set[str]:
    """The installed distributions ``names`` and, step by step, all that they require here."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in found:
            found.add(name)
            wanted = map(Requirement, distribution(name).requires or [])
            todo += [need.name for need in wanted if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


def take_over(name: str, site: Path) -> None:
    """Put an installed distribution into another site-packages as well, file by file as its RECORD lists them.

    Left out are its commands, and the many small files that only compilers and editors read.
    """
    installed = distribution(name)
    assert installed.files, name
    for file in installed.files:
        source = Path(str(installed.locate_file(file)))
        if ".." in file.parts or source.suffix in {".h", ".pyi"} or not source.exists():
            continue
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, site / file)
        except OSError:  # another file system
            shutil.copy2(source, site / file)


def a_colab(folder: Path) -> Path:
    """An environment with what is ``THERE``, taken over from this one, and an older numpy; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in with_needs(*THERE) - {"numpy"}:
        take_over(name, site)
    python = folder / "bin" / "python"
    options = ["-q", "--retries=1", "--no-deps", "--only-binary=:all:"]
    pip = [str(python), "-m", "pip", "install", *options, f"numpy=={OLDER_NUMPY}"]
    done = subprocess.run(pip, capture_output=True, text=True)
    if "(from versions: none)" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return python


def publish(folder: Path) -> None:
    """Make a git repository of the files of this checkout that a package is built from."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "fedlib", folder / "fedlib", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    run(*git, "init", "-q", "--initial-branch=main", cwd=folder)
    run(*git, "add", ".", cwd=folder)
    run(*git, "commit", "-q", "--no-verify", "-m", "This checkout", cwd=folder)


def generated_cell() -> str:
    """The set-up cell that tools/address.py writes for a repository at ``ADDRESS``."""
    spec = importlib.util.spec_from_file_location("address", ROOT / "tools" / "address.py")
    assert spec is not None
    assert spec.loader is not None
    address = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = address  # a dataclass looks its module up there
    spec.loader.exec_module(address)
    return str(address.setup_cell(address.Address(ADDRESS, "main")))


def run_chapter(name: str, cell: str, python: Path, folder: Path) -> None:
    """Run a chapter from its .py with another set-up cell, in an empty folder, with the kernel of ``python``."""
    notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    (setup,) = (part for part in notebook.cells if "setup" in part.metadata.get("tags", []))
    setup.source = cell
    kernel = folder / "share" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    content = folder / "content"
    content.mkdir()
    resources = {"metadata": {"path": str(content)}}
    NotebookClient(notebook, kernel_name="colab", timeout=300, resources=resources).execute()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the test writes, removed at once: pytest would keep the environments of its last three runs."""
    monkeypatch.delenv("FEDLIB_DATA", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("FEDLIB_PROFILE", "smoke")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    address_of = {"KEY": f"url.{(tmp_path / 'repository').as_uri()}.insteadOf", "VALUE": ADDRESS}
    for name, value in {"COUNT": "1", **{f"{name}_0": value for name, value in address_of.items()}}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_a_chapter_runs_where_only_its_set_up_cell_installs(folder: Path) -> None:
    python = a_colab(folder / "colab")
    publish(folder / "repository")
    run_chapter("03_federated_loop", generated_cell(), python, folder)
    ask = "import fedlib, numpy, torch; print(fedlib.__file__, torch.__version__, numpy.__version__)"
    where, torch_version, numpy_version = run(python, "-c", ask, cwd=folder).split()
    assert Path(where).is_relative_to(folder / "colab")
    assert (torch_version, numpy_version) == (version("torch"), OLDER_NUMPY)
    assert run(python, "-m", "pip", "check", cwd=folder) == "No broken requirements found."
