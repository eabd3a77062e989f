"""MovieLens 100K and 1M (Harper and Konstan, *The MovieLens Datasets*, ACM TiiS 5(4), 2015).

Every rating counts as an interaction, whatever its value. Items are the rated movies in the order of their ids. The
files are read from the official archive, from its unpacked folder, or gzip-compressed one by one. For 1M there is a
second layout, which carries the order in time without the ratings: ``interactions.csv`` (``user_id, item, position``)
and ``items.csv`` (``item, movie_id, title, genres``).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedlib.data import files
from fedlib.data.assemble import assemble
from fedlib.data.interactions import Dataset
from fedlib.errors import InputError

LICENCE = (
    "MovieLens, GroupLens Research: for research, with acknowledgement; no redistribution and no commercial use "
    "without permission"
)
# fmt: off
GENRES_100K = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on
_LARGEST = 1 << 40
# What `git hash-object` says of the published rating files.
_PUBLISHED = {
    "ml-100k": ("u.data", "16ef21ed827cae1a3f71e89e23cffb5a8f44baae"),
    "ml-1m": ("ratings.dat", "77a7c4b150f588c23bb9e1f068aa996c0b413695"),
}


def read_100k(place: Path) -> Dataset:
    """MovieLens 100K from a folder or archive with ``u.data`` and ``u.item``; raises :class:`InputError`."""
    ratings = _ratings(_Source(place, "ml-100k", "u.data"), "\t")
    movies = {}
    source = _Source(place, "ml-100k", "u.item")
    for line, fields in source.rows("|", 5 + len(GENRES_100K)):
        flags = zip(fields[5:], GENRES_100K, strict=True)
        movies[source.numbers(line, fields[:1])[0]] = fields[1], "|".join(genre for flag, genre in flags if flag == "1")
    return _dataset("ml-100k", ratings, movies, source)


def read_1m(place: Path) -> Dataset:
    """MovieLens 1M from a folder or archive, in either layout; raises :class:`InputError`."""
    ratings = _Source(place, "ml-1m", "ratings.dat")
    if not ratings.exists() and place.is_dir() and files.beside(place, "interactions.csv"):
        return _read_tables(place)
    source = _Source(place, "ml-1m", "movies.dat")
    movies = {
        source.numbers(line, [movie])[0]: (title, genres) for line, (movie, title, genres) in source.rows("::", 3)
    }
    return _dataset("ml-1m", _ratings(ratings, "::"), movies, source)


def is_published(name: str, place: Path) -> bool | None:
    """Whether the ratings at ``place`` are, byte for byte, the published ones; None where they are not as a file."""
    file, digest = _PUBLISHED[name]
    source = _Source(place, name, file)
    if not source.exists():
        return None
    content = source.content()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == digest


class _Source:
    """One file of a MovieLens archive: in the unpacked folder, compressed there, or in the archive itself."""

    def __init__(self, place: Path, name: str, file: str):
        self.place, self.name, self.file = place, name, file

    def __str__(self) -> str:
        return str(self.place / self.file)

    def _find(self) -> bytes | None:
        path = files.beside(self.place, self.file)
        if path is not None:
            return files.read(path)
        archive = self.place if self.place.is_file() else self.place / f"{self.name}.zip"
        return files.read_member(archive, f"{self.name}/{self.file}") if archive.exists() else None

    def exists(self) -> bool:
        return self._find() is not None

    def content(self) -> bytes:
        content = self._find()
        if content is None:
            wanted = f"{self.file}, {self.file}.gz or {self.name}.zip with {self.file} inside"
            raise InputError(f"{self.place} has no {wanted}: unpack {self.name}.zip there, or fetch it again")
        return content

    def rows(self, separator: str, width: int) -> Iterator[tuple[int, list[str]]]:
        """(line, fields) of each line that is not blank; the text is ISO-8859-1."""
        for line, text in enumerate(self.content().decode("latin-1").split("\n"), 1):
            fields = text.rstrip("\r").split(separator)
            if len(fields) == width:
                yield line, fields
            elif text.strip():
                raise InputError(f"{self}, line {line}: {len(fields)} fields, but {width} are expected")

    def numbers(self, line: int, texts: list[str]) -> list[int]:
        """``texts`` as whole numbers from 0 up to 2^40."""
        joined = "".join(texts)  # one test for all: this runs a million times
        if joined.isascii() and joined.isdigit() and all(texts):
            numbers = [int(text) for text in texts]
            if max(numbers) < _LARGEST:
                return numbers
        shown = ", ".join(text[:20] for text in texts)
        raise InputError(f"{self}, line {line}: whole numbers from 0 to 2^40 are expected, not {shown!r}")


def _ratings(source: _Source, separator: str) -> np.ndarray:
    """User, item and time of each rating, (rows, 3) int64."""
    numbers = array("q")
    for line, (user, item, _, time) in source.rows(separator, 4):
        numbers.extend(source.numbers(line, [user, item, time]))
    if not numbers:
        raise InputError(f"{source} has no ratings in it: fetch the data set again")
    return np.asarray(numbers).reshape(-1, 3)


def _dataset(name: str, ratings: np.ndarray, movies: dict[int, tuple[str, str]], source: _Source) -> Dataset:
    user_ids, users = np.unique(ratings[:, 0], return_inverse=True)
    item_ids, items = np.unique(ratings[:, 1], return_inverse=True)
    unknown = [movie for movie in item_ids.tolist() if movie not in movies]
    if unknown:
        raise InputError(f"{source} has no line for movie {unknown[0]}, which is rated: fetch the data set again")
    return assemble(
        name,
        users,
        items,
        ratings[:, 2],
        user_ids=[str(user) for user in user_ids],
        item_ids=[str(item) for item in item_ids],
        catalogue=[_describe(*movies[movie]) for movie in item_ids.tolist()],
        licence=LICENCE,
    )


def _describe(title: str, genres: str) -> tuple[str, str, str, str]:
    """A row of the catalogue: "Toy Story (1995). Genres: Animation, Comedy." describes the first movie."""
    told = f"{title}. Genres: {', '.join(genres.split('|'))}." if genres else f"{title}."
    return title, told, genres, ""


def _read_tables(place: Path) -> Dataset:
    """The second layout of 1M; an item whose movie is not known has the id ``rank-<item>`` and no title."""
    path = files.beside(place, "items.csv")
    if path is None:
        raise InputError(f"{place} has no items.csv or items.csv.gz beside its interactions: put it there")
    with files.table(path, ("item", "movie_id", "title", "genres")) as (_, rows):
        movies = [row for _, row in rows]
    if [row[0] for row in movies] != [str(index) for index in range(len(movies))]:
        raise InputError(f"{path} must list the items 0, 1, 2 and so on, one a line: get a new copy of the file")
    numbers = _numbers(place, len(movies))
    user_ids, users = np.unique(numbers[:, 0], return_inverse=True)
    untitled = sum(not row[2] for row in movies)
    return assemble(
        "ml-1m",
        users,
        numbers[:, 1].copy(),
        numbers[:, 2],
        user_ids=[str(user) for user in user_ids],
        item_ids=[movie or f"rank-{item}" for item, movie, _, _ in movies],
        catalogue=[_describe(title or "unknown", genres) for _, _, title, genres in movies],
        licence=LICENCE,
        notes=(f"{untitled} items have no known title in this copy",) if untitled else (),
    )


def _numbers(place: Path, n_items: int) -> np.ndarray:
    """User, item and position of each interaction, (rows, 3) int64."""
    path = files.beside(place, "interactions.csv")
    assert path is not None  # it decided for this layout
    source = _Source(place, "ml-1m", path.name)
    numbers = array("q")
    with files.table(path, ("user_id", "item", "position")) as (_, rows):
        for line, row in rows:
            numbers.extend(source.numbers(line, row))
            if numbers[-2] >= n_items:
                raise InputError(f"{path}, line {line}: item {numbers[-2]} is not in items.csv")
    if not numbers:
        raise InputError(f"{path} has no interactions in it: get a new copy of the file")
    return np.asarray(numbers).reshape(-1, 3)
