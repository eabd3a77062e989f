"""The README's promises, tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As printed, but for two rounds instead of a hundred."""
    monkeypatch.setenv("FEDLIB_DATA", str(real_data))
    found = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert found
    code = found.group(1)
    assert "rounds=100" in code
    exec(compile(code.replace("rounds=100", "rounds=2"), "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("HR@10", "bytes_per_client", "title"))


def test_every_command_it_names_exists() -> None:
    """Each ``make`` target stands in the Makefile, each ``fedlib`` command in the command line."""
    from typer.main import get_command

    from fedlib.cli import app

    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE))
    assert {"book", "test", "bench"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    commands = set(re.findall(r"(?:^|`)fedlib (\w+)", README, flags=re.MULTILINE))
    assert {"run", "doctor", "data"} <= commands
    assert commands <= set(get_command(app).commands)  # type: ignore[attr-defined]
