"""Reading a language model's answer, which may be anything, as a list of prototypes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from fedlib.prototypes.prompts import LONGEST, WORDS
from fedlib.prototypes.summary import plain

READ = 100_000  # characters of an answer that are read
_TRIES = 16  # opening brackets that are tried: each may cost the length of the answer
_MARK = re.compile(r"\s*(?:[-*•–—]|\(?\d{1,5}[.):]|\(?[a-z][.)])\s")
_BEFORE = re.compile(r"(?:[ .,'/&-]|\(?(?:\d{1,5}|[a-z])[.)](?= ))+")  # numbers and rests of bullets
_STRING = re.compile(
    r'"([^"\n]*)"(\s*:)?|“([^“”\n]*)”' + rf"|(?<![^\s\[,])'([^\n]{{1,{LONGEST}}}?)'(?=\s*[,\]])"  # the last is Python's
)


def parse(text: str, allowed: tuple[int, int], names: Iterable[str] = ()) -> tuple[tuple[str, ...], str]:
    """The prototypes in an answer, and a sentence about what was dropped, which is empty if nothing was.

    They are the strings of the first JSON array that has any; without one, all quoted strings; without these, the
    lines, and only those with a number or bullet where some have one. Numbers and bullets are taken off. Dropped is
    what is no text, longer than 8 words or 80 characters, repeated in any spelling of upper and lower case, or one of
    ``names`` (titles of items); and what comes after the largest ``allowed`` number. There may be fewer than the
    smallest, or none. The time is linear in the answer, of which 100,000 characters are read.

    >>> parse('Sure! ["1. Action  adventure", "action adventure", 7, "Sci-fi"]', (1, 5))
    (('Action adventure', 'Sci-fi'), 'Dropped 1 repeated and 1 without text.')
    """
    taken = {_key(name) for name in names}
    kept: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for entry in _entries(text[:READ]):
        prototype = _clean(entry)
        key = prototype.casefold()
        reason = _fault(prototype) or ("named like an item" if key in taken else "repeated" if key in kept else "")
        if not reason and len(kept) == allowed[1]:
            reason = f"above {allowed[1]}"
        if reason:
            dropped[reason] += 1
        else:
            kept[key] = prototype
    return tuple(kept.values()), _sentence(dropped)


def _fault(prototype: str) -> str:
    if not re.search(r"[^\W\d_]", prototype):
        return "without text"
    too_long = len(prototype) > LONGEST or len(prototype.split()) > WORDS
    return f"longer than {WORDS} words or {LONGEST} characters" if too_long else ""


def _entries(text: str) -> list[object]:
    return _array(text) or _quoted(text) or _lines(text)


def _array(text: str) -> list[object]:
    """The first JSON array that holds a string; brackets that open something else are passed over."""
    decoder = json.JSONDecoder()
    for bracket in _first(re.finditer(r"\[", text)):
        try:
            found = decoder.raw_decode(text, bracket.start())[0]
        except (ValueError, RecursionError):
            continue
        if any(isinstance(entry, str) for entry in found):
            return list(found)
    return []


def _first(brackets: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    return (bracket for _, bracket in zip(range(_TRIES), brackets, strict=False))


def _quoted(text: str) -> list[object]:
    """All strings in quotes, straight, curved or Python's single ones, without the keys of objects."""
    found = _STRING.finditer(text)
    return [match[1] or match[3] or match[4] or "" for match in found if not match[2]]


def _lines(text: str) -> list[object]:
    """The lines that are no rest of JSON, code fence or announcement; if some have a number or bullet, these alone."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith((*"[]{}", "```"))]
    return [line for line in lines if _MARK.match(line)] or [line for line in lines if not line.rstrip().endswith(":")]


def _clean(entry: object) -> str:
    """``entry`` on one line, in the characters that a prompt may hold, without number, bullet and full stop."""
    if not isinstance(entry, str):
        return ""
    text = plain(entry)
    mark = _BEFORE.match(text)
    return text[mark.end() if mark else 0 :].rstrip(" .,'/&-")


def _key(text: str) -> str:
    return _clean(text).casefold()


def _sentence(dropped: Counter[str]) -> str:
    parts = [f"{count:,} {reason}" for reason, count in sorted(dropped.items())]
    if not parts:
        return ""
    return f"Dropped {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}."
