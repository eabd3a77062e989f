"""Clusters, their names, and the four rules, against hand-made cases."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from fedlib.data import Dataset, synthetic
from fedlib.errors import InputError
from fedlib.items import SemanticSpace
from fedlib.prototypes.clusters import kmeans, moved
from fedlib.prototypes.feedback import Feedback
from fedlib.prototypes.keywords import KeywordPrototyper, cosines, nearest, plan, spread
from fedlib.prototypes.terms import Terms, c_tf_idf

SHOP = synthetic(n_users=20, n_items=80, interactions=(5, 10))


def shop(categories: list[str], descriptions: list[str] | None = None, titles: list[str] | None = None) -> Dataset:
    n = len(categories)
    frame = SHOP.catalogue.iloc[[0] * n].assign(
        categories=categories, description=descriptions or [""] * n, title=titles or [f"title {i}" for i in range(n)]
    )
    return dataclasses.replace(SHOP, n_items=n, catalogue=frame)


def space_of(x: Tensor) -> SemanticSpace:
    """A space whose codes are the vectors themselves."""
    return SemanticSpace([], None, x, {}, {}, x, torch.zeros(0))  # type: ignore[arg-type]


def blobs(*sizes: int) -> tuple[Tensor, Tensor]:
    """Tight groups of points around the axes, and the group of each."""
    label = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = 0.01 * torch.sin(torch.arange(len(label))[:, None] * torch.arange(1.0, len(sizes) + 1))
    return torch.eye(len(sizes))[label] + noise, label


def test_c_tf_idf_by_hand() -> None:
    weights = c_tf_idf(torch.tensor([[3.0, 1.0, 0.0], [3.0, 0.0, 1.0]]))
    assert weights[0].tolist() == pytest.approx([0.75 * math.log(1 + 4 / 6), 0.25 * math.log(1 + 4 / 1), 0])
    assert torch.equal(c_tf_idf(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_kmeans_finds_planted_groups_from_every_seed_and_is_the_same_twice() -> None:
    points, label = blobs(9, 5, 7, 4)
    for seed in range(5):
        centres, found = kmeans(points, 4, seed, "test")
        assert len({(a, b) for a, b in zip(label.tolist(), found.tolist(), strict=True)}) == 4
        for j in range(4):
            assert torch.allclose(centres[j], points[found == j].mean(dim=0), atol=1e-6)
        assert torch.equal(centres, kmeans(points, 4, seed, "test")[0])
    with pytest.raises(InputError, match="2 distinct items cannot form 3"):
        kmeans(torch.tensor([[0.0], [0.0], [1.0]]), 3, 0, "test")
    with pytest.raises(InputError, match="finite"):
        kmeans(torch.tensor([[0.0], [torch.nan], [1.0]]), 2, 0, "test")


def test_moved_centres_keep_their_places() -> None:
    points, _ = blobs(9, 5, 7)
    centres, _ = kmeans(points, 3, 0, "test")
    again, label = moved(points + 0.1, centres)
    assert torch.allclose(again, centres + 0.1, atol=1e-6)
    assert torch.equal(label, cosines(points, centres).argmax(dim=1))


def test_groups_are_named_by_what_sets_them_apart() -> None:
    data = shop([f"All|{kinds}" for kinds in ("War", "Love", "Art", "Love|Fun") for _ in range(2)])
    groups = list(torch.arange(8).view(4, 2))
    assert Terms(data).names(groups, {}) == ["War", "Love, All", "Art", "Fun, Love"]
    assert Terms(data).names(groups, {2: "war"})[:3] == ["War, All", "Love, All", "war"]


def test_words_tell_groups_of_one_category_apart_and_titles_are_no_names() -> None:
    data = shop(["Tools"] * 4, ["a red hammer", "the red hammer", "blue saw", "saws and a blue saw"])
    assert Terms(data).names([torch.arange(2), torch.arange(2, 4)], {}) == ["Tools", "Tools, blue"]
    named = shop(["Tools"] * 4, ["x"] * 4, ["Tools", "b", "c", "d"])
    assert Terms(named).names([torch.arange(4)], {}) == [""]
    texts = shop([""] * 4, ["a red hammer", "the red hammer", "blue saw", "a blue saw"])
    assert Terms(texts).names([torch.arange(2), torch.arange(2, 4)], {}) == ["hammer, red", "blue, saw"]


def test_the_rules_by_hand() -> None:
    """Ten prototypes, a fair share of 10 %: 0 and 1 are a little-used pair, 2 is often used and coarse, 3 is so not."""
    shares = [2, 3, 30, 25, 4, 6, 10, 10, 5, 5]
    overlap = torch.full((10, 10), 0.1).fill_diagonal_(1)
    overlap[0, 1] = overlap[1, 0] = 0.9
    overlap[4, 5] = overlap[5, 4] = 0.8  # 5 is used enough
    spreads = torch.tensor([0.1, 0.1, 0.6, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3, torch.nan])
    label = torch.arange(100) % 10
    far = torch.zeros(100, dtype=torch.bool)
    done = plan(shares, overlap, spreads, label, far)
    assert (done.merge, done.split, done.introduce.any()) == (((0, 1),), (2,), False)
    far[:5] = True  # half of a fair share of 100 items, but item 2 belongs to what is split
    assert not plan(shares, overlap, spreads, label, far).introduce.any()
    far[5] = True
    assert plan(shares, overlap, spreads, label, far).introduce.nonzero()[:, 0].tolist() == [0, 1, 3, 4, 5]
    assert plan(shares, overlap, spreads, torch.full((100,), 3), far).split == ()  # no item to split


@pytest.mark.parametrize(("count", "merges", "splits"), [(5, 0, 1), (6, 1, 1), (15, 1, 1)])
def test_the_rules_stay_within_the_bounds(count: int, merges: int, splits: int) -> None:
    overlap = torch.full((count, count), 0.1).fill_diagonal_(1)
    overlap[0, 1] = overlap[1, 0] = 0.9
    shares = [0, 0, 100, *([0] * (count - 3))]
    spreads = torch.zeros(count).index_fill_(0, torch.tensor([2]), 1.0)
    far = torch.ones(50, dtype=torch.bool)
    far[10:] = False
    done = plan(shares, overlap, spreads, torch.arange(50) % 5, far)
    assert (len(done.merge), len(done.split)) == (merges, splits)
    introduced = bool(done.introduce.any())
    assert 5 <= count - merges + splits + introduced <= 15 and introduced == (count < 15)


def test_nearest_and_spread_by_hand() -> None:
    table = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0]])
    best, label = nearest(table, torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    assert best.tolist() == pytest.approx([1, 0, math.sqrt(0.5), 1]) and label.tolist()[0] == label.tolist()[3] == 0
    distance = spread(best, torch.zeros(4, dtype=torch.int64), 2)
    assert float(distance[0]) == pytest.approx((3 - 1 - math.sqrt(0.5) - 1 + 1) / 4) and bool(distance[1].isnan())


def test_keywords_name_planted_groups_and_update_them() -> None:
    kinds = ["War", "Love", "Fun", "Art", "Sea", "Sky"]
    points, label = blobs(8, 8, 8, 8, 8, 8)
    data = shop([kinds[j] + ("|Old" if i % 2 else "|New") for i, j in enumerate(label.tolist())])
    space = space_of(points)
    texts, note = KeywordPrototyper().first(data, space, 6, seed=3)
    assert sorted(texts) == sorted(kinds) and note == ""
    place = [texts.index(kind) for kind in kinds]
    vectors = torch.empty(6, 6)
    vectors[place] = torch.eye(6)
    counts = torch.ones(6)
    kept = KeywordPrototyper().next(data, space, Feedback(texts, vectors, counts, points, 1))
    assert kept == (texts, "Kept 6 prototypes, merged 0, split 0 and introduced 0.")
    # The first two become alike and little used; the last is used most, and its items are turned away from it.
    vectors[place[1]] = torch.tensor([0.3, 1, 0, 0, 0, 0])
    vectors[place[5]] = torch.tensor([0, 0, 0, 0, 0.5, 1])
    counts[place] = torch.tensor([0.0, 0.0, 10.0, 10.0, 10.0, 70.0])
    after, note = KeywordPrototyper().next(data, space, Feedback(texts, vectors, counts, points, 1))
    assert note == "Kept 3 prototypes, merged 2, split 1 and introduced 0."
    assert {"Fun", "Art", "Sea"} < set(after) and len(after) == 6
    assert sum("Sky" in text for text in after) == 2 and {"Love", "War"} & set(", ".join(after).split(", "))


def test_items_with_one_and_the_same_text_are_not_split() -> None:
    kinds = tuple(f"kind {j}" for j in range(5))
    label = torch.arange(5).repeat_interleave(8)
    data = shop([kinds[j] for j in label.tolist()])
    table = torch.eye(5)[label] + 0.3 * (label == 0)[:, None] * torch.eye(5)[torch.arange(40) % 5]
    feedback = Feedback(kinds, torch.eye(5), torch.tensor([90, 1, 1, 1, 1]), table, 1)
    for texts, split in ((torch.eye(5)[label], 0), (table, 1)):
        _, note = KeywordPrototyper().next(data, space_of(texts), feedback)
        assert f"split {split} " in note


def test_a_kind_of_items_far_from_all_prototypes_gets_one() -> None:
    kinds = ["War", "Love", "Fun", "Art", "Sea", "Sky"]
    points, label = blobs(20, 20, 20, 20, 20, 12)
    data = shop([kinds[j] for j in label.tolist()])
    feedback = Feedback(tuple(kinds[:5]), torch.eye(6)[:5], torch.ones(5), points, 1)
    after, note = KeywordPrototyper().next(data, space_of(points), feedback)
    assert after == tuple(kinds) and note == "Kept 5 prototypes, merged 0, split 0 and introduced 1."


def test_a_catalogue_with_too_few_words_is_refused() -> None:
    points, _ = blobs(4, 4, 4, 4, 4)
    with pytest.raises(InputError, match="name 1 kinds of items"):
        KeywordPrototyper().first(shop(["Tools"] * 20), space_of(points), 5, seed=0)
