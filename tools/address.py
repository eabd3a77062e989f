"""Keep the repository's address in one place: ``python tools/address.py [--check | --set URL [--branch NAME]]``.

The place is ``repository: {url, branch}`` in ``_config.yml``; an empty url means that there is no public address yet.
Made from it are the set-up cell of every chapter, in the .py and in the .ipynb, and the badges in the README. Without
an option they are written anew; outputs of notebooks are kept. ``--check`` only names the files that differ, and leaves
with exit code 1 if there are any. ``--set ""`` takes the address away again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml

from fedlib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
BADGES = re.compile(r"(?<=<!-- badges: made by tools/address.py -->\n).*?(?=<!-- end of badges -->)", flags=re.DOTALL)
SETUP = re.compile(r'^(# %%[^\n]*"setup"[^\n]*\n).*?(?=\n+# %%|\s*\Z)', flags=re.DOTALL | re.MULTILINE)
FIRST_TO_TRY = "03_federated_loop"  # the chapter that needs no other

WITHOUT_ADDRESS = """\
# @title Set-up: run this cell first
import importlib.util

if importlib.util.find_spec("fedlib") is None:
    raise ModuleNotFoundError("fedlib is missing: pip install it from a copy of its repository")

from fedlib import book

PROFILE = book.start()"""

# Two lines for the address, because owner and repository may be long and a cell's lines must not be.
WITH_ADDRESS = """\
# @title Set-up: run this cell first
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("fedlib") is None:
    owner = "{owner}"
    source = f"fedlib @ git+{{owner}}/{repository}@{branch}"
    pip = [sys.executable, "-m", "pip", "install", "-q", source]
    subprocess.run(pip, check=True)

from fedlib import book

PROFILE = book.start()"""


@dataclass(frozen=True)
class Address:
    """Where the project lives, e.g. ``https://github.com/ORG/REPO`` and the branch ``main``."""

    url: str
    branch: str


def parse(url: str, branch: str) -> Address | None:
    """The address, or None for an empty url. Raises InputError for any other that is not a GitHub repository's."""
    if not url:
        return None
    if not re.fullmatch(r"https://github\.com/[A-Za-z0-9-]+/[A-Za-z0-9._-]+(?<!\.git)", url):
        raise InputError(f"The address is {url!r}, but must look like https://github.com/ORG/REPO, or be empty.")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", branch):
        raise InputError(f"The branch is {branch!r}, but must be a name such as main.")
    return Address(url, branch)


def repository(root: Path = ROOT) -> Address | None:
    """The address that stands in ``_config.yml``, or None. Raises InputError if it is none, or the key is missing."""
    fields = _fields((root / "_config.yml").read_text(encoding="utf-8"))
    return parse(fields["url"].value, fields["branch"].value)


def _fields(config: str) -> dict[str, yaml.ScalarNode]:
    """The values under ``repository`` with their positions in the text, so that all around them can stay as it is."""
    document = yaml.compose(config)
    nodes = {key.value: value for key, value in document.value} if document else {}
    fields = {key.value: value for key, value in nodes["repository"].value} if "repository" in nodes else {}
    if not {"url", "branch"} <= fields.keys():
        raise InputError('_config.yml must have the key repository, with a url (it may be "") and a branch.')
    return fields


def with_fields(config: str, **values: str) -> str:
    """The text of ``_config.yml`` with other values under ``repository``."""
    for name, value in values.items():
        old = _fields(config)[name]
        if old.value != value:
            config = config[: old.start_mark.index] + json.dumps(value) + config[old.end_mark.index :]
    return config


def setup_cell(address: Address | None) -> str:
    """The first code cell of every chapter: it installs fedlib where it is missing, if there is a place to get it."""
    if address is None:
        return WITHOUT_ADDRESS
    owner, _, name = address.url.rpartition("/")
    return WITH_ADDRESS.format(owner=owner, repository=name, branch=address.branch)


def colab_link(address: Address, notebook: str) -> str:
    """The link that opens a chapter, e.g. "03_federated_loop", in Google Colab."""
    place = address.url.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{place}/blob/{address.branch}/notebooks/{notebook}.ipynb"


def badges(address: Address | None) -> str:
    """The README's badges; nothing without an address."""
    if address is None:
        return ""
    place = address.url.removeprefix("https://github.com/")
    colab = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    licence = f"[![MIT licence](https://img.shields.io/github/license/{place})]"
    return f"{colab}({colab_link(address, FIRST_TO_TRY)})\n{licence}({address.url}/blob/{address.branch}/LICENSE)\n"


def generated(root: Path, address: Address | None) -> dict[Path, str]:
    """Every file that shows the address, with the text it should have."""
    cell = setup_cell(address)
    texts = {path: _source(path, cell) for path in sorted((root / "notebooks").glob("*.py"))}
    texts |= {path: _notebook(path, cell) for path in sorted((root / "notebooks").glob("*.ipynb"))}
    readme = root / "README.md"
    text, found = BADGES.subn(lambda _: badges(address), readme.read_text(encoding="utf-8"))
    if found != 1:
        raise InputError("README.md must have one place for badges, between the two comments that mark it.")
    return texts | {readme: text}


def _source(path: Path, cell: str) -> str:
    text, found = SETUP.subn(lambda header: header[1] + cell, path.read_text(encoding="utf-8"))
    _one_setup_cell(path, found)
    return text


def _notebook(path: Path, cell: str) -> str:
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    found = [part for part in notebook.cells if "setup" in part.metadata.get("tags", [])]
    _one_setup_cell(path, len(found))
    if found[0].source == cell:
        return text
    found[0].source = cell
    return nbformat.writes(notebook) + "\n"


def _one_setup_cell(path: Path, found: int) -> None:
    if found != 1:
        raise InputError(f'{path.name} has {found} cells tagged "setup", but must have one.')


def _asked_for(url: str | None, branch: str | None) -> dict[Path, str]:
    """The text of every file with the address that stands in ``_config.yml``, or with a new one."""
    if url is None:
        return generated(ROOT, repository(ROOT))
    config = ROOT / "_config.yml"
    text = config.read_text(encoding="utf-8")
    branch = branch or _fields(text)["branch"].value
    return {config: with_fields(text, url=url, branch=branch)} | generated(ROOT, parse(url, branch))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the repository's address wherever it is shown.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="only name the files that differ")
    choice.add_argument("--set", metavar="URL", help='a new address, or "" for none')
    parser.add_argument("--branch", help="the branch of a new address; without it the branch stays")
    args = parser.parse_args(arguments)
    if args.branch is not None and args.set is None:
        parser.error("--branch goes with --set")
    try:
        texts = _asked_for(args.set, args.branch)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    differ = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in differ:
        print(f"{path.relative_to(ROOT)} {'differs' if args.check else 'written'}")
        if not args.check:
            path.write_text(texts[path], encoding="utf-8")
    return int(args.check and bool(differ))


if __name__ == "__main__":
    sys.exit(main())
