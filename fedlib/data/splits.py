"""The ways to cut a data set for evaluation.

Numbers of different protocols must never be compared: a chance ranker reaches HR@10 of .10 among 100 candidates and
of about .006 among the 1,682 items of MovieLens 100K.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems
from fedlib.errors import InputError

_BLOCK = 1 << 22  # hashes held at once: 32 MiB


def leave_one_out(data: Dataset, *, seed: int = 0, negatives: int = 99) -> Split:
    """Protocol A: one test item a user, ranked among ``negatives`` items the user never touched.

    Test is each user's last item, validation the last but one, training the rest. As in PFedRec (Zhang et al.,
    IJCAI 2023), twice ``negatives`` items are drawn once per user, without replacement; the first half serves
    validation and the second half test. Raises :class:`InputError` if a user has too few untouched items.
    """
    data, (train, valid, test) = _last_two(data)
    drawn = evaluation_negatives(data.interactions, data.n_items, 2 * negatives, seed)
    return Split(data, f"loo{negatives}", train, valid, test, drawn[:, :negatives], drawn[:, negatives:], test.sha256)


def full_ranking(data: Dataset) -> Split:
    """Protocol B on the leave-one-out split: the test item ranked among all items but the user's training items."""
    data, (train, valid, test) = _last_two(data)
    return Split(data, "full", train, valid, test, None, None, test.sha256)


def ratio_split(data: Dataset, *, share: float = 0.8, seed: int = 0) -> Split:
    """Protocol B on a random share: of c items of a user, round(share c) train and the others test.

    A tenth of the training part, rounded, is taken out for validation. At least one item stays in training, so a
    user of one item has no test item. Training keeps its order in time.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}, but the training share must lie strictly between 0 and 1")
    log = data.interactions
    rank, counts = random_rank(log, rng.key(seed, "ratio split")), log.counts[log.users]
    kept = (counts.double() * share + 0.5).long().clamp(min=1)
    fitted = kept - (kept + 5) // 10
    test = log.where(rank >= kept)
    train, valid = log.where(rank < fitted), log.where((rank >= fitted) & (rank < kept))
    return Split(data, f"ratio{share * 100:g}", train, valid, test, None, None, test.sha256)


def given_split(data: Dataset, *, valid: bool = True, seed: int = 0) -> Split:
    """Protocol B on the split a data set was published with.

    A random tenth of each user's training items, rounded, is taken out for validation; with ``valid=False`` none is,
    as in published numbers. Raises :class:`InputError` for data that was not published with a split.
    """
    if data.given_test is None:
        raise InputError(f"{data.name} was not published with a split: use ratio_split, for instance")
    log, test = data.interactions, data.given_test
    kept = log.where(~torch.isin(_keys(log, data.n_items), _keys(test, data.n_items)))
    count = (kept.counts[kept.users] + 5) // 10 if valid else torch.zeros_like(kept.items)
    out = random_rank(kept, rng.key(seed, "given split")) < count
    return Split(data, "ratio80", kept.where(~out), kept.where(out), test, None, None, test.sha256)


def subsample(split: Split, *, users: int = 5000, seed: int = 0) -> Split:
    """The same split of ``users`` random users; items none of them touched are left out and the others re-numbered.

    Raises :class:`InputError` for a split with drawn negatives, stores or a global log, which have to be made after it.
    """
    data, m = split.data, split.data.n_users
    made = (split.test_negatives, split.stores, split.global_log, data.global_log)
    if any(part is not None for part in made):
        raise InputError("Only a split that ranks all items, without stores or a global log, can be subsampled.")
    if not 1 <= users <= m:
        raise InputError(f"users must be from 1 to {m}, the number of users, not {users}.")
    chosen = rng.permutation(m, rng.key(seed, "subsample"))[:users].sort().values
    data = data.keep_users(chosen, f"a random sample of {users:,} of {m:,} users and the items they touched")
    items = data.interactions.items.unique()

    def renumbered(log: UserItems) -> UserItems:
        return UserItems(log.indptr, torch.searchsorted(items, log.items))

    log = renumbered(data.interactions)
    train, valid, test = (renumbered(part.of_users(chosen)) for part in (split.train, split.valid, split.test))
    data = replace(
        data,
        n_items=len(items),
        interactions=log,
        sha256=log.sha256,
        given_test=data.given_test and renumbered(data.given_test),
        item_ids=[data.item_ids[item] for item in items.tolist()],
        catalogue=data.catalogue.iloc[items.numpy()].reset_index(drop=True),
    )
    return Split(data, split.protocol, train, valid, test, None, None, test.sha256)


def evaluation_negatives(log: UserItems, n_items: int, count: int, seed: int) -> Tensor:
    """``count`` different items per user, (m, count) int64, uniform among the items the user never touched.

    They are the untouched items with the smallest hash of (user, item), in order of the hash. Raises
    :class:`InputError` if a user has fewer than ``count`` untouched items.
    """
    fewest = n_items - int(log.counts.max())
    if fewest < count:
        raise InputError(
            f"{n_items} items are too few to draw {count} evaluation negatives for every user (one user has only "
            f"{max(fewest, 0)} untouched items): rank against all items instead (--protocol full)"
        )
    stream = rng.key(seed, "evaluation negatives")
    blocks = torch.arange(log.n_users).split(max(1, _BLOCK // n_items))
    return torch.cat([_smallest(log, users, n_items, count, stream) for users in blocks])


def _smallest(log: UserItems, users: Tensor, n_items: int, count: int, stream: int) -> Tensor:
    hashes = rng.bits(stream, users[:, None], torch.arange(n_items)[None, :])
    part = log.of_users(users)
    hashes[part.users, part.items] = torch.iinfo(torch.int64).max
    return hashes.topk(count, dim=1, largest=False, sorted=True).indices


def _last_two(data: Dataset) -> tuple[Dataset, tuple[UserItems, UserItems, UserItems]]:
    """Training, validation and test by position from the end, after leaving out users with fewer than 3 items."""
    long_enough = data.interactions.counts >= 3
    short = int((~long_enough).sum())
    if short == data.n_users:
        raise InputError(f"{data.name} has no user with 3 or more items, which a leave-one-out split needs")
    if short:
        noun = "user" if short == 1 else "users"
        data = data.keep_users(long_enough.nonzero()[:, 0], f"left out {short} {noun} with fewer than 3 items")
    log = data.interactions
    from_end = log.indptr[log.users + 1] - 1 - torch.arange(len(log.items))
    return data, (log.where(from_end >= 2), log.where(from_end == 1), log.where(from_end == 0))


def _keys(log: UserItems, n_items: int) -> Tensor:
    return log.users * n_items + log.items


def random_rank(log: UserItems, stream: int) -> Tensor:
    """The place of each interaction in a random order of its user's, (nnz,) int64."""
    order = torch.argsort(rng.bits(stream, log.users, log.items))
    order = order[torch.argsort(log.users[order], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - log.indptr[log.users]
    return rank
