"""Writing a file all or nothing: whenever the process dies or the power goes, the old file is there or the new one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of ``path``; what is written there becomes ``path``.

    It is forced to the disk before it gets its name. Processes that write to one path have temporary names of their
    own, so the last one to finish wins, whole. An error leaves the old file and nothing else. Raises OSError where
    the folder cannot be written.
    """
    target = path.resolve()  # through a link, not in the place of it
    temporary = beside(target)
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows forces nothing to the disk that is open for reading only
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if sys.platform != "win32":  # which opens no folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def beside(path: Path) -> Path:
    """The temporary name of this process for ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with the same line ends on every system, all or nothing."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")
