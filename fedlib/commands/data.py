"""``fedlib data``: what data sets there are, fetching them, checking them."""

from __future__ import annotations

from fedlib.data import check, fetch, names


def show_list() -> None:
    """Print a line for each data set with a name: where it is, and its licence."""
    rows = [("name", "where", "licence"), *((name, where, licence) for name, licence, where in names())]
    first, second = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    for name, where, licence in rows:
        print(f"{name:{first}}{where:{second}}{licence}")


def show_fetched(name: str) -> None:
    """Fetch a data set unless it is there, and print where it lies."""
    print(fetch(name))


def show_check(name: str) -> None:
    """Print what is in a data set."""
    print(check(name))
