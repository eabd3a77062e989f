"""The workflows: what GitHub would refuse, what they may do there, and that they run what is here.

They are run nowhere but there.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {file.stem: file.read_text(encoding="utf-8") for file in FILES}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}


def complaints(*files: Path) -> str:
    """What actionlint says of the files."""
    linter = Path(sysconfig.get_path("scripts"), "actionlint")
    done = subprocess.run([linter, "-oneline", "-no-color", *files], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def commands(name: str) -> list[str]:
    """Everything a workflow runs."""
    steps = [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def test_nothing_in_them_is_refused() -> None:
    assert FILES and complaints(*FILES) == ""


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("needs: build", "needs: built", "does not exist"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-2404", "is unknown"),
        ("steps.pages.outputs", "steps.page.outputs", "is not defined"),
        ("cancel-in-progress", "cancel", "unexpected key"),
    ],
)
def test_a_mistake_in_them_is_found(tmp_path: Path, good: str, bad: str, told: str) -> None:
    assert good in TEXTS["book"]
    (tmp_path / "bad.yml").write_text(TEXTS["book"].replace(good, bad), encoding="utf-8")
    assert told in complaints(tmp_path / "bad.yml")


@pytest.mark.parametrize("name", TEXTS)
def test_they_may_do_and_know_no_more_than_they_need(name: str) -> None:
    """Read the sources, by a checkout that keeps no key; actions are one commit each, and no secret is read."""
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["group"]
    more = {job: steps["permissions"] for job, steps in workflow["jobs"].items() if "permissions" in steps}
    assert more == ({"publish": {"pages": "write", "id-token": "write"}} if name == "book" else {})
    assert "secrets" not in TEXTS[name] and "pull_request_target" not in TEXTS[name]
    used = re.findall(r"uses: (.*)", TEXTS[name])
    assert used and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)
    assert TEXTS[name].count("persist-credentials: false") == TEXTS[name].count("actions/checkout@")


def test_a_page_is_published_from_the_main_branch_alone() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    job = WORKFLOWS["book"]["jobs"]["publish"]
    assert job["if"] == f"github.ref == 'refs/heads/{config['repository']['branch']}'" and job["needs"] == "build"


def test_they_run_the_readmes_commands_and_tests_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (book,), (test, install, some) = commands("book"), commands("tests")
    assert all(re.search(rf"^{command} ", readme, flags=re.MULTILINE) for command in (book, test))
    named = re.findall(r"tests/\S+", some)
    assert len(named) > 5 and all((ROOT / path).exists() for path in named)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\[(\w+)\]", install)) <= extras.keys()


def test_they_begin_with_the_oldest_python_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = WORKFLOWS["tests"]["jobs"]["newest"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == project["requires-python"]
    minor = [int(python.removeprefix("3.")) for python in pythons]
    assert minor == list(range(minor[0], minor[-1] + 1))
