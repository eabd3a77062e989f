"""Gowalla and Yelp2018 as split by the authors of NGCF and LightGCN: ``train.txt`` and ``test.txt``.

A line is a user and its items, all numbered from 0: ``user item item ...``. There are no time stamps, and copies differ
in the order of a user's items, so the items of each user are put in ascending order, first those of the training part.

Sources: Cho, Myers and Leskovec, *Friendship and Mobility*, KDD 2011 (Gowalla); the Yelp challenge of 2018; the split
is that of Wang et al., SIGIR 2019, with Yelp2018 in the form of He et al., *LightGCN*, SIGIR 2020.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fedlib.data import files
from fedlib.data.assemble import assemble
from fedlib.data.interactions import Dataset
from fedlib.data.log import UserItems
from fedlib.errors import InputError

LICENCES = {
    "gowalla": "Gowalla, SNAP: for research, with citation of Cho et al. (KDD 2011); the split states no licence",
    "yelp2018": "Yelp Open Dataset: academic, non-commercial use and no redistribution; the split states no licence",
}
NOTES = ("without time stamps, so a split by time would hold out arbitrary items",)
PARTS = "train.txt and test.txt of its split"
_LARGEST = 1 << 31
# The data sets' own SHA-256: user by user, the training items and then the test items, both in ascending order.
_PUBLISHED = {
    "gowalla": "ffd2f249e5edf96b42b36342b270777b01475860156b1da5485334e251a7ae2b",
    "yelp2018": "9f0859d4a41ed938387b5b4a601b7be7b64eb04de4ab9e6d878892acbf4c5343",
}


def read(name: str, place: Path) -> Dataset:
    """The data set in the folder ``place``, with its test part as ``given_test``; raises :class:`InputError`."""
    train, test = (_pairs(place, part) for part in ("train.txt", "test.txt"))
    users, items = (np.concatenate(both) for both in zip(train, test, strict=True))
    m, n = int(users.max()) + 1, int(items.max()) + 1
    for what, found, count in (("training items of user", train[0], m), ("interaction with item", items, n)):
        if (missing := _first_missing(found)) < count:
            raise InputError(f"{place} has no {what} {missing}: get new copies of both parts")
    key = np.sort(users * n + items)
    if (twice := key[:-1][key[1:] == key[:-1]]).size:
        pair = f"user {twice[0] // n} and item {twice[0] % n}"
        raise InputError(f"{place} has {pair} more than once in train.txt and test.txt: get new copies of them")
    data = assemble(
        name,
        users,
        items,
        None,
        user_ids=[str(user) for user in range(m)],
        item_ids=[str(item) for item in range(n)],
        catalogue=[(f"item {item}", "", "", "") for item in range(n)],
        licence=LICENCES[name],
        notes=NOTES,
    )
    return replace(data, given_test=UserItems.from_pairs(torch.from_numpy(test[0]), torch.from_numpy(test[1]), m))


def is_published(name: str, place: Path) -> bool:
    """Whether the split at ``place`` is the published one, whatever the order of the items in a line."""
    return read(name, place).sha256 == _PUBLISHED[name]


read_gowalla, read_yelp2018 = partial(read, "gowalla"), partial(read, "yelp2018")


def _first_missing(numbers: np.ndarray) -> int:
    """The smallest whole number from 0 that does not occur."""
    distinct = np.unique(numbers)
    return int((distinct == np.arange(len(distinct))).argmin()) if distinct[-1] >= len(distinct) else len(distinct)


def _pairs(place: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of one part, (rows,) int64 each, ordered by user and item."""
    path = files.beside(place, name)
    if path is None:
        raise InputError(f"{place} has no {name} or {name}.gz: put both parts of the split there")
    users, items, seen = array("q"), array("q"), set[int]()
    for line, text in enumerate(files.read(path).decode("ascii", "replace").splitlines(), 1):
        numbers = [int(word) for word in text.split() if word.isascii() and word.isdigit()]
        if len(numbers) != len(text.split()) or any(number >= _LARGEST for number in numbers):
            raise InputError(f"{path}, line {line}: whole numbers from 0 are expected, not {text[:40]!r}")
        if not numbers:
            continue
        if numbers[0] in seen:
            raise InputError(f"{path}, line {line}: user {numbers[0]} has a line before: get a new copy of the file")
        seen.add(numbers[0])
        users.extend([numbers[0]] * (len(numbers) - 1))
        items.extend(numbers[1:])
    if not users:
        raise InputError(f"{path} has no interactions in it: get a new copy of the file")
    pairs = np.asarray(users), np.asarray(items)
    order = np.lexsort(pairs[::-1])
    return pairs[0][order], pairs[1][order]
