r"""What protection costs: models under user-level and local differential privacy, and under plain noise.

One setting, that of the leaderboard's first part: leave-one-out against 99 sampled items, training negatives from all
that a client has not trained on, all clients in each of 100 rounds, and the learning rates that were chosen for the run
without protection. What a protection has to choose beside its :math:`\epsilon`, the bound on an update, is a cell each:
whoever reads the rows takes the one that is best on *validation* items, and sees the others. The bounds of each
:math:`\epsilon` reach beyond the best one on both sides. What a choice on the users' own items tells about them is not
in :math:`\epsilon` (Papernot and Steinke, ICLR 2022).

Local differential privacy is stated for each number in each round, with pseudo-interacted items as FedPerGNN has them.
Plain noise has no guarantee; its variances are those of the uploaded differences. FedMR's Table 4 adds a variance of .1
to *gradients*, which on a difference made with the learning rate :math:`\eta` is :math:`.1\,\eta^2`: 1000 for the
rate of 100 that the items have here. Runs without protection are rows of the leaderboard. Secure aggregation has no
row: its sums, and so its run, are those without protection but for the rounding (``tests/backbones/test_contract.py``).
"""

from __future__ import annotations

from typing import Any

from fedlib.places import Place
from fedlib.protect.noise import LocalDP, PlainNoise, UserLevelDP
from fedlib.reproduce.cells import Cell, Grid, Table
from fedlib.reproduce.leaderboard import FEDERATED, SETTINGS

HOW, METRIC = SETTINGS["loo99/unobserved"]
SHARED: dict[str, Any] = {"topk": "5,10,20"}


def user_dp(epsilons: tuple[float, ...], clips: tuple[float, ...]) -> dict[str, Place]:
    """User-level differential privacy with each bound on an update's norm, by name."""
    return {
        f"user-dp/{epsilon:g}/{clip:g}": UserLevelDP(clip=clip, epsilon=epsilon)
        for epsilon in epsilons
        for clip in clips
    }


def local_dp(epsilons: tuple[float, ...], clips: tuple[float, ...]) -> dict[str, Place]:
    """Local differential privacy of each number with each bound on a number, by name."""
    return {
        f"local-dp/{epsilon:g}/{clip:g}": LocalDP(clip=clip, scale=2 * clip / epsilon)
        for epsilon in epsilons
        for clip in clips
    }


def noise(*variances: float) -> dict[str, Place]:
    """Plain noise of each variance, by name."""
    return {f"noise/{variance:g}": PlainNoise(variance=variance) for variance in variances}


PROTECTIONS: dict[str, dict[str, Place]] = {
    "fedmf": user_dp((2, 8, 32, 128), (1.0, 3.16, 10.0))
    | user_dp((2,), (0.1, 0.316))
    | user_dp((32, 128), (31.6,))
    | noise(0.1, 1000)
    | local_dp((1, 8), (0.1,)),
    "fedavg": noise(0.1),
    "fcf": noise(0.1),
    "fedncf": user_dp((8,), (0.1, 0.316, 1.0)) | noise(0.1),
}


def cells() -> tuple[Cell, ...]:
    """The rows that train nothing, then each model under each protection."""
    found = [Cell(name, SHARED | {"backbone": name, "protocol": HOW["protocol"]}) for name in ("random", "popularity")]
    for model, protections in PROTECTIONS.items():
        own, lr, lr_items = FEDERATED[model]
        options = SHARED | {"backbone": model, "evaluate_every": 100} | HOW | own
        grid = Grid(lr, lr_items, METRIC)
        found += [Cell(f"{model}/{name}", options, grid, protect=place) for name, place in protections.items()]
    return tuple(found)


PRIVACY = Table("privacy", "privacy against quality", cells())
