r"""What protection costs: FedMF and FedNCF under user-level and local differential privacy, and under plain noise.

One setting, that of the leaderboard's first part: leave-one-out against 99 sampled items, training negatives from all
that a client has not trained on, all clients in each of 100 rounds, and the learning rates that were chosen for the run
without protection. What a protection has to choose beside its :math:`\epsilon`, the bound on an update, is a cell each:
whoever reads the rows takes the one that is best on *validation* items, and sees the others.

Local differential privacy is stated for each number in each round, with pseudo-interacted items as FedPerGNN has them.
Plain noise has no guarantee; its variances are those of the uploaded differences. FedMR's Table 4 adds a variance of .1
to *gradients*, which on a difference made with the learning rate :math:`\eta` is :math:`.1\,\eta^2`: 1000 for the
rate of 100 that the items have here. Secure aggregation has no row: its sums, and so its run, are those without
protection but for the rounding (``tests/backbones/test_contract.py``).
"""

from __future__ import annotations

from typing import Any

from fedlib.places import Place
from fedlib.privacy.protect import LocalDP, PlainNoise, UserLevelDP
from fedlib.reproduce.cells import Cell, Grid, Table
from fedlib.reproduce.leaderboard import FEDERATED, SETTINGS

HOW, METRIC = SETTINGS["loo99/unobserved"]
EPSILONS = (2, 8, 32, 128)
CLIPS = {"fedmf": (1.0, 3.16, 10.0), "fedncf": (0.1, 0.316, 1.0)}
PROTECTIONS: dict[str, Place | None] = {
    "none": None,
    **{f"noise/{variance:g}": PlainNoise(variance=variance) for variance in (0.1, 10, 1000)},
    **{
        f"local-dp/{epsilon}/{clip:g}": LocalDP(clip=clip, scale=2 * clip / epsilon)
        for epsilon in (1, 8)
        for clip in (0.1, 1.0)
    },
}


def cells() -> tuple[Cell, ...]:
    """The rows that train nothing, then each model under each protection."""
    found = [
        Cell(name, {"backbone": name, "protocol": HOW["protocol"], "topk": "5,10,20"})
        for name in ("random", "popularity")
    ]
    for model, clips in CLIPS.items():
        own, lr, lr_items = FEDERATED[model]
        options: dict[str, Any] = {"backbone": model, "topk": "5,10,20", "evaluate_every": 100} | HOW | own
        private = {
            f"user-dp/{epsilon}/{clip:g}": UserLevelDP(clip=clip, epsilon=epsilon)
            for epsilon in EPSILONS
            for clip in clips
        }
        found += [
            Cell(f"{model}/{name}", options, Grid(lr, lr_items, METRIC), protect=protect)
            for name, protect in {**PROTECTIONS, **private}.items()
        ]
    return tuple(found)


PRIVACY = Table("privacy", "privacy against quality", cells())
