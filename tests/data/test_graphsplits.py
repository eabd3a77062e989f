"""Published splits: read, checked, cut for validation, and sampled."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from fedlib.data import check, fetch, load, sources, synthetic
from fedlib.data.splits import subsample
from fedlib.errors import InputError

TRAIN = "0 2 0 1\n1 3\n2 0 3\n"
TEST = "0 3\n1 \n2 1\n"


def put(root: Path, train: str = TRAIN, test: str = TEST) -> Path:
    (root / "gowalla").mkdir(parents=True, exist_ok=True)
    (root / "gowalla" / "train.txt").write_text(train)
    (root / "gowalla" / "test.txt.gz").write_bytes(gzip.compress(test.encode()))
    return root


def test_the_parts_are_the_published_ones(tmp_path: Path) -> None:
    data = load("gowalla", root=put(tmp_path))
    assert (data.n_users, data.n_items) == (3, 4)
    assert [data.interactions[user].tolist() for user in range(3)] == [[0, 1, 2, 3], [3], [0, 3, 1]]
    split = data.given_split(valid=False)
    assert split.protocol == "ratio80"
    assert [split.train[user].tolist() for user in range(3)] == [[0, 1, 2], [3], [0, 3]]
    assert [split.test[user].tolist() for user in range(3)] == [[3], [], [1]]
    assert len(split.valid.items) == 0
    assert "published file different" in check("gowalla", root=tmp_path)


def test_the_order_of_a_line_is_nothing(tmp_path: Path) -> None:
    first = load("gowalla", root=put(tmp_path / "a"))
    other = load("gowalla", root=put(tmp_path / "b", train="2 3 0\n\n0 0 1 2\n1 3\n"))
    assert first.sha256 == other.sha256 and first.given_split().test_sha256 == other.given_split().test_sha256


def test_a_tenth_of_each_users_training_items_is_for_validation(tmp_path: Path) -> None:
    put(tmp_path, train="\n".join(f"{user} {' '.join(map(str, range(4 + user)))}" for user in range(30)), test="0 33\n")
    data = load("gowalla", root=tmp_path)
    split = data.given_split(seed=1)
    assert split.valid.counts.tolist() == [(4 + user + 5) // 10 for user in range(30)]
    assert (split.train.counts + split.valid.counts).tolist() == [4 + user for user in range(30)]
    assert not torch.equal(split.valid.items, data.given_split(seed=2).valid.items)


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        ("0 1 x\n", TEST, r"train.txt, line 1: whole numbers from 0 are expected, not '0 1 x'"),
        ("0 0 -1\n", TEST, "train.txt, line 1: whole numbers from 0"),
        ("0 0 99999999999\n", TEST, "train.txt, line 1: whole numbers from 0"),
        (TRAIN + "0 3\n", TEST, "train.txt, line 4: user 0 has a line before"),
        (TRAIN, TEST + "3 1\n", "gowalla has no training items of user 3"),
        (TRAIN.replace("3", "5"), TEST, "gowalla has no interaction with item 4"),
        (TRAIN, TEST.replace("0 3", "0 2"), "has user 0 and item 2 more than once"),
        (TRAIN + "\n", "\n", "test.txt.gz has no interactions"),
    ],
)
def test_altered_files_are_one_line(tmp_path: Path, train: str, test: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        load("gowalla", root=put(tmp_path, train, test))
    assert "\n" not in str(raised.value)


def test_missing_files_and_no_automatic_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache")
    put(tmp_path)
    (tmp_path / "gowalla" / "train.txt").unlink()
    with pytest.raises(InputError, match=r"gowalla has no train\.txt or train\.txt\.gz"):
        load("gowalla", root=tmp_path)
    with pytest.raises(InputError) as raised:
        load("yelp2018", root=tmp_path)
    said = str(raised.value)
    assert "no official archive" in said and "gusye1234/LightGCN-PyTorch" in said and str(tmp_path / "cache") in said
    assert "\n" not in said
    assert fetch("gowalla", root=tmp_path) == tmp_path / "gowalla"


def test_only_published_splits_are_given() -> None:
    with pytest.raises(InputError, match="synthetic was not published with a split"):
        synthetic(n_users=30, n_items=300, interactions=(3, 30)).given_split()


def test_a_subsample_keeps_users_and_renumbers_the_items_that_remain(tmp_path: Path) -> None:
    train = "\n".join(f"{user} {user} {user + 1}" for user in range(40))
    put(tmp_path, train, "\n".join(f"{user} {(user + 20) % 41}" for user in range(40)))
    whole = load("gowalla", root=tmp_path).given_split(valid=False)
    part = subsample(whole, users=9, seed=2)
    assert part.data.n_users == 9 and part.data.n_items == len(part.data.item_ids) < 41
    for new, old in enumerate(map(int, part.data.user_ids)):
        for log in ("train", "valid", "test"):
            found = [int(part.data.item_ids[item]) for item in getattr(part, log)[new].tolist()]
            assert found == getattr(whole, log)[old].tolist()
    assert part.data.catalogue["title"].tolist() == [f"item {item}" for item in part.data.item_ids]
    assert torch.bincount(part.data.interactions.items, minlength=part.data.n_items).min() > 0
    assert part.test_sha256 != subsample(whole, users=9, seed=3).test_sha256
    with pytest.raises(InputError, match="users must be from 1 to 40"):
        subsample(whole, users=41)
    with pytest.raises(InputError, match="Only a split that ranks all items"):
        subsample(whole.data.leave_one_out(negatives=2), users=3)


@pytest.mark.parametrize(
    ("name", "size", "parts"),
    [("gowalla", (29858, 40981), (810128, 217242)), ("yelp2018", (31668, 38048), (1237259, 324147))],
)
def test_the_published_copies(real_data: Path, name: str, size: tuple[int, int], parts: tuple[int, int]) -> None:
    data = load(name, root=real_data)
    split = data.given_split(valid=False)
    assert (data.n_users, data.n_items) == size
    assert (len(split.train.items), len(split.test.items)) == parts
    assert "published file the same" in check(name, root=real_data)
