"""Users in groups: which store, as a client of its own, holds whose interactions.

Shape letters: m users, J stores.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fedlib import rng
from fedlib.choices import LAWS
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import Stores
from fedlib.data.splits import random_rank
from fedlib.errors import InputError


def at_random(n_users: int, n_stores: int, *, seed: int = 0) -> Stores:
    """Every user in a random store; the stores' numbers of users differ by one at most."""
    _check(n_users, n_stores)
    return Stores(rng.permutation(n_users, rng.key(seed, "stores")) % n_stores, n_stores)


def by_degree(degree: Tensor, n_stores: int, *, law: str = "uniform", seed: int = 0) -> Stores:
    """Stores of users of similar degree, of equal or of very different size.

    A position is drawn for each user from U(0, 1) or Beta(5, 9); the positions, sorted, are given to the users in
    ascending order of their degree (m,); and the range of the positions is cut into J bins of equal width, one a store.
    The uniform law makes stores of about the same size, the beta law a few large ones and a tail of small ones. This is
    our reading of FedGDVE's partition (arXiv:2509.11196, section 4.3, which calls the two-parameter law Dirichlet).
    Raises :class:`InputError` where a store would stay empty.
    """
    m = len(degree)
    _check(m, n_stores)
    if law not in LAWS:
        raise InputError(f'The law of the partition must be one of {", ".join(LAWS)}, not "{law}".')
    position = _positions(law, m, seed).sort().values
    bins = ((position - position[0]) / (position[-1] - position[0]) * n_stores).long().clamp(max=n_stores - 1)
    assignment = torch.empty(m, dtype=torch.int64)
    assignment[degree.argsort(stable=True)] = bins
    stores = Stores(assignment, n_stores)
    if int(stores.sizes.min()) == 0:
        raise InputError(f"{m} users are too few for {n_stores} stores under the {law} law: one would have no user.")
    return stores


def of_dataset(data: Dataset) -> Stores:
    """The stores the data set itself names. Raises :class:`InputError` where it names none."""
    if data.stores is None:
        raise InputError(f"{data.name} does not say which store a user belongs to: make stores of its users.")
    return Stores(data.stores, int(data.stores.max()) + 1)


def degree_bins(degree: Tensor, n_bins: int = 10) -> Tensor:
    """Which of ``n_bins`` classes of about equal size each user's degree falls in, (m,); equal degrees share one."""
    below = torch.searchsorted(degree.sort().values, degree)
    return below * n_bins // len(degree)


def adjusted_mutual_information(stores: Stores, bins: Tensor) -> float:
    """How much a user's store tells of its bin (m,), corrected for chance: 0 for a random partition, 1 for equal ones.

    Source: Vinh, Epps and Bailey, *Information Theoretic Measures for Clusterings Comparison*, JMLR 11, 2010.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(bins.numpy(), stores.assignment.numpy()))


def share_edges(split: Split, *, share: float = 0.5, seed: int = 0) -> Split:
    """Move a random ``share`` of each user's training interactions, rounded down, to the split's global log.

    What stays is what the users' own clients hold; both are left out of the ranking. Raises :class:`InputError` for a
    share outside (0, 1) or a split that has a global log already.
    """
    if not 0 < share < 1:
        raise InputError(f"The share of the global log must lie strictly between 0 and 1, not {share}.")
    if split.global_log is not None:
        raise InputError("This split has a global log already: share the edges of the split it was made from.")
    log = split.train
    given = random_rank(log, rng.key(seed, "share edges")) < (log.counts[log.users].double() * share).long()
    return replace(split, train=log.where(~given), global_log=log.where(given))


def _positions(law: str, count: int, seed: int) -> Tensor:
    """``count`` numbers in (0, 1); Beta(a, b) is the a-th smallest of a + b - 1 uniform numbers."""
    stream, users = rng.key(seed, "degree positions"), torch.arange(count)
    if law == "uniform":
        return rng.uniform(stream, users)
    return rng.uniform(stream, users[:, None], torch.arange(13)).sort(1).values[:, 4]


def _check(n_users: int, n_stores: int) -> None:
    if not 1 <= n_stores <= n_users:
        raise InputError(f"The number of stores must be from 1 to {n_users}, the number of users, not {n_stores}.")
