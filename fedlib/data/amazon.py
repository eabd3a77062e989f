"""Amazon Reviews 2018, Industrial and Scientific and Software (Ni, Li and McAuley, EMNLP-IJCNLP 2019).

Two layouts are read. The official one is the 5-core file with the metadata beside it, for instance
``Industrial_and_Scientific_5.json.gz`` and ``meta_Industrial_and_Scientific.json.gz``, a JSON object a line; the order
in time is that of ``unixReviewTime``, and of the lines where two are equal. The other is a pair of tables,
``interactions.csv`` (``user, item, position``) and ``items.csv`` (``item, asin, text, title, brand, categories,
description``).

Every review counts as an interaction, whatever its stars. Of several reviews of one item by one user the earliest
counts; the 5-core counted all of them, so such a user may be left with fewer than five items. The catalogue has a
column ``brand`` more than others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from fedlib.data import files
from fedlib.data.assemble import assemble
from fedlib.data.interactions import Dataset
from fedlib.errors import InputError

LICENCE = "Amazon Reviews 2018, UCSD: for research, with citation of Ni et al. (EMNLP 2019); no open licence is stated"
URL = "nijianmo.github.io/amazon"
CATEGORIES = {"amazon-industrial": "Industrial_and_Scientific", "amazon-software": "Software"}
# The reviews in the published 5-core files. FedSLLM's Table 1 has as many, so that is the cut it speaks of.
REVIEWS = {"amazon-industrial": 77_071, "amazon-software": 12_805}
OTHER_CUT = "another than FedSLLM's, which has 11,041 users, 5,334 items and 77,071 interactions"
Item = tuple[str, str, str, str]  # title, description, categories joined by |, brand
_LARGEST = 1 << 31
_LATEST = 1 << 40


def read(name: str, place: Path) -> Dataset:
    """The data set in the folder ``place``, in either layout; raises :class:`InputError`."""
    if not place.is_dir():
        raise InputError(f"{place} is not a folder: make one of that name and put {parts(name)} there")
    if files.beside(place, _reviews(name)):
        return _read_reviews(name, place)
    if files.beside(place, "interactions.csv"):
        return _read_tables(name, place)
    raise InputError(f"{place} has no {_reviews(name)} or {_reviews(name)}.gz: put {parts(name)} there")


def parts(name: str) -> str:
    """The files of the official layout."""
    return f"{_reviews(name)}.gz and {_meta(name)}.gz"


def is_published(name: str, place: Path) -> bool | None:
    """Whether the 5-core file at ``place`` has as many reviews as the published one; None where there is none.

    The authors give no checksum.
    """
    path = files.beside(place, _reviews(name))
    return None if path is None else sum(1 for _ in files.lines(path)) == REVIEWS[name]


read_industrial, read_software = partial(read, "amazon-industrial"), partial(read, "amazon-software")


def _reviews(name: str) -> str:
    return f"{CATEGORIES[name]}_5.json"


def _meta(name: str) -> str:
    return f"meta_{CATEGORIES[name]}.json"


def _read_reviews(name: str, place: Path) -> Dataset:
    """The official layout; users and items are numbered in the order in which they first occur."""
    path, meta = files.beside(place, _reviews(name)), files.beside(place, _meta(name))
    assert path is not None  # it decided for this layout
    if meta is None:
        raise InputError(f"{place} has no {_meta(name)} or {_meta(name)}.gz beside the reviews: put it there")
    user_ids: dict[str, int] = {}
    item_ids: dict[str, int] = {}
    rows = []
    for line, review in _objects(path):
        user, item = (_word(path, line, review, key) for key in ("reviewerID", "asin"))
        time = review.get("unixReviewTime")
        if type(time) is not int or not 0 <= time < _LATEST:
            raise InputError(f"{path}, line {line}: unixReviewTime must be seconds since 1970, not {str(time)[:20]!r}")
        rows.append((user_ids.setdefault(user, len(user_ids)), item_ids.setdefault(item, len(item_ids)), time))
    if not rows:
        raise InputError(f"{path} has no reviews in it: get a new copy of the file")
    known = _described(meta, item_ids)
    untitled = sum(item not in known for item in item_ids)
    note = (f"{untitled} items have no title in the metadata and are called by their ids",) if untitled else ()
    items = [known.get(item, (item, "", "", "")) for item in item_ids]
    return _dataset(name, np.array(rows, dtype=np.int64), list(user_ids), list(item_ids), items, note)


def _described(path: Path, wanted: dict[str, int]) -> dict[str, Item]:
    """What the metadata say of the ``wanted`` items that they know a title of; the first line of an item counts."""
    found: dict[str, Item] = {}
    for line, about in _objects(path):
        item = _word(path, line, about, "asin")
        title = _plain(about.get("title"))
        # The authors warn of titles that are pieces of a page's program, with this word in them.
        if item in wanted and item not in found and title and "getTime" not in title:
            categories = "|".join(_plain(category) for category in about.get("category") or ())
            found[item] = (title, _plain(about.get("description")), categories, _plain(about.get("brand")))
    return found


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, JSON object) of each line that is not blank."""
    for line, text in files.lines(path):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(f"{path}, line {line}: a JSON object is expected, not {text[:40]!r}")
        yield line, value


def _word(path: Path, line: int, about: dict[str, Any], key: str) -> str:
    value = about.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{path}, line {line}: {key} must be a word, not {str(value)[:20]!r}")
    return value


def _plain(value: Any) -> str:
    """Text without tags, entities and the bars that join categories; the paragraphs of a list one after the other."""
    text = " ".join(str(part) for part in value) if isinstance(value, list) else str(value or "")
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).replace("|", "/").split())


def _read_tables(name: str, place: Path) -> Dataset:
    """The pair of tables, whose items must be 0, 1, 2 and so on; users keep their numbers as ids."""
    path = files.beside(place, "items.csv")
    if path is None:
        raise InputError(f"{place} has no items.csv or items.csv.gz beside its interactions: put it there")
    columns = ("item", "asin", "text", "title", "brand", "categories", "description")
    with files.table(path, columns) as (_, rows):
        items = [row for _, row in rows]
    if [row[0] for row in items] != [str(index) for index in range(len(items))]:
        raise InputError(f"{path} must list the items 0, 1, 2 and so on, one a line: get a new copy of the file")
    numbers = _numbers(place, len(items))
    users, numbers[:, 0] = np.unique(numbers[:, 0], return_inverse=True)
    whole = sum(not row[3] for row in items)
    notes: tuple[str, ...] = (f"{whole} items have one text for title, categories and brand",) if whole else ()
    if name == "amazon-industrial":
        notes += (f"a cut with {len(users):,} users and {len(items):,} items, {OTHER_CUT}",)
    return _dataset(
        name,
        numbers,
        [str(user) for user in users],
        [row[1] for row in items],
        [_item(*row[2:]) for row in items],
        notes,
    )


def _item(text: str, title: str, brand: str, categories: str, description: str) -> Item:
    """A row of the catalogue. Commas join the categories, and only those inside a name have a space behind them.

    >>> _item("", "Tape.", "3M", "Tapes,Adhesives, Glues & Sealants", "It sticks.")
    ('Tape.', 'It sticks.', 'Tapes|Adhesives, Glues & Sealants', '3M')
    """
    return title or text, description, "|".join(re.split(r",(?! )", categories)), brand


def _numbers(place: Path, n_items: int) -> np.ndarray:
    """User, item and position of each interaction, (rows, 3) int64."""
    path = files.beside(place, "interactions.csv")
    assert path is not None  # it decided for this layout
    numbers = []
    with files.table(path, ("user", "item", "position")) as (_, rows):
        for line, row in rows:
            if not all(re.fullmatch("[0-9]{1,10}", text) and int(text) < _LARGEST for text in row):
                raise InputError(f"{path}, line {line}: whole numbers from 0 are expected, not {','.join(row)[:40]!r}")
            if int(row[1]) >= n_items:
                raise InputError(f"{path}, line {line}: item {row[1]} is not in items.csv")
            numbers.append([int(text) for text in row])
    if not numbers:
        raise InputError(f"{path} has no interactions in it: get a new copy of the file")
    return np.array(numbers, dtype=np.int64)


def _dataset(
    name: str, rows: np.ndarray, user_ids: list[str], item_ids: list[str], items: Sequence[Item], notes: tuple[str, ...]
) -> Dataset:
    data = assemble(
        name,
        rows[:, 0].copy(),
        rows[:, 1].copy(),
        rows[:, 2],
        user_ids=user_ids,
        item_ids=item_ids,
        catalogue=[(title, description, categories, "") for title, description, categories, _ in items],
        licence=LICENCE,
        notes=notes,
    )
    return replace(data, catalogue=data.catalogue.assign(brand=[brand for *_, brand in items]))
