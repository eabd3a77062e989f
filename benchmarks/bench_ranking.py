"""What a full ranking costs, next to the arithmetic it cannot avoid.

Vectors are random, with the shapes of MovieLens 1M (leave-one-out) and of Gowalla (the NGCF split).
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import machine
from fedlib import rng
from fedlib.data.log import UserItems
from fedlib.evaluation.metrics import Ranking, rank_all


class Shape(NamedTuple):
    """m users, n items, d factors; training and held-out interactions; where exact ranks end; the time allowed."""

    m: int
    n: int
    d: int
    train: int
    held_out: int
    k_max: int | None
    asked: str


SHAPES = {
    "ML-1M, one held-out item a user": Shape(6_040, 3_706, 32, 988_129, 6_040, None, "2 s"),
    "Gowalla, ranks to 100": Shape(29_858, 40_981, 64, 810_128, 217_242, 100, "60 s, 2,000 MB"),
    "Gowalla, all ranks": Shape(29_858, 40_981, 64, 810_128, 217_242, None, "60 s, 2,000 MB"),
}


def ranking_rows(threads: int) -> list[dict[str, Any]]:
    """One row a shape: name, seconds, peak_mb (of the whole process), floor_seconds, floor_what.

    Every shape runs in a process of its own, so that its peak memory is its own.
    """
    assert_equal_to_plain_loops()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=fresh, max_tasks_per_child=1) as pool:
        return [pool.submit(measure, name, threads).result() for name in SHAPES]


def assert_equal_to_plain_loops() -> None:
    """Ranks of a small case, with and without a limit, against a loop over users and candidates."""
    users, items, train, held_out = problem(Shape(40, 60, 3, 300, 80, None, "-"))
    scores = (users @ items.T).tolist()
    expected = []
    for user, item in zip(held_out.users.tolist(), held_out.items.tolist(), strict=True):
        seen = set(train[user].tolist())
        rivals = [scores[user][i] for i in range(60) if i != item and i not in seen]
        own = scores[user][item]
        expected.append(1 + sum(rival > own for rival in rivals) + sum(rival == own for rival in rivals) / 2)
    for k_max in (None, 10):
        ranks = rank_dot(users, items, train, held_out, k_max=k_max, memory_mb=0.01).ranks
        assert ranks.tolist() == [r if k_max is None or r <= k_max else float("inf") for r in expected], k_max


def rank_dot(users: Tensor, items: Tensor, train: UserItems, held_out: UserItems, **how: Any) -> Ranking:
    """Protocol B for scores ``u . v``."""
    return rank_all(lambda block: users[block] @ items.T, [train], held_out, **how)


def problem(shape: Shape) -> tuple[Tensor, Tensor, UserItems, UserItems]:
    """Random vectors of users and items, and logs whose training and held-out items never meet."""
    m, n, d = shape.m, shape.n, shape.d
    users, items = (
        rng.normal(rng.key(0, what), torch.arange(rows)[:, None], torch.arange(d)).float()
        for what, rows in (("users", m), ("items", n))
    )
    train = _log("train", shape.train, m, 0, n // 2)
    return users, items, train, _log("held out", shape.held_out, m, n // 2, n - n // 2)


def _log(what: str, count: int, m: int, first: int, width: int) -> UserItems:
    """``count`` different pairs, each user's share equal up to one, with items from ``first`` on."""
    index = torch.arange(count)
    users = index % m
    offset = rng.integers(width, rng.key(0, what), users)
    return UserItems.from_pairs(users, first + (offset + index // m) % width, m)


def measure(name: str, threads: int) -> dict[str, Any]:
    """Time one shape in this process."""
    torch.set_num_threads(threads)
    shape = SHAPES[name]
    users, items, train, held_out = problem(shape)
    rank = partial(rank_dot, users, items, train, held_out, k_max=shape.k_max)
    seconds, _ = machine.seconds(lambda: rank().metrics((10, 20)), repeats=1)
    rate = machine.matrix_rate()
    floor = 2 * shape.m * shape.n * shape.d / rate
    return {
        "name": f"full ranking: {name}",
        "seconds": seconds,
        "asked": shape.asked,
        "peak_mb": machine.peak_mb(),
        "floor_seconds": floor,
        "floor_what": f"the scores' 2 m n d operations at {rate / 1e9:.0f} GFLOP/s",
    }
