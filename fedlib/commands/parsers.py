"""How the text of an option is read, and what it has to look like. A text that does not is refused in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fedlib.choices import EXECUTORS
from fedlib.errors import InputError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Kind:
    """What turns a text into a value, and what the help shows in the place of the text."""

    read: Callable[[str], Any]
    shown: str


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text} is not a number.")
    return value


def positive(text: str) -> float:
    """A positive number, such as a learning rate."""
    if number(text) <= 0:
        raise typer.BadParameter(f"{text} is not a positive number.")
    return float(text)


def decay(text: str) -> float:
    """A weight decay: zero or a positive number."""
    if number(text) < 0:
        raise typer.BadParameter(f"{text} is neither 0 nor a positive number.")
    return float(text)


def factor(text: str) -> float:
    """A factor in (0, 1]."""
    if not 0 < number(text) <= 1:
        raise typer.BadParameter(f"{text} is not a factor in (0, 1].")
    return float(text)


def fraction(text: str) -> float:
    """A share in [0, 1) of something that must not be given away whole."""
    if not 0 <= number(text) < 1:
        raise typer.BadParameter(f"{text} is not a share in [0, 1).")
    return float(text)


def participants(text: str) -> float:
    """Clients per round: a share in (0, 1], or a whole number above 1."""
    value = number(text)
    if value <= 0 or (value > 1 and value != int(value)):
        raise typer.BadParameter(f"{text} is neither a share in (0, 1] nor a whole number above 1.")
    return value


def memory(text: str) -> float:
    """A number of bytes, such as 500MB, 4GB or 2GiB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", str(text).strip().upper())
    if not found or found[2] not in UNITS or float(found[1]) == 0:
        raise typer.BadParameter(f"{text} is not a size such as 500MB, 4GB or 2GiB.")
    return float(found[1]) * UNITS[found[2]]


def executor(text: str) -> str:
    """An executor by name."""
    if text == "loop":
        raise typer.BadParameter("for one client after the other, with the same numbers, use --chunk 1.")
    return word(*EXECUTORS).read(text)


def numbers(option: str, text: str) -> list[float]:
    """The positive numbers of a list such as 0.1,1, ascending and each once; InputError names the ``option``."""
    try:
        return sorted({positive(part.strip()) for part in text.split(",")})
    except typer.BadParameter:
        raise InputError(f"{option} must be a list of positive numbers such as 0.01,0.1,1, not {text!r}.") from None


def cutoffs(text: str) -> tuple[int, ...]:
    """The K of the metrics from a list such as 5,10,20, ascending and each once."""
    if not re.fullmatch(r"[1-9]\d{0,5}(\s*,\s*[1-9]\d{0,5})*", text.strip()):
        raise InputError(f"--topk must be a list of whole numbers from 1 to 999999 such as 5,10,20, not {text!r}.")
    return tuple(sorted({int(part) for part in text.split(",")}))


def word(*allowed: str) -> Kind:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}.")
        return text

    return Kind(read, "|".join(allowed))


def whole(least: int = 1, most: int = LARGEST) -> Kind:
    """A whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", str(text)) or not least <= int(text) <= most:
            upper = f"from {least} to {most}" if most < LARGEST else f"of at least {least}"
            raise typer.BadParameter(f"{text} is not a whole number {upper}.")
        return int(text)

    return Kind(read, "N")


def text(shown: str) -> Kind:
    """Any text."""
    return Kind(str, shown)


POSITIVE, DECAY, FACTOR = Kind(positive, "NUMBER"), Kind(decay, "NUMBER"), Kind(factor, "FACTOR")
SHARE, FRACTION, PARTICIPANTS = Kind(factor, "SHARE"), Kind(fraction, "SHARE"), Kind(participants, "SHARE|NUMBER")
SIZE, FILE, FOLDER = Kind(memory, "SIZE"), Kind(Path, "FILE"), Kind(Path, "DIR")
EXECUTOR = Kind(executor, "|".join(EXECUTORS))
DEVICE = word("auto", "cpu", "cuda")
