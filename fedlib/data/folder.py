"""A folder of one's own: ``interactions.csv[.gz]`` and, if there is one, ``items.csv[.gz]``.

======================  ==============================================================================
``interactions.csv``    ``user,item`` and, if known, ``timestamp`` (a number) and ``store``
``items.csv``           ``item`` and, if known, ``title``, ``description``, ``categories``, ``image``
======================  ==============================================================================

Ids are strings (``007`` stays ``007``), text is UTF-8, other columns are ignored, and the plain file is read where
the compressed one is there as well. Without time stamps the order of the rows is the order in time. Categories are
joined by ``|``. An image is a path, taken from the folder unless it is absolute.
"""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedlib.data import files
from fedlib.data.assemble import assemble
from fedlib.data.interactions import Dataset
from fedlib.errors import InputError

LICENCE = "your own data: its terms are yours to know"


def read(folder: Path) -> Dataset:
    """The data set in ``folder``, named after it.

    Raises :class:`InputError`, one line that names file and line, for anything that does not fit the tables above.
    """
    with files.explained(folder):
        if not folder.is_dir():
            what = "is a file where a folder is expected" if folder.exists() else "does not exist"
            raise InputError(f"{folder} {what}: name a folder with interactions.csv in it")
        interactions = files.beside(folder, "interactions.csv")
        catalogue = files.beside(folder, "items.csv")
    if interactions is None:
        raise InputError(f"{folder} has no interactions.csv or interactions.csv.gz: put one there")
    rows = _items(catalogue, folder) if catalogue else {}
    user_ids: dict[str, int] = {}
    item_ids = {item: index for index, item in enumerate(rows)}
    users, items, times, stores = _interactions(interactions, catalogue, user_ids, item_ids)
    return assemble(
        folder.resolve().name,
        users,
        items,
        times,
        user_ids=list(user_ids),
        item_ids=list(item_ids),
        catalogue=[rows.get(item, (item, "", "", "")) for item in item_ids],
        licence=LICENCE,
        stores=stores,
    )


def _interactions(
    path: Path, catalogue: Path | None, user_ids: dict[str, int], item_ids: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Tensor | None]:
    """Users, items, times and the store of each user; new ids are added to the two dictionaries as they come."""
    users, items, times = array("q"), array("q"), []
    store_ids: dict[str, int] = {}
    store_of: dict[str, str] = {}
    with files.table(path, ("user", "item"), ("timestamp", "store")) as (columns, rows):
        for line, values in rows:
            row = dict(zip(columns, values, strict=True))
            user, item = (_id(row[column], column, path, line) for column in ("user", "item"))
            if catalogue is not None and item not in item_ids:
                raise InputError(f"{path}, line {line}: item {_show(item)} is not in {catalogue}: add it there")
            users.append(user_ids.setdefault(user, len(user_ids)))
            items.append(item_ids.setdefault(item, len(item_ids)))
            if "timestamp" in row:
                times.append(_time(row["timestamp"], path, line))
            if "store" in row:
                store = _id(row["store"], "store", path, line)
                store_ids.setdefault(store, len(store_ids))
                if store_of.setdefault(user, store) != store:
                    known = _show(store_of[user])
                    raise InputError(f"{path}, line {line}: user {_show(user)} was in store {known} before: keep one")
    if not users:
        raise InputError(f"{path} has a first line but no interactions: add a line for each")
    stores = torch.tensor([store_ids[store] for store in store_of.values()]) if store_of else None
    return np.asarray(users), np.asarray(items), np.asarray(times) if times else None, stores


def _items(path: Path, folder: Path) -> dict[str, tuple[str, str, str, str]]:
    """Title, description, categories and image path of each item; a missing title is the item's id."""
    found: dict[str, tuple[str, str, str, str]] = {}
    with files.table(path, ("item",), ("title", "description", "categories", "image")) as (columns, rows):
        for line, values in rows:
            row = dict(zip(columns, values, strict=True))
            item = _id(row["item"], "item", path, line)
            if item in found:
                raise InputError(f"{path}, line {line}: item {_show(item)} has a line before: keep one of them")
            image = row.get("image", "").strip()
            found[item] = (
                row.get("title", "") or item,
                row.get("description", ""),
                row.get("categories", ""),
                str(folder / image) if image else "",
            )
    return found


def _id(text: str, column: str, path: Path, line: int) -> str:
    text = text.strip()
    if not text:
        raise InputError(f"{path}, line {line}: the {column} is empty: give every row one")
    return text


def _time(text: str, path: Path, line: int) -> int | float:
    """An integer where it is one: nanoseconds since 1970 do not fit a float."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise InputError(f"{path}, line {line}: timestamp {_show(text)} is not a finite number, such as 1717171717")
    return time


def _show(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
