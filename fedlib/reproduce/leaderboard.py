"""Every backbone under one protocol at a time: the settings, and the rates that may be chosen.

Three settings: leave-one-out against 99 sampled items, with training negatives drawn from all that a client has not
trained on ("unobserved") and from what it never touched, held-out items spared ("untouched", the convention of the
published code); and leave-one-out ranked among all items. All clients take part in each of 100 rounds of one local
epoch, so that bytes and seconds can be compared. FedRAP trains with its authors' batch, weight decay and decay of the
rates.
"""

from __future__ import annotations

from typing import Any

from fedlib.reproduce.cells import Cell, Grid, Table

TOPK = "5,10,20,50,100"
SETTINGS = {
    "loo99/unobserved": ({"protocol": "loo99", "negatives_from": "unobserved"}, "NDCG@10"),
    "loo99/untouched": ({"protocol": "loo99", "negatives_from": "untouched"}, "NDCG@10"),
    "full/unobserved": ({"protocol": "full", "negatives_from": "unobserved"}, "NDCG@50"),
}
WITH_BOTH = ("local-only", "fedavg", "fcf", "fedmf", "fedncf", "pfedrec", "fedrap")  # negatives of either kind
FEDERATED: dict[str, tuple[dict[str, Any], tuple[float, ...], tuple[float, ...] | None]] = {
    "local-only": ({"backbone": "fedmf", "local_only": True}, (1, 3.16, 10), (31.6, 100)),
    "fedavg": ({}, (0.1, 0.316, 1), (1000, 10000)),
    "fcf": ({}, (0.1, 0.316, 1), (1000, 10000)),
    "fcf-als": ({}, (0.01, 0.0316, 0.1), None),
    "fedmf": ({}, (3.16, 10), (31.6, 100)),
    "fedncf": ({}, (0.0316, 0.1), None),
    "fedneumf": ({}, (0.0316,), None),
    "pfedrec": ({}, (0.1, 0.316), (1000, 3160, 10000)),
    "fedrap": (
        {"batch": 2048, "weight_decay": 1e-6, "lr_decay": 0.97},
        (0.0001, 0.01),
        (31.6, 1000, 10000),
    ),
    "fedpergnn": ({}, (3.16, 10), (100, 316)),
    "fedngcf": ({"stores": 10}, (0.004,), None),
}
CENTRALISED = ("random", "popularity", "itemknn", "bpr")


def cells() -> tuple[Cell, ...]:
    """All rows, setting by setting; what has no sampled negatives stands under "unobserved"."""
    found = []
    for setting, (how, metric) in SETTINGS.items():
        if setting != "loo99/untouched":
            protocol = {"protocol": how["protocol"], "topk": TOPK}
            found += [Cell(f"{setting}/{name}", {"backbone": name} | protocol) for name in CENTRALISED]
        for name, (own, lr, lr_items) in FEDERATED.items():
            if setting == "loo99/untouched" and name not in WITH_BOTH:
                continue
            shared: dict[str, Any] = {"backbone": name, "topk": TOPK, "evaluate_every": 100} | how
            if name == "fcf-als":
                del shared["negatives_from"]
            found.append(Cell(f"{setting}/{name}", shared | own, Grid(lr, lr_items, metric)))
    return tuple(found)


LEADERBOARD = Table("leaderboard", "every backbone, one protocol at a time", cells())
