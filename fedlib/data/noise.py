"""Edges that do not belong in a public log: at random, matched in popularity and degree, or of another taste."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError
from fedlib.shapes import real_of

KINDS = ("uniform", "popularity", "taste")
SWAPS = 200  # tried for each edge that finds its place taken
Edges = tuple[Tensor, Tensor]  # users (E,) and items (E,)


def uniform(free: Tensor, count: int, seed: int) -> Edges:
    """``count`` different pairs, uniform among the pairs marked in ``free`` (m, n) bool."""
    users, items = free.nonzero(as_tuple=True)
    if count > len(users):
        raise InputError(f"{count:,} noise edges do not fit the {len(users):,} pairs left: lower noise_share")
    chosen = rng.permutation(len(users), rng.key(seed, "uniform noise"))[:count]
    return users[chosen], items[chosen]


def popularity(free: Tensor, good: Edges, count: int, seed: int) -> Edges:
    """The good edges with their items passed around, so that neither popularity nor degree tells noise from good.

    Every user and every item keeps the number of good edges it has. If ``count`` is not the number of good edges,
    they are first repeated in a random order and cut to ``count``. Items are dealt out in a random order; an edge
    whose pair is not free exchanges its item with random other edges until none is left (degree-preserving swaps, as
    in Maslov and Sneppen, *Specificity and Stability in Topology of Protein Networks*, Science 296, 2002).
    """
    order = resized(len(good[0]), count, seed)
    users = good[0][order].tolist()
    items = good[1][order][rng.permutation(count, rng.key(seed, "dealt items"))].tolist()
    allowed = free.tolist()
    taken: set[tuple[int, int]] = set()
    waiting = [edge for edge in range(count) if not _place(users[edge], items[edge], allowed, taken)]
    unplaced = set(waiting)
    partners = rng.integers(max(count, 1), rng.key(seed, "swaps"), torch.arange(SWAPS * len(waiting))).tolist()
    for other in partners:
        if not waiting:
            break
        edge = waiting[-1]
        if other in unplaced or not _place(users[other], items[edge], allowed, taken):
            continue
        taken.remove((users[other], items[other]))
        items[edge], items[other] = items[other], items[edge]
        if _place(users[edge], items[edge], allowed, taken):
            unplaced.remove(waiting.pop())
    if waiting:
        raise InputError(
            "the choices are too dense for noise of the same popularity: ask for more users or items, fewer "
            "interactions, or a lower noise_share"
        )
    return torch.tensor(users, dtype=torch.int64), torch.tensor(items, dtype=torch.int64)


def taste(free: Tensor, utility: Tensor, stores: Tensor, users: Tensor, seed: int) -> Edges:
    """One edge for each of ``users`` (E,), chosen as a random user of another store would choose.

    ``utility`` (m, n) is what each user's choices are drawn from; each user borrows one other user's row.
    """
    if int(stores.max()) == int(stores.min()):
        raise InputError("noise of another taste needs 2 stores or more: raise n_stores or choose another noise")
    quota = torch.bincount(users, minlength=len(free))
    everyone = torch.arange(len(free))
    strangers = rng.uniform(rng.key(seed, "strangers"), everyone[:, None], everyone[None, :])
    strangers[stores[:, None] == stores[None, :]] = -1
    wanted = utility[strangers.argmax(dim=1)].masked_fill(~free, -torch.inf)
    if (quota > free.sum(dim=1)).any():
        raise InputError("the noise of a user does not fit the items left: lower noise_share or raise n_items")
    return first_choices(wanted, quota, rng.key(seed, "taste noise"))


def first_choices(utility: Tensor, quota: Tensor, stream: int) -> Edges:
    """``quota`` (m,) items per user, drawn without replacement by softmax(``utility`` (m, n)), in the order drawn.

    The quota largest of utility plus Gumbel noise are such a draw (Kool, van Hoof and Welling, *Stochastic Beams and
    Where to Find Them*, ICML 2019).
    """
    users, items = torch.arange(len(utility)), torch.arange(utility.shape[1])
    gumbel = -(-torch.log1p(-rng.uniform(stream, users[:, None], items[None, :]))).log()
    most = int(quota.max()) if len(quota) else 0
    chosen = (utility + gumbel).topk(most, dim=1).indices
    taken = real_of(chosen, quota)
    return users[:, None].expand_as(chosen)[taken], chosen[taken]


def resized(length: int, count: int, seed: int) -> Tensor:
    """``count`` positions of a list: all of it in a random order, repeated and cut as needed."""
    order = rng.permutation(length, rng.key(seed, "resized"))
    return order.repeat(-(-count // length))[:count]


def _place(user: int, item: int, allowed: list[list[bool]], taken: set[tuple[int, int]]) -> bool:
    """Take a pair, if it is allowed and not taken yet."""
    if not allowed[user][item] or (user, item) in taken:
        return False
    taken.add((user, item))
    return True
