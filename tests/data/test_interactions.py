"""Compressed rows against plain lists, and what a data set keeps when users are left out."""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedlib.data import UserItems, load, synthetic
from fedlib.errors import InputError

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20)), max_size=40)


def user_items(pairs: list[tuple[int, int]], n_users: int = 7) -> UserItems:
    users, items = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return UserItems.from_pairs(users, items, n_users)


@given(PAIRS)
def test_rows_are_the_pairs_of_each_user_in_order(pairs: list[tuple[int, int]]) -> None:
    log = user_items(pairs)
    expected = [[item for user, item in pairs if user == u] for u in range(7)]
    assert [log[u].tolist() for u in range(7)] == expected
    assert log.counts.tolist() == [len(items) for items in expected]
    assert list(zip(log.users.tolist(), log.items.tolist(), strict=True)) == [
        (u, item) for u in range(7) for item in expected[u]
    ]


@given(PAIRS, st.lists(st.integers(0, 6), max_size=9))
def test_padding_and_choosing_users_agree_with_plain_lists(pairs: list[tuple[int, int]], chosen: list[int]) -> None:
    log = user_items(pairs)
    users = torch.tensor(chosen, dtype=torch.int64)
    rows = [log[u].tolist() for u in chosen]
    longest = max(map(len, rows), default=0)
    items, counts = log.padded(users)
    assert items.tolist() == [row + [0] * (longest - len(row)) for row in rows]
    assert counts.tolist() == [len(row) for row in rows]
    starts = [int(log.indptr[u]) for u in chosen]
    places = [[start + i for i in range(len(row))] for start, row in zip(starts, rows, strict=True)]
    assert log.places(users).tolist() == [place + [0] * (longest - len(place)) for place in places]
    assert log.able.tolist() == [u for u in range(7) if len(log[u])]
    assert [log.of_users(users)[k].tolist() for k in range(len(chosen))] == rows


@given(PAIRS)
def test_where_keeps_the_marked_interactions(pairs: list[tuple[int, int]]) -> None:
    log = user_items(pairs)
    odd = log.where(log.items % 2 == 1)
    assert odd.n_users == 7
    assert [odd[u].tolist() for u in range(7)] == [[i for i in log[u].tolist() if i % 2] for u in range(7)]


def test_sha256_is_that_of_the_pairs_as_little_endian_64_bit_integers() -> None:
    log = user_items([(1, 300), (0, 2), (1, 4)], n_users=2)
    assert log.sha256 == hashlib.sha256(struct.pack("<6q", 0, 2, 1, 300, 1, 4)).hexdigest()


def test_leaving_users_out_keeps_everything_of_the_others() -> None:
    data = synthetic(n_users=30, n_items=120, interactions=(5, 10), noise="taste")
    users = torch.tensor([7, 0, 29])
    kept = data.keep_users(users, "a note")
    assert data.truth is not None
    assert kept.truth is not None
    assert data.global_log is not None
    assert kept.global_log is not None
    assert data.stores is not None
    assert kept.stores is not None
    assert kept.user_ids == ["user-7", "user-0", "user-29"]
    assert kept.notes[-1] == "a note"
    assert kept.sha256 == kept.interactions.sha256 != data.sha256
    assert torch.equal(kept.truth.affinity(torch.arange(3)), data.truth.affinity(users))
    for new, old in enumerate(users.tolist()):
        assert torch.equal(kept.interactions[new], data.interactions[old])
        assert kept.stores[new] == data.stores[old]
        mine, before = kept.interactions.users == new, data.interactions.users == old
        assert torch.equal(kept.truth.kind[mine], data.truth.kind[before])
        mine, before = kept.global_log.users == new, data.global_log.users == old
        assert torch.equal(kept.global_log.items[mine], data.global_log.items[before])
        assert torch.equal(kept.truth.global_is_noise[mine], data.truth.global_is_noise[before])
        assert torch.equal(kept.truth.global_good_for[mine], data.truth.global_good_for[before])


def test_a_summary_instead_of_a_page_of_tensors() -> None:
    data = synthetic(n_users=30, n_items=250, interactions=(5, 10))
    count = len(data.interactions.items)
    assert repr(data) == f"Dataset(synthetic: 30 users, 250 items, {count:,} interactions)"
    assert repr(data.leave_one_out()) == (
        f"Split(synthetic, loo99: {count - 60:,} to train, 30 to validate, 30 to test)"
    )


def test_covers_from_files(tmp_path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\na,1\na,2\na,3\na,4\n")
    (tmp_path / "items.csv").write_text("item,image\n1,red.png\n2,\n3,gone.png\n4,text.png\n")
    Image.new("L", (8, 6), 200).save(tmp_path / "red.png")
    (tmp_path / "text.png").write_text("not a picture")
    data = load(tmp_path)
    assert data.cover(0).mode == "RGB"
    assert data.cover(0).size == (8, 6)
    with pytest.raises(InputError, match=r"item 2 .* has no image"):
        data.cover(1)
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        data.cover(2)
    with pytest.raises(InputError, match=r"text\.png is not a picture"):
        data.cover(3)
    with pytest.raises(InputError, match=r"no item 4: items are 0 to 3"):
        data.cover(4)
