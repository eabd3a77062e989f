"""Reading files that may be missing, cut short, compressed, enormous or not text at all.

Every failure becomes an :class:`~fedlib.errors.InputError` of one line that names the file. Content is counted while
it is unpacked, so that a small archive cannot fill the memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedlib.errors import InputError

MAX_BYTES = 4 << 30  # unpacked content of one file
MAX_MEMBER_BYTES = 256 << 20  # unpacked content of one archive member; the largest one known here has 24 MB
MAX_ROWS = 200_000_000


class _Bounded(io.RawIOBase):
    """A byte stream that refuses to go on after MAX_BYTES, and at a NUL byte, which no text has."""

    def __init__(self, stream: io.BufferedIOBase, path: Path):
        self.stream, self.path, self.left = stream, path, MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self.stream.read(len(buffer))
        self.left -= len(chunk)
        if self.left < 0:
            raise InputError(f"{self.path} holds more than {MAX_BYTES:,} bytes when unpacked, the most that is read")
        if b"\0" in chunk:
            raise InputError(f"{self.path} holds NUL bytes, so it is not UTF-8 text: get or save it again as text")
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what can go wrong with the file at ``path`` into one sentence."""
    try:
        yield
    except FileNotFoundError as err:
        raise InputError(f"{path} does not exist: check the name, or put the file there") from err
    except PermissionError as err:
        raise InputError(f"{path} may not be read: give yourself permission to read it") from err
    except (IsADirectoryError, NotADirectoryError) as err:
        raise InputError(f"{path} is a folder where a file is expected, or lies inside a file") from err
    except UnicodeDecodeError as err:
        raise InputError(f"{path} is not UTF-8 text (byte 0x{err.object[err.start]:02x}): save it as UTF-8") from err
    except csv.Error as err:
        raise InputError(f"{path} is not a CSV table ({one_line(err)}): check its quotes and commas") from err
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as err:
        reason = one_line(err)
        raise InputError(f"{path} is cut short or damaged ({reason}): get a new copy of the file") from err
    except OSError as err:
        raise InputError(f"{path} cannot be read ({one_line(err)})") from err


def one_line(text: object) -> str:
    """``text`` on one line, without a full stop at its end."""
    return " ".join(str(text).split()).rstrip(".")


def beside(folder: Path, name: str) -> Path | None:
    """``name`` or, where that is not there, ``name.gz`` in ``folder``; None if there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


@contextmanager
def _open(path: Path) -> Iterator[io.BufferedReader]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        yield io.BufferedReader(_Bounded(stream, path), 1 << 20)


def read(path: Path) -> bytes:
    """The whole content of a text file, unpacked if its name ends in ``.gz``."""
    with explained(path), _open(path) as stream:
        return stream.read()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each line that is not blank, one at a time, unpacked if the name ends in ``.gz``."""
    with explained(path), _open(path) as stream:
        for line, text in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), 1):
            if text.strip():
                yield line, text


def read_member(archive: Path, member: str) -> bytes | None:
    """The content of one member of a zip archive, or None if it has no such member; nothing is written to disk."""
    with explained(archive), zipfile.ZipFile(archive) as zipped:
        if member not in zipped.namelist():
            return None
        size = zipped.getinfo(member).file_size
        if size > MAX_MEMBER_BYTES:
            raise InputError(f"{archive} says that {member} has {size:,} bytes, above the {MAX_MEMBER_BYTES:,} allowed")
        try:
            return zipped.read(member)
        except (RuntimeError, NotImplementedError) as err:
            raise InputError(f"{archive} cannot be unpacked ({one_line(err)}): get a new copy of the file") from err


@contextmanager
def table(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """The columns of a CSV file that are asked for, and an iterator of (line, their values).

    Columns come in the order asked for, optional ones where the file has them; others are ignored. Raises
    :class:`InputError` for a missing or repeated column and for a row of another width than the header.
    """
    with explained(path), _open(path) as stream:
        reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        columns = [name for name in (*required, *optional) if name in header]
        missing = [name for name in required if name not in header]
        if not header:
            raise InputError(f"{path} is empty or begins with a blank line: its first line must name the columns")
        if missing:
            shown = repr(",".join(header)[:80])
            raise InputError(f"{path} lacks the column {', '.join(missing)} in its first line, which is {shown}")
        if repeated := [name for name in columns if header.count(name) > 1]:
            raise InputError(f"{path} has the column {repeated[0]} more than once")
        yield columns, _rows(path, reader, len(header), [header.index(name) for name in columns])


def _rows(path: Path, reader: Any, width: int, picked: list[int]) -> Iterator[tuple[int, list[str]]]:
    line = reader.line_num
    for count, row in enumerate(reader, 1):
        line, first = reader.line_num, line + 1  # a quoted field may hold line breaks
        if not row:
            continue  # blank lines, often at the end, say nothing
        if len(row) != width:
            raise InputError(f"{path}, line {first}: {len(row)} columns, but the first line has {width}")
        if count > MAX_ROWS:
            raise InputError(f"{path} has more than {MAX_ROWS:,} rows, the most that is read")
        yield first, [row[column] for column in picked]
