"""Splits against the rules they state, and MovieLens 100K against numbers from outside."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from fedlib.data import Dataset, Split, load, splits, synthetic
from fedlib.errors import InputError


def own(tmp_path: Path, rows: list[tuple[str, int]], n_items: int = 300) -> Dataset:
    (tmp_path / "interactions.csv").write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in rows))
    (tmp_path / "items.csv").write_text("item\n" + "".join(f"{item}\n" for item in range(n_items)))
    return load(tmp_path)


def pairs(split: Split, part: str) -> set[tuple[int, int]]:
    log = getattr(split, part)
    return set(zip(log.users.tolist(), log.items.tolist(), strict=True))


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return synthetic(n_users=50, n_items=300, interactions=(3, 30))


@pytest.mark.parametrize("make", [Dataset.leave_one_out, Dataset.full_ranking, Dataset.ratio_split])
def test_parts_are_disjoint_and_complete(shop: Dataset, make) -> None:
    split = make(shop)
    parts = [pairs(split, part) for part in ("train", "valid", "test")]
    log = split.data.interactions
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(log.items)
    assert set.union(*parts) == set(zip(log.users.tolist(), log.items.tolist(), strict=True))
    assert split.test_sha256 == split.test.sha256


def test_leave_one_out_takes_the_last_two(shop: Dataset) -> None:
    split = shop.leave_one_out()
    for u in range(shop.n_users):
        items = shop.interactions[u].tolist()
        assert [split.train[u].tolist(), split.valid[u].tolist(), split.test[u].tolist()] == [
            items[:-2],
            items[-2:-1],
            items[-1:],
        ]
    assert shop.full_ranking().test_sha256 == split.test_sha256


def test_evaluation_negatives_are_different_untouched_items(shop: Dataset) -> None:
    split = shop.leave_one_out(seed=3)
    assert split.protocol == "loo99"
    assert split.valid_negatives is not None
    assert split.test_negatives is not None
    both = torch.cat([split.valid_negatives, split.test_negatives], dim=1)
    assert both.shape == (50, 198)
    for u, row in enumerate(both.tolist()):
        assert len(set(row) | set(shop.interactions[u].tolist())) == 198 + len(shop.interactions[u])
        assert 0 <= min(row) <= max(row) < 300


def test_evaluation_negatives_are_uniform_over_the_untouched(tmp_path: Path) -> None:
    # 2,000 users who touched items 0, 1 and 2: item 3 or above is a negative with probability 4/17 each time.
    log = own(tmp_path, [(f"u{u}", item) for u in range(2000) for item in range(3)], n_items=20).interactions
    drawn = torch.bincount(splits.evaluation_negatives(log, 20, 4, seed=0).flatten(), minlength=20)
    assert drawn[:3].tolist() == [0, 0, 0]
    expected = 2000 * 4 / 17
    assert ((drawn[3:] - expected) ** 2 / expected).sum() < 39.25  # chi-square, 16 degrees of freedom, p = .001


def test_negatives_do_not_depend_on_the_block(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shop.leave_one_out(seed=1).test_negatives
    monkeypatch.setattr(splits, "_BLOCK", 1000)
    blocked, other = shop.leave_one_out(seed=1).test_negatives, shop.leave_one_out(seed=2).test_negatives
    assert whole is not None
    assert blocked is not None
    assert other is not None
    assert torch.equal(whole, blocked)
    assert not torch.equal(whole, other)


def test_users_with_fewer_than_three_items_are_left_out_with_a_note(tmp_path: Path) -> None:
    data = own(tmp_path, [("a", 1), ("a", 2), ("b", 5), ("b", 6), ("b", 7), ("c", 9)])
    split = data.leave_one_out()
    assert split.data.user_ids == ["b"]
    assert split.data.n_items == 300
    assert split.test.items.tolist() == [7]
    assert split.data.notes == ("left out 2 users with fewer than 3 items",)
    with pytest.raises(InputError, match="no user with 3 or more items"):
        own(tmp_path, [("a", 1), ("b", 2)]).leave_one_out()


def test_too_few_items_for_the_negatives_is_one_sentence(tmp_path: Path) -> None:
    rows = [("a", item) for item in range(5)]
    assert own(tmp_path, rows, n_items=203).leave_one_out().protocol == "loo99"  # 198 untouched: just enough
    with pytest.raises(InputError, match=r"202 items are too few .*only 197 .*--protocol full\)$"):
        own(tmp_path, rows, n_items=202).leave_one_out()
    assert own(tmp_path, rows, n_items=202).full_ranking().test_negatives is None


@pytest.mark.parametrize(
    ("count", "train", "valid", "test"), [(1, 1, 0, 0), (2, 2, 0, 0), (5, 4, 0, 1), (10, 7, 1, 2), (100, 72, 8, 20)]
)
def test_ratio_split_by_hand(tmp_path: Path, count: int, train: int, valid: int, test: int) -> None:
    split = own(tmp_path, [("a", item) for item in range(count)]).ratio_split()
    assert split.protocol == "ratio80"
    assert (len(split.train.items), len(split.valid.items), len(split.test.items)) == (train, valid, test)
    assert split.train.items.tolist() == sorted(split.train.items.tolist())  # the order in time is kept


def test_ratio_split_is_random_by_seed(shop: Dataset) -> None:
    assert shop.ratio_split(seed=1).test_sha256 == shop.ratio_split(seed=1).test_sha256
    assert shop.ratio_split(seed=1).test_sha256 != shop.ratio_split(seed=2).test_sha256
    assert shop.ratio_split(share=0.5).protocol == "ratio50"
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        shop.ratio_split(share=1.0)


def test_movielens_100k_numbers(real_data: Path) -> None:
    data = load("ml-100k", root=real_data)
    split = data.leave_one_out(seed=0)
    assert (data.n_users, data.n_items, len(data.interactions.items)) == (943, 1682, 100_000)
    frame = pd.read_csv(real_data / "ml-100k" / "u.data.gz", sep="\t", names=["user", "item", "rating", "time"])
    last = frame.groupby("user").time.transform("max") == frame.time
    assert (frame[last].groupby("user").size() > 1).sum() == 415  # users whose last time stamp is tied
    frame = frame.sort_values(["user", "time"], kind="stable").groupby("user").tail(1)
    assert split.test.items.tolist() == (frame.item - 1).tolist()
    assert split.test_sha256 == "28dac06707a1a2f7b2243bfc163f3228258d9c783204ea6751233a9872a3625b"


def test_movielens_1m_numbers(real_data: Path) -> None:
    data = load("ml-1m", root=real_data)
    counts = torch.bincount(data.interactions.items)
    assert (data.n_users, data.n_items, len(data.interactions.items)) == (6040, 3706, 1_000_209)
    by_title = dict(zip(data.catalogue["title"], counts.tolist(), strict=True))
    assert by_title["American Beauty (1999)"] == 3428
    assert by_title["Star Wars: Episode IV - A New Hope (1977)"] == 2991
    assert data.leave_one_out().test_sha256 == "cc935b7385254172163ec321327d7c8f8e06fbb05896a6f1605d02748f6fa68f"
