"""The tables of the book and of the papers as data, and the runs that answer them."""

from __future__ import annotations

from fedlib.reproduce.cells import Cell, Grid, Table
from fedlib.reproduce.results import per_user, read_rows

__all__ = ["Cell", "Grid", "Table", "per_user", "read_rows"]
