"""How the vector that a client reads of an item meets the tables of a backbone.

What a client *stores* of an item and what its backbone *reads* need not be the same: a fusion stores a wide table of
free vectors beside fixed features, and reads one vector made of both. A backbone says here how such a vector meets what
it has tables for; it knows no fusion. Shape letters: K clients, R item rows, d the width a backbone reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fedlib.shapes import Rows, Table


class Meeting(Protocol):
    """How a vector meets a backbone's tables, in a few answers.

    ``stored``: the tables to keep in the place of a backbone's own, where free vectors are ``dim`` wide. ``ids``: the
    free vectors (K, R, dim) among the stored rows. ``meet``: the rows a backbone reads, from the stored rows and the
    vectors (K, R, d) that were made of them; ``keeps_rows``: whether it looks at the stored rows for that. ``width``:
    that of the vectors, d.
    """

    @property
    def keeps_rows(self) -> bool: ...
    def stored(self, tables: dict[str, Table], dim: int, std: float) -> dict[str, Table]: ...
    def ids(self, rows: Rows) -> Tensor: ...
    def meet(self, rows: Rows, read: Tensor) -> Rows: ...
    def width(self, tables: dict[str, Table]) -> int: ...


@dataclass(frozen=True)
class Replaces:
    """What is read takes the place of a row of the table ``name``, which is the backbone's only one."""

    name: str = "item"
    keeps_rows: ClassVar[bool] = False

    def stored(self, tables: dict[str, Table], dim: int, std: float) -> dict[str, Table]:
        """That table in the width of the free vectors."""
        return {self.name: replace(tables[self.name], dim=dim, std=std)}

    def ids(self, rows: Rows) -> Tensor:
        """Its rows."""
        return rows[self.name]

    def meet(self, rows: Rows, read: Tensor) -> Rows:
        """The vectors under the table's name."""
        return {self.name: read}

    def width(self, tables: dict[str, Table]) -> int:
        """That of the table."""
        return tables[self.name].dim


@dataclass(frozen=True)
class IsSum:
    """The free vector is the sum of the two tables ``first`` and ``second``, as FedRAP's item vector is."""

    first: str
    second: str
    keeps_rows: ClassVar[bool] = False

    def stored(self, tables: dict[str, Table], dim: int, std: float) -> dict[str, Table]:
        """Both in the width of the free vectors."""
        return {name: replace(tables[name], dim=dim, std=std) for name in (self.first, self.second)}

    def ids(self, rows: Rows) -> Tensor:
        """The sum."""
        return rows[self.first] + rows[self.second]

    def meet(self, rows: Rows, read: Tensor) -> Rows:
        """The vectors in the place of the sum: the second part is zero."""
        return {self.first: read, self.second: torch.zeros_like(read)}

    def width(self, tables: dict[str, Table]) -> int:
        """That of both tables."""
        return tables[self.first].dim


@dataclass(frozen=True)
class IsAdded:
    """What is read is added to the rows of all the backbone's tables, which have one width; free vectors have a table
    of their own, ``id``."""

    name: str = "id"
    keeps_rows: ClassVar[bool] = True

    def stored(self, tables: dict[str, Table], dim: int, std: float) -> dict[str, Table]:
        """The backbone's own tables and one more."""
        return tables | {self.name: Table(dim, std)}

    def ids(self, rows: Rows) -> Tensor:
        """The rows of that table."""
        return rows[self.name]

    def meet(self, rows: Rows, read: Tensor) -> Rows:
        """The sums."""
        return {name: q + read for name, q in rows.items() if name != self.name}

    def width(self, tables: dict[str, Table]) -> int:
        """That of the tables."""
        return next(iter(tables.values())).dim
