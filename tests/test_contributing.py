"""What CONTRIBUTING.md and the report form name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml
from typer.main import get_command

from fedlib.cli import app

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL))


def test_every_make_target_and_fedlib_command_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make (\w+)", TEXT, flags=re.MULTILINE))
    assert {"test", "book", "execute", "lint", "lock"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    commands = set(re.findall(r"`fedlib (\w+)", TEXT))
    assert {"data", "doctor"} <= commands <= set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_file_exists() -> None:
    quoted = {
        name for name in re.findall(r"`([\w./-]+)`", TEXT) if "/" in name or re.search(r"\.(md|yml|lock|toml)$", name)
    }
    named = quoted | set(re.findall(r"\b(?:tests|tools)/[\w./]+\w", COMMANDS)) | {f"notebooks/{chapter()}.py"}
    assert len(named) > 10
    assert not [name for name in named - {"notebooks/NN_name.py"} if not (ROOT / name).exists()]


def chapter() -> str:
    (name,) = re.findall(r"NOTEBOOK=(\w+)", COMMANDS)
    return str(name)


def test_every_option_of_the_tools_exists() -> None:
    for tool, option in set(re.findall(r"(tools/\w+\.py) (--\w+)", COMMANDS)):
        shown = subprocess.run([sys.executable, ROOT / tool, "--help"], capture_output=True, text=True, check=True)
        assert option in shown.stdout


def test_every_message_is_one_of_a_rule() -> None:
    """The first column of the table, as far as it is not cut by dots."""
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "book").glob("rules_*.py"))
    for message in re.findall(r"^\| `([^`]+)` \|", TEXT, flags=re.MULTILINE):
        pattern = r"[^\n]*".join(map(re.escape, message.split("...")))
        assert re.search(pattern, rules), message


def test_the_report_form_is_one_that_can_be_shown() -> None:
    """Unique ids, and a label for every field: a form with a mistake is not offered at all."""
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "report.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert ids == ["chapter", "cell", "what", "environment"]
    assert all(field["attributes"]["label"] and field["type"] in ("input", "textarea") for field in form["body"])
