"""The project's frame: what the files around the package promise, they keep."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fedlib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins(name: str) -> dict[str, str]:
    """``{package: version}`` of a requirements file in which every line is an exact pin."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!_-]+", line) for line in pinned), "a line is no plain pin"
    versions = {canonicalize_name(package): version for package, version in (line.split("==") for line in pinned)}
    assert len(versions) == len(pinned), "a package is pinned twice"
    return versions


def test_constraints_are_the_locks_pins() -> None:
    lock, constraints = pins("requirements.lock"), pins("constraints.txt")
    assert constraints.keys() == {"torch", "torchvision"}
    assert constraints.items() <= lock.items()


def test_the_lock_meets_every_requirement() -> None:
    lock = pins("requirements.lock")
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        assert Version(lock[canonicalize_name(requirement.name)]) in requirement.specifier, line


def test_the_package_sets_lower_bounds_only() -> None:
    operators = {part.operator for line in PROJECT["dependencies"] for part in Requirement(line).specifier}
    assert operators == {">="}


def test_environment_yml_leads_to_the_lock(tmp_path: Path) -> None:
    # conda writes the pip section to a file beside environment.yml and hands that to pip. With --no-index the dry run
    # also fails if anything in the lock is not what is installed here.
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment.keys() <= {"name", "channels", "dependencies", "variables"}
    python, pip, section = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    for name in ("requirements.lock", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "pip.txt").write_text("\n".join(section["pip"]), encoding="utf-8")
    planned = run(sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", "pip.txt", cwd=tmp_path)
    assert "Would install" not in planned


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "requirements.lock",
        "constraints.txt",
        "environment.yml",
        "Makefile",
        ".ci/run",
        ".github/workflows/tests.yml",
        ".github/workflows/book.yml",
    ],
)
def test_no_package_index_or_machine_path_is_written_down(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"index-url|find-links|pypi\.org|(?<![\w.~$])/(opt|root|home|work)/", text)


def test_the_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert fedlib.__version__ == PROJECT["version"] == citation["version"]
    assert f"## [{fedlib.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_contents_page_names_every_chapter_and_no_other() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    for name in files:
        assert (ROOT / f"{name}.md").exists() or (ROOT / f"{name}.ipynb").exists(), f"{name} does not exist"
    on_disk = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert on_disk == {name for name in files if name.startswith("notebooks/")}


def test_continuous_integration_runs_the_readmes_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = re.findall(r"^make .*$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert commands == ["make test", "make book", "make pages"]
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    written = {line.removeprefix("$ ").split("#")[0].strip() for block in blocks for line in block.splitlines()}
    assert set(commands[:2]) <= written


def test_a_skipped_real_data_test_fails_where_the_data_is_required(tmp_path: Path) -> None:
    # The folder is there and the test finds no reason to run all the same. Other tests may still skip.
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_needs_data(real_data): pytest.skip('this data set is missing')\n"
        "def test_other(): pytest.skip('for another reason')\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]

    def outcome(**environment: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)
        return done.stdout.splitlines()[-1]

    assert "2 skipped" in outcome(FEDLIB_DATA=str(tmp_path), FEDLIB_REQUIRE_DATA="")
    assert "1 failed, 1 skipped" in outcome(FEDLIB_DATA=str(tmp_path), FEDLIB_REQUIRE_DATA="1")


def test_the_wheel_works_away_from_the_source_tree(tmp_path: Path) -> None:
    source, wheels, venv = tmp_path / "source", tmp_path / "wheels", tmp_path / "venv"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # A tuning leaves the lock of its table, which git does not take either.
    shutil.copytree(ROOT / "fedlib", source / "fedlib", ignore=shutil.ignore_patterns("__pycache__", ".*.lock"))
    shutil.copytree(ROOT / "book" / "results", source / "book" / "results")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels, source)
    (wheel,) = wheels.iterdir()

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fedlib/")}
    assert "fedlib/py.typed" in packed
    assert packed == {path.relative_to(source).as_posix() for path in (source / "fedlib").rglob("*") if path.is_file()}

    run(sys.executable, "-m", "venv", "--without-pip", venv)
    run(*pip, "--python", venv / "bin" / "python", "install", "-q", "--no-deps", "--no-index", wheel)
    # This shows the other packages but no editable fedlib: .pth files in a folder that a .pth file adds are not read.
    (site,) = venv.glob("lib/python*/site-packages")
    others = {path for path in map(Path, sys.path) if path.name == "site-packages"}
    (site / "others.pth").write_text("\n".join(map(str, others)), encoding="utf-8")
    where = run(venv / "bin" / "python", "-c", "import fedlib; print(fedlib.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(venv)
    for command in ([venv / "bin" / "python", "-m", "fedlib"], [venv / "bin" / "fedlib"]):
        assert fedlib.__version__ in run(*command, "doctor", cwd=tmp_path)
    rows = 'from fedlib.reproduce import read_rows; print(len(read_rows("leaderboard", "ml-100k")))'
    stored = (ROOT / "book" / "results" / "leaderboard.ml-100k.jsonl").read_text(encoding="utf-8")
    assert int(run(venv / "bin" / "python", "-c", rows, cwd=tmp_path)) == len(stored.splitlines())
