"""NGCF beside what others report of it, on a random sample of users that every machine can train on.

He et al. (SIGIR 2020, Table 3) report recall@20 .1570 for NGCF on all of Gowalla and .0579 on all of Yelp2018, after up
to 400 epochs at the authors' learning rate of .0001. Those are hours on a graphics card and days without one. Here the
data are 5,000 users, a tenth of whose training items are for validation; the rate is ten times the authors', for 40
epochs; so the figures are not comparable with theirs, only with one another.
"""

from __future__ import annotations

from typing import Any

from fedlib.reproduce.cells import Cell, Table

USERS = 5000
SHARED: dict[str, Any] = {"protocol": "ratio80", "topk": "20,100"}
TRAINED: dict[str, Any] = SHARED | {"dim": 64, "lr": 0.001, "rounds": 40}

ROWS = {"random": SHARED, "popularity": SHARED, "itemknn": SHARED, "bpr": TRAINED, "ngcf": TRAINED}

NGCF = Table(
    "ngcf",
    "NGCF on a sample of users",
    tuple(Cell(name, options | {"backbone": name}, users=USERS) for name, options in ROWS.items()),
)
