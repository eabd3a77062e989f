"""Failing, broken and hostile clients, and what a server that does not trust them gets out of it.

FedMF on a tenth of the clients in each of 100 rounds, leave-one-out against 99 sampled items, training negatives from
all that a client has not trained on. Every way to combine updates has the learning rates that are best on validation
items while nothing goes wrong: who sets a server up does not know what will. Hostile clients are the same fifth of all
clients in every round, and the robust rules reckon with three in ten, because more than a fifth may be drawn.

In all cells the server refuses what is no number. The target of those who promote is an item of few users, so that in a
round hardly any honest client touches its row but those who drew it as a negative. "norm" bounds updates by the median
norm of the round.
"""

from __future__ import annotations

from typing import Any

from fedlib.protect.robust import RobustAggregation
from fedlib.reproduce.cells import Cell, Grid, Table
from fedlib.reproduce.leaderboard import SETTINGS
from fedlib.run.faults import Faults

HOW, METRIC = SETTINGS["loo99/unobserved"]
TARGET = 1500
CONDITIONS: dict[str, dict[str, Any]] = {
    "clean": {},
    "drop-outs": {"before": 0.3},
    "broken": {"broken": 0.05},
    "sign-flip": {"hostile": 0.2, "attack": "sign-flip", "strength": 5.0},
    "scale": {"hostile": 0.2, "attack": "scale", "strength": 10.0},
    "promote": {"hostile": 0.2, "attack": "promote", "strength": 5.0},
    "label-flip": {"hostile": 0.2, "attack": "label-flip"},
    "all three": {"before": 0.3, "broken": 0.05, "hostile": 0.2, "attack": "sign-flip", "strength": 5.0},
}
OPTIONS: dict[str, Any] = {
    "backbone": "fedmf",
    "clients_per_round": 0.1,
    "topk": "5,10,20",
    "evaluate_every": 100,
} | HOW
RULES = ("mean", "median", "trimmed", "norm", "krum")
RATES = Grid((1,), (100, 316, 1000), METRIC, protected=True)


def cells() -> tuple[Cell, ...]:
    """The rows that train nothing, then each condition under each rule."""
    found = [
        Cell(name, {"backbone": name, "protocol": HOW["protocol"], "topk": "5,10,20"})
        for name in ("random", "popularity")
    ]
    for condition, shares in CONDITIONS.items():
        for rule in RULES:
            protect = None if rule == "mean" else RobustAggregation(rule=rule, share=0.3)
            faults = Faults(target=TARGET, **shares)
            found.append(Cell(f"{condition}/{rule}", OPTIONS, RATES, protect=protect, faults=faults))
    return tuple(found)


FAULTS = Table("faults", "failing and hostile clients", cells())
