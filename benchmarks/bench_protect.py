"""What differential privacy adds to a round, and robust aggregation of a full stack of updates."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import peak_mb, seconds
from fedlib import FedMF, LocalTraining, Place, federate, load, rng
from fedlib.data.interactions import Split
from fedlib.protect.mechanisms import gaussian_sum_noise
from fedlib.protect.noise import UserLevelDP
from fedlib.protect.robust import coordinate_median, multi_krum, norm_bound, trimmed_mean

Row = dict[str, Any]


def dp_round(name: str, count: int = 8) -> Row:
    """A round of FedMF with clipping and noise beside one without; a bound that binds nobody must change nothing."""
    split = load(name).leave_one_out(seed=0)

    def run(protect: Place | None, split: Split, rounds: int) -> Any:
        return federate(split, FedMF(32), protect=protect, local=LocalTraining(lr=0.01), rounds=rounds,
                        evaluate_every=rounds, device="cpu")  # fmt: skip

    few = split.data.keep_users(torch.arange(40), "forty users").leave_one_out(seed=0)
    idle = UserLevelDP(clip=1e9, noise_multiplier=1e-35)
    plain, same = (run(protect, few, 2).state.tensors() for protect in (None, idle))
    assert all(torch.equal(same[key], value) for key, value in plain.items()), "clipping at 1e9 changed a number"
    without, protected = (
        statistics.median(run(protect, split, count).history["seconds"].tolist()[2:])
        for protect in (None, UserLevelDP(clip=0.1, noise_multiplier=1.0))
    )
    return {"name": f"FedMF round with clipping and noise, {name}", "seconds": protected, "asked": "1.2 x without",
            "peak_mb": peak_mb(), "note": f"{protected / without:.2f} x without"}  # fmt: skip


def robust_rules(clients: int = 943, items: int = 1_682, dim: int = 32) -> list[Row]:
    """Each rule on a full stack of item tables; numpy must agree on a corner of it first."""
    updates = torch.empty(clients, items, dim)
    for client in range(clients):
        updates[client] = gaussian_sum_noise((items, dim), 1.0, rng.key(0, "updates", client))
    touched = rng.uniform(rng.key(0, "touched"), torch.arange(clients * items)).view(clients, items) < 0.25
    corner = updates[:, :50]
    assert np.allclose(coordinate_median(corner), np.median(corner, axis=0)), "the median is another"
    rules: dict[str, Callable[[Tensor], Tensor]] = {
        "median": coordinate_median,
        "median of those who touched": partial(coordinate_median, touched=touched),
        "trimmed mean": partial(trimmed_mean, share=0.1),
        "norm bound": norm_bound,
        "Multi-Krum": partial(multi_krum, f=100, m=100),
    }
    return [
        {"name": f"{name}, {clients} x {items * dim:,}", "seconds": seconds(partial(rule, updates), 3)[1],
         "peak_mb": peak_mb(), "note": f"the stack takes {updates.numel() * 4 / 1e6:.0f} MB"}
        for name, rule in rules.items()
    ]  # fmt: skip
