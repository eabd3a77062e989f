"""The synthetic shop: what it says is true of itself, measured."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from fedlib.data import Dataset, noise, synthetic
from fedlib.data.truth import KINDS, LOOKS_AT, SyntheticTruth
from fedlib.errors import InputError

SMALL: dict[str, Any] = {"n_users": 60, "n_items": 120, "interactions": (8, 20), "n_stores": 3}


@cache
def shop(kind: str = "uniform") -> tuple[Dataset, SyntheticTruth]:
    data = synthetic(noise=kind)
    assert data.truth is not None
    return data, data.truth


def edges(data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """Users and items of the global log, and which edges are noise."""
    assert data.global_log is not None
    assert data.truth is not None
    return data.global_log.users, data.global_log.items, data.truth.global_is_noise


def test_the_seed_decides_everything() -> None:
    first, again, other = (synthetic(**SMALL, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    assert first.catalogue.equals(again.catalogue)
    assert first.global_log is not None
    assert again.global_log is not None
    assert first.global_log.sha256 == again.global_log.sha256
    assert first.cover(3).tobytes() == again.cover(3).tobytes()


def test_sizes_and_order() -> None:
    data, truth = shop()
    assert (data.n_users, data.n_items) == (200, 300)
    assert 15 <= data.interactions.counts.min() < data.interactions.counts.max() <= 40
    assert data.stores is not None
    assert torch.bincount(data.stores).tolist() == [40] * 5
    assert len(truth.kind) == len(data.interactions.items)
    assert torch.bincount(truth.item_category).tolist() == [50] * 6
    assert torch.bincount(truth.user_looks_at).tolist() == [67, 67, 66]
    assert data.catalogue["title"].is_unique


@pytest.mark.parametrize("kind", noise.KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_local_good_and_noise_edges_never_meet(kind: str, share: float) -> None:
    data = synthetic(**SMALL, noise=kind, noise_share=share)
    users, items, is_noise = edges(data)
    log = data.interactions
    local = set(zip(log.users.tolist(), log.items.tolist(), strict=True))
    public = set(zip(users.tolist(), items.tolist(), strict=True))
    assert len(public) == len(users)
    assert local.isdisjoint(public)
    assert int(is_noise.sum()) == round(len(log.items) * share / (1 - share))
    good = torch.bincount(users[~is_noise], minlength=data.n_users)
    assert torch.equal(good, log.counts)
    assert data.sha256 == synthetic(**SMALL).sha256  # noise never changes what is local


def test_noise_of_the_same_popularity_has_the_good_edges_degrees() -> None:
    users, items, is_noise = edges(shop("popularity")[0])
    for ends in (users, items):
        assert torch.equal(torch.bincount(ends[is_noise]), torch.bincount(ends[~is_noise]))
    _, items, is_noise = edges(shop("uniform")[0])
    good, bad = (torch.bincount(items[chosen], minlength=300).double() for chosen in (~is_noise, is_noise))
    assert good.std() > 1.5 * bad.std()  # uniform noise is told by popularity, which is why the other kind exists


def test_the_place_in_the_log_does_not_tell_noise() -> None:
    data = shop()[0]
    users, _, is_noise = edges(data)
    assert data.global_log is not None
    place = (torch.arange(len(users)) - data.global_log.indptr[users]) / data.global_log.counts[users]
    assert abs(float(place[is_noise].mean() - place[~is_noise].mean())) < 0.02


def test_true_choices_are_liked_more_than_noise_of_any_kind() -> None:
    liked = {}
    for kind in noise.KINDS:
        data, truth = shop(kind)
        users, items, is_noise = edges(data)
        percentile = truth.affinity(torch.arange(200)).argsort(dim=1).argsort(dim=1)[users, items] / 300
        liked[kind] = float(percentile[is_noise].mean())
        assert percentile[~is_noise].mean() > 0.75
    # 0.5 would be chance; what is left over for noise lies a little below
    assert 0.35 < liked["uniform"] < 0.5
    assert 0.35 < liked["popularity"] < 0.6
    assert 0.35 < liked["taste"] < 0.6


def test_good_for_follows_its_definition() -> None:
    data, truth = shop("taste")
    users, _, is_noise = edges(data)
    assert data.stores is not None
    taste, profile = truth.user_taste.numpy(), truth.store_profile.numpy()
    cosine = (taste @ profile.T) / np.outer(np.linalg.norm(taste, axis=1), np.linalg.norm(profile, axis=1))
    own = data.stores.numpy()[:, None] == np.arange(5)
    expected = ((cosine >= 0.8) | own)[users.numpy()] & ~is_noise.numpy()[:, None]
    assert np.array_equal(truth.global_good_for.numpy(), expected)
    share = truth.global_good_for.double().mean(dim=0)
    assert ((share > 0.08) & (share < 0.35)).all()  # no store finds everything or nothing


def test_stores_differ() -> None:
    data, truth = shop()
    assert data.stores is not None
    chosen = torch.zeros(5, 6).index_put_(
        (data.stores[data.interactions.users], truth.item_category[data.interactions.items]),
        torch.tensor(1.0),
        accumulate=True,
    )
    share = chosen / chosen.sum(dim=1, keepdim=True)
    assert share.argmax(dim=1).tolist() == truth.store_profile.argmax(dim=1).tolist()
    distance = torch.cdist(share, share, p=1) / 2  # total variation
    assert distance[~torch.eye(5, dtype=torch.bool)].min() > 0.15


def test_kinds_follow_their_definition_and_none_is_rare() -> None:
    data, truth = shop()
    share = torch.bincount(truth.kind, minlength=3) / len(truth.kind)
    assert KINDS == ("typical", "hard", "redundant")
    assert share.min() > 0.15
    look = torch.stack([truth.item_category, truth.item_style, truth.item_topic], dim=1).tolist()
    affinity, popularity = truth.affinity(torch.arange(200)).numpy(), truth.item_popularity.numpy()
    category = truth.item_category.numpy()
    kinds = iter(truth.kind.tolist())
    for u in range(200):
        before: list[list[int]] = []
        for item in data.interactions[u].tolist():
            more_liked = (affinity[u] > affinity[u, item]).sum()
            more_popular = ((popularity > popularity[item]) & (category == category[item])).sum()
            usual = more_liked < 75 and more_popular < 25
            assert KINDS[next(kinds)] == ("redundant" if look[item] in before else "typical" if usual else "hard")
            before.append(look[item])


def test_users_choose_by_what_they_look_at() -> None:
    data, truth = shop()
    users, items = data.interactions.users, data.interactions.items
    weights = truth.user_preference[users]
    tables = [truth.item_image, truth.item_text, truth.item_id]
    for looks_at in range(len(LOOKS_AT)):
        those = truth.user_looks_at[users] == looks_at
        # how far above the catalogue's mean the chosen items lie, by each of the three sets of factors
        lift = [float(((weights * (table[items] - table.mean(dim=0))).sum(dim=1))[those].mean()) for table in tables]
        assert lift[looks_at] > 0.4
        assert max(lift[:looks_at] + lift[looks_at + 1 :]) < 0.25 * lift[looks_at]


def test_knowing_the_truth_beats_popularity_by_far() -> None:
    data, truth = shop()
    split = data.leave_one_out()
    assert split.test_negatives is not None
    candidates = torch.cat([split.test.items[:, None], split.test_negatives], dim=1)

    def hit_ratio(scores: Tensor) -> float:
        scores = scores.gather(1, candidates)
        return float(((scores[:, 1:] >= scores[:, :1]).sum(dim=1) < 10).double().mean())

    counts = torch.bincount(split.train.items, minlength=300).double().expand(200, -1)
    popular, oracle = hit_ratio(counts), hit_ratio(truth.affinity(torch.arange(200)))
    assert popular > 0.13  # popularity says something
    assert oracle > popular + 0.25


def test_words_tell_category_and_topic_but_not_style() -> None:
    data, truth = shop()
    words = TfidfVectorizer().fit_transform(data.catalogue["title"] + " " + data.catalogue["description"])
    alike = torch.from_numpy((words @ words.T).toarray())

    def gap(label: Tensor) -> float:
        same = (label[:, None] == label[None, :]) & ~torch.eye(300, dtype=torch.bool)
        return float(alike[same].mean() - alike[label[:, None] != label[None, :]].mean())

    assert gap(truth.item_category) > 0.1
    assert gap(truth.item_topic) > 0.1
    assert abs(gap(truth.item_style)) < 0.01


def test_covers_tell_category_and_style_but_not_topic() -> None:
    data, truth = shop()
    covers = torch.stack([torch.from_numpy(np.array(data.cover(item))) for item in range(300)]).double() / 255
    assert covers.shape == (300, 64, 64, 3)
    far = torch.cdist(covers.flatten(1), covers.flatten(1)) / 64

    def gap(label: Tensor) -> float:
        same = (label[:, None] == label[None, :]) & ~torch.eye(300, dtype=torch.bool)
        return float(far[label[:, None] != label[None, :]].mean() / far[same].mean())

    assert gap(truth.item_style) > 1.2
    assert gap(truth.item_category) > 1.1
    assert 0.97 < gap(truth.item_topic) < 1.03
    flat = covers.flatten(1)
    assert len(flat.unique(dim=0)) > 280  # nearly every cover is one of its own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": "loud"}, "noise is 'loud', but must be one of uniform, popularity, taste"),
        ({"noise_share": 1.0}, "noise_share is 1.0"),
        ({"n_categories": 9}, "n_categories is 9"),
        ({"n_stores": 0}, "n_stores is 0"),
        ({"n_users": 2, "n_stores": 3}, "n_stores is 3, but must be 1 to 2"),
        ({"interactions": (9, 8)}, "interactions are (9, 8)"),
        ({"n_items": 79}, "79 items are too few"),
        ({"noise_share": 0.95}, "noise edges do not fit"),
        ({"noise_share": 0.9, "noise": "taste"}, "the noise of a user does not fit"),
        ({"noise": "taste", "n_stores": 1}, "needs 2 stores or more"),
        ({"noise": "popularity", "n_items": 80, "interactions": (20, 20)}, "too dense for noise of the same"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        synthetic(**(SMALL | changes))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
