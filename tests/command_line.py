"""Calling the command line in a test and reading what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fedlib
from fedlib.cli import main

RUN = ["run", "--dataset", "synthetic", "--device", "cpu"]
FEDMF = [*RUN, "--backbone", "fedmf"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def strict(text: str) -> Any:
    """Parse JSON that knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def report(*arguments: str) -> dict[str, Any]:
    """What a run writes."""
    assert main([*arguments, "--out", "out.json"]) == 0
    return strict(Path("out.json").read_text(encoding="utf-8"))


def python(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run this Python with the package that is tested here."""
    where = os.environ | {"PYTHONPATH": str(Path(fedlib.__file__).parents[1])}
    return subprocess.run([sys.executable, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, env=where)


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 2) -> str:
    """The one line a refused command leaves on standard error, and nothing else anywhere."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    # Older releases of click end the line on which a terminal shows ^C.
    line = said.err.lstrip("\n") if code == 130 else said.err
    assert re.fullmatch(r"Error: [^\n]+\n", line), said.err
    assert sorted(Path().rglob("*")) == before
    return said.err
