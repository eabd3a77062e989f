"""A small book shop made by a seeded generator, with its truth.

Every book has a category, which its cover and its words both tell; a *style*, which only the cover tells; a *topic*,
which only the words tell; and a direction of its own, which nothing tells. Every user has a taste over the categories,
drawn around the profile of the store the user belongs to, and looks at one thing: the cover, the words, or the book
itself. Users choose without replacement by softmax(affinity + log popularity); half of what they choose stays with
them, and the other half goes into a public log, together with noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, one_hot

from fedlib import rng
from fedlib.data import noise as noises
from fedlib.data.assemble import assemble
from fedlib.data.covers import STYLES
from fedlib.data.interactions import Dataset
from fedlib.data.log import UserItems
from fedlib.data.truth import LOOKS_AT, SyntheticTruth
from fedlib.data.words import NOUNS, TOPICS, books
from fedlib.errors import InputError

LICENCE = "made by fedlib, free of any terms"
FACTORS = len(STYLES)
HEAD = 4  # shift of the popularity law: how flat it begins
STRENGTH = 3.0  # norm of a user's preference
AGREES = 0.8  # cosine of a taste and a store's profile from which the two agree


def synthetic(
    *,
    n_users: int = 200,
    n_items: int = 300,
    n_stores: int = 5,
    n_categories: int = 6,
    interactions: tuple[int, int] = (15, 40),
    noise: str = "uniform",
    noise_share: float = 0.5,
    seed: int = 0,
) -> Dataset:
    """A shop with planted tastes, covers, words, stores and a global log; see :class:`SyntheticTruth`.

    Each user has a number of ``interactions`` between the two given, in a random order in time, and puts as many
    other choices into the global log. ``noise_share`` of the log is noise, of one of three kinds: ``"uniform"``
    (random pairs), ``"popularity"`` (the same item popularity and user degree as the good edges) or ``"taste"``
    (chosen as a user of another store would). No pair is in the log twice, or both there and among the interactions.

    Raises :class:`InputError` for sizes that do not fit together.
    """
    _check(n_users, n_items, n_stores, n_categories, interactions, noise, noise_share)
    shop = _shop(n_users, n_items, n_stores, n_categories, seed)
    truth = shop.truth
    utility = truth.affinity(torch.arange(n_users)) + truth.item_popularity.log()
    local, good = _choices(utility, interactions, seed)
    log, is_noise = _global_log(local, good, utility, shop.stores, noise, noise_share, seed)
    data = _dataset(shop, local, f"a {noise_share:.0%} share of the global log is noise ({noise})", seed)
    truth = replace(
        truth,
        kind=_kinds(truth, data.interactions),
        global_is_noise=is_noise,
        global_good_for=_good_for(truth, shop.stores)[log.users] & ~is_noise[:, None],
    )
    return replace(data, global_log=log, truth=truth)


@dataclass(frozen=True, eq=False)
class _Shop:
    truth: SyntheticTruth  # interactions and edges still empty
    stores: Tensor


def _check(
    n_users: int,
    n_items: int,
    n_stores: int,
    n_categories: int,
    interactions: tuple[int, int],
    noise: str,
    noise_share: float,
) -> None:
    if noise not in noises.KINDS:
        raise InputError(f"noise is {noise!r}, but must be one of {', '.join(noises.KINDS)}")
    if not 0 <= noise_share < 1:
        raise InputError(f"noise_share is {noise_share}, but must be 0 or more and less than 1")
    if not 2 <= n_categories <= len(NOUNS):
        raise InputError(f"n_categories is {n_categories}, but the shop knows 2 to {len(NOUNS)} categories")
    if not 1 <= n_stores <= n_users:
        raise InputError(f"n_stores is {n_stores}, but must be 1 to {n_users}, the number of users")
    if not 1 <= interactions[0] <= interactions[1]:
        raise InputError(f"interactions are {interactions}, but must be the fewest and the most per user, from 1")
    if n_items < max(4 * interactions[1], 2 * n_categories):
        raise InputError(f"{n_items} items are too few for {interactions[1]} interactions a user: ask for 4 times them")


def _shop(n_users: int, n_items: int, n_stores: int, n_categories: int, seed: int) -> _Shop:
    """Items and users before anyone chooses."""
    users, items, factors = torch.arange(n_users), torch.arange(n_items), torch.arange(FACTORS)
    categories = torch.arange(n_categories)
    category = rng.permutation(n_items, rng.key(seed, "category")) % n_categories
    style = rng.integers(len(STYLES), rng.key(seed, "style"), items)
    topic = rng.integers(len(TOPICS), rng.key(seed, "topic"), items)
    stores = rng.permutation(n_users, rng.key(seed, "store")) % n_stores
    own = rng.normal(rng.key(seed, "profile"), torch.arange(n_stores)[:, None], categories[None, :])
    favourite = one_hot(torch.arange(n_stores) % n_categories, n_categories)
    profile = (own + 3.0 * favourite).softmax(dim=1)
    deviation = rng.normal(rng.key(seed, "taste"), users[:, None], categories[None, :])
    preference = rng.normal(rng.key(seed, "preference"), users[:, None], factors[None, :])
    truth = SyntheticTruth(
        item_category=category,
        item_style=style,
        item_topic=topic,
        item_popularity=_popularity(category, seed),
        item_image=one_hot(style, FACTORS).double(),
        item_text=one_hot(topic, FACTORS).double(),
        item_id=normalize(rng.normal(rng.key(seed, "id"), items[:, None], factors[None, :])),
        user_taste=(profile[stores].log() + deviation).softmax(dim=1),
        user_preference=STRENGTH * normalize(preference),
        user_looks_at=rng.permutation(n_users, rng.key(seed, "looks at")) % len(LOOKS_AT),
        store_profile=profile,
        kind=items.new_empty(0),
        global_is_noise=torch.empty(0, dtype=torch.bool),
        global_good_for=torch.empty(0, n_stores, dtype=torch.bool),
    )
    return _Shop(truth, stores)


def _popularity(category: Tensor, seed: int) -> Tensor:
    """Zipf's law as shifted by Mandelbrot, inside each category: rank r weighs 1 / (r + 4), scaled to sum to 1."""
    order = rng.permutation(len(category), rng.key(seed, "popularity"))
    same = category[order][:, None] == category[order][None, :]
    weight = torch.empty(len(category), dtype=torch.float64)
    weight[order] = 1 / (same.tril().sum(dim=1).double() + HEAD)
    total = torch.zeros(int(category.max()) + 1, dtype=torch.float64).index_add_(0, category, weight)
    return weight / total[category]


def _choices(utility: Tensor, interactions: tuple[int, int], seed: int) -> tuple[noises.Edges, noises.Edges]:
    """What each user chooses for itself, and as much for the global log."""
    lowest, highest = interactions
    counts = lowest + rng.integers(highest - lowest + 1, rng.key(seed, "counts"), torch.arange(len(utility)))
    return _halves(*noises.first_choices(utility, 2 * counts, rng.key(seed, "choices")), counts, seed)


def _halves(users: Tensor, items: Tensor, counts: Tensor, seed: int) -> tuple[noises.Edges, noises.Edges]:
    """Each user's 2 ``counts`` choices in a random order: the first half stays local, the second goes to the log."""
    order = torch.argsort(rng.bits(rng.key(seed, "halves"), users, items))
    chosen = UserItems.from_pairs(users[order], items[order], len(counts))
    users, items = chosen.users, chosen.items
    local = torch.arange(len(users)) - chosen.indptr[users] < counts[users]
    return (users[local], items[local]), (users[~local], items[~local])


def _global_log(
    local: noises.Edges,
    good: noises.Edges,
    utility: Tensor,
    stores: Tensor,
    noise: str,
    share: float,
    seed: int,
) -> tuple[UserItems, Tensor]:
    """The good edges and the noise, mixed; and which edge of the log is noise, (E,) bool."""
    free = torch.ones_like(utility, dtype=torch.bool)
    free[local] = free[good] = False
    count = round(len(good[0]) * share / (1 - share))
    if noise == "uniform":
        bad = noises.uniform(free, count, seed)
    elif noise == "popularity":
        bad = noises.popularity(free, good, count, seed)
    else:
        bad = noises.taste(free, utility, stores, good[0][noises.resized(len(good[0]), count, seed)], seed)
    users, items = torch.cat([good[0], bad[0]]), torch.cat([good[1], bad[1]])
    mixed = rng.permutation(len(users), rng.key(seed, "global log"))
    mixed = mixed[torch.argsort(users[mixed], stable=True)]
    return UserItems.from_pairs(users[mixed], items[mixed], len(stores)), mixed >= len(good[0])


def _dataset(shop: _Shop, local: noises.Edges, note: str, seed: int) -> Dataset:
    """The users' own choices as a data set, which has no global log yet."""
    return assemble(
        "synthetic",
        local[0].numpy(),
        local[1].numpy(),
        None,
        user_ids=[f"user-{user}" for user in range(len(shop.stores))],
        item_ids=[f"book-{item}" for item in range(len(shop.truth.item_category))],
        catalogue=[(*book, "") for book in books(shop.truth.item_category, shop.truth.item_topic, seed)],
        licence=LICENCE,
        stores=shop.stores,
        notes=(note,),
    )


def _kinds(truth: SyntheticTruth, log: UserItems) -> Tensor:
    """Typical (0), hard (1) or redundant (2), as :class:`SyntheticTruth` defines them, (nnz,) int64."""
    affinity = truth.affinity(torch.arange(log.n_users))
    liked = affinity >= affinity.quantile(0.75, dim=1, keepdim=True)
    middle = torch.stack([truth.item_popularity[truth.item_category == c].median() for c in truth.item_category])
    typical = liked[log.users, log.items] & (truth.item_popularity > middle)[log.items]
    alike = (truth.item_category * len(STYLES) + truth.item_style) * len(TOPICS) + truth.item_topic
    seen: set[tuple[int, int]] = set()
    kinds = []
    for user, look, usual in zip(log.users.tolist(), alike[log.items].tolist(), typical.tolist(), strict=True):
        kinds.append(2 if (user, look) in seen else 0 if usual else 1)
        seen.add((user, look))
    return torch.tensor(kinds)


def _good_for(truth: SyntheticTruth, stores: Tensor) -> Tensor:
    """Which stores the true choices of each user are good for, (m, J) bool."""
    agrees = cosine_similarity(truth.user_taste[:, None], truth.store_profile[None], dim=2) >= AGREES
    return agrees | one_hot(stores, len(truth.store_profile)).bool()
