"""Writing a result so that a script finds all of it or nothing, and knowing beforehand that it can be written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from fedlib.errors import InputError
from fedlib.files import beside, write_text


def check_file(option: str, path: Path) -> None:
    """Raise InputError unless a file can be written at ``path``; nothing is left behind."""
    with refused(option, path):
        if path.exists() and not path.is_file():
            raise InputError(f"{option} {path} is not a file: name a file.")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{option} {path} is write-protected: name another file.")
        try_to_write(option, path)


def check_folder(option: str, path: Path) -> None:
    """Raise InputError unless files can be written in the folder ``path``, which is there or can be made."""
    with refused(option, path):
        if path.exists() and not path.is_dir():
            raise InputError(f"{option} {path} is not a folder: name a folder.")
        try_to_write(option, path / "probe" if path.is_dir() else path)


@contextmanager
def refused(option: str, path: Path) -> Iterator[None]:
    """Say in one sentence what the system has against ``path``."""
    try:
        yield
    except OSError as err:
        raise InputError(f"{option} {path} cannot be written ({err.strerror}): name another place.") from err


def try_to_write(option: str, path: Path) -> None:
    """Make and remove a file beside ``path``."""
    target = path.resolve()
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}: make it first.")
    probe = beside(target)
    probe.touch()
    probe.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON; whoever reads ``path`` sees the old file or all of the new one."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with told(path):
        write_text(path, text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path``, so that processes that read it, change it and write it again take turns."""
    target = path.resolve()
    with told(path):
        lock = FileLock(target.with_name(f".{target.name}.lock")).acquire()
    with lock:
        yield


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say in one sentence why ``path`` cannot be written."""
    try:
        yield
    except OSError as err:
        raise InputError(f"{path} cannot be written ({err.strerror}).") from err
