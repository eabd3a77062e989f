"""Data sets by name: where they are looked for, how they are read, and how they are fetched."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from fedlib.data import amazon, folder, graphsplits, movielens
from fedlib.data.download import download as _download
from fedlib.data.files import explained
from fedlib.data.interactions import Dataset
from fedlib.data.shop import LICENCE as SYNTHETIC_LICENCE
from fedlib.data.shop import synthetic
from fedlib.errors import InputError


@dataclass(frozen=True)
class Source:
    """How to read a published data set from a folder or archive, and where it is published.

    ``published(name, place)`` says whether a copy is the published one. Where there is no official archive, ``url``
    names the pages to get the files from by hand, ``md5`` is None, and ``by_hand`` says which files.
    """

    read: Callable[[Path], Dataset]
    published: Callable[[str, Path], bool | None]
    licence: str
    url: str
    md5: str | None
    by_hand: str = ""


SOURCES = {
    "ml-100k": Source(
        movielens.read_100k,
        movielens.is_published,
        movielens.LICENCE,
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        "0e33842e24a9c977be4e0107933c0723",
    ),
    "ml-1m": Source(
        movielens.read_1m,
        movielens.is_published,
        movielens.LICENCE,
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        "c4d9eecfca2ab87c1945afe126590906",
    ),
    "gowalla": Source(
        graphsplits.read_gowalla,
        graphsplits.is_published,
        graphsplits.LICENCES["gowalla"],
        "github.com/kuandeng/LightGCN or github.com/gusye1234/LightGCN-PyTorch",
        None,
        graphsplits.PARTS,
    ),
    "yelp2018": Source(
        graphsplits.read_yelp2018,
        graphsplits.is_published,
        graphsplits.LICENCES["yelp2018"],
        "github.com/kuandeng/LightGCN or github.com/gusye1234/LightGCN-PyTorch",
        None,
        graphsplits.PARTS,
    ),
    "amazon-industrial": Source(
        amazon.read_industrial,
        amazon.is_published,
        amazon.LICENCE,
        amazon.URL,
        None,
        amazon.parts("amazon-industrial"),
    ),
    "amazon-software": Source(
        amazon.read_software,
        amazon.is_published,
        amazon.LICENCE,
        amazon.URL,
        None,
        amazon.parts("amazon-software"),
    ),
}


def load(
    name_or_folder: str | Path, *, root: str | Path | None = None, download: bool = True, progress: bool = True
) -> Dataset:
    """The data set of that name, or the one in a folder of one's own (see :mod:`fedlib.data.folder`).

    A named data set is looked for as ``<name>/`` or ``<name>.zip`` in ``root`` (without it, in the folder that the
    environment variable ``FEDLIB_DATA`` names), then in the user's cache, and is then fetched into the cache; with
    ``download=False`` it is not fetched. A folder whose name is a data set's is meant by writing ``./`` before it.
    Raises :class:`InputError` if there is no such data set or its files cannot be used.
    """
    name = str(name_or_folder)
    if name == "synthetic":
        return synthetic()
    if name not in SOURCES:
        return _own(name)
    place = _find(name, root)
    if place is None and not download:
        looked = " or ".join(str(base) for base in (_root(root), _cache()) if base)
        raise InputError(f"{name} is not in {looked}: run `fedlib data fetch {name}` first")
    return SOURCES[name].read(place or fetch(name, root=root, progress=progress))


def fetch(name: str, *, root: str | Path | None = None, progress: bool = True) -> Path:
    """Where the named data set lies, after fetching it into the user's cache if it is nowhere.

    The licence is printed to standard error when something is fetched. Raises :class:`InputError` if that fails, or
    for a data set that has no official archive.
    """
    if name not in SOURCES:
        raise InputError(f"{name} cannot be fetched; what can be fetched is {_fetched()}")
    place = _find(name, root)
    if place is not None:
        return place
    source = SOURCES[name]
    if source.md5 is None:
        raise InputError(
            f"{name} has no official archive to fetch: put {source.by_hand}, "
            f"as found at {source.url}, in {_cache() / name}"
        )
    print(f"Fetching {name}. {source.licence}.", file=sys.stderr)
    return _download(source.url, _cache() / f"{name}.zip", source.md5, progress=progress)


def names(*, root: str | Path | None = None) -> list[tuple[str, str, str]]:
    """(name, licence, where it was found or "not here") of every data set with a name."""
    found = [(name, source.licence, str(_find(name, root) or "not here")) for name, source in SOURCES.items()]
    return [*found, ("synthetic", SYNTHETIC_LICENCE, "built in")]


def check(name_or_folder: str | Path, *, root: str | Path | None = None) -> str:
    """A summary of a data set that is at hand, one fact a line; raises :class:`InputError` as :func:`load` does."""
    data = load(name_or_folder, root=root, download=False)
    place = _find(data.name, root) if str(name_or_folder) in SOURCES else None
    count = len(data.interactions.items)
    facts = {
        "name": data.name,
        "read from": str(place or ("built in" if data.truth is not None else Path(name_or_folder).resolve())),
        "users": f"{data.n_users:,}",
        "items": f"{data.n_items:,}",
        "interactions": f"{count:,}",
        "sparsity": f"{100 * (1 - count / (data.n_users * data.n_items)):.2f} %",
        "sha256": data.sha256,
        "licence": data.licence,
    }
    if place is not None:
        same = SOURCES[data.name].published(data.name, place)
        facts["published file"] = {True: "the same", False: "different", None: "not in this copy"}[same]
    if data.notes:
        facts["notes"] = "; ".join(data.notes)
    return "\n".join(f"{fact:15}{value}" for fact, value in facts.items())


def _fetched() -> str:
    return ", ".join(name for name, source in SOURCES.items() if source.md5 is not None)


def _own(name: str) -> Dataset:
    path = Path(name)
    with explained(path):
        if name and (path.exists() or path.name != name):
            return folder.read(path)
    known = ", ".join([*SOURCES, "synthetic"])
    raise InputError(f"there is no data set or folder {name!r}: name one of {known}, or a folder of your own")


def _find(name: str, root: str | Path | None) -> Path | None:
    places = [base / entry for base in (_root(root), _cache()) if base for entry in (name, f"{name}.zip")]
    return next((place for place in places if place.exists()), None)


def _root(root: str | Path | None) -> Path | None:
    given = root if root is not None else os.environ.get("FEDLIB_DATA") or None
    if given is None:
        return None
    if not Path(given).is_dir():
        which = "root" if root is not None else "FEDLIB_DATA"
        raise InputError(f"{which} is {str(given)!r}, which is not a folder: name the folder that holds the data sets")
    return Path(given)


def _cache() -> Path:
    return user_cache_path("fedlib")
