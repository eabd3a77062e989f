"""Negatives are exactly uniform over what a user has not touched, and never a positive."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedlib import rng
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.errors import InputError

STREAM = rng.key(0, "test negatives")


def log(lists: list[list[int]]) -> UserItems:
    users = torch.tensor([u for u, items in enumerate(lists) for _ in items], dtype=torch.int64)
    items = torch.tensor([i for items in lists for i in items], dtype=torch.int64)
    return UserItems.from_pairs(users, items, len(lists))


examples = settings(max_examples=60, deadline=None)
positives = st.lists(st.lists(st.integers(0, 11), max_size=15), min_size=1, max_size=6)


@examples
@given(positives)
def test_rank_r_gives_the_rth_untouched_item(lists: list[list[int]]) -> None:
    """Every rank of every user, in place of the random one: the ranks map one to one onto the untouched items."""
    sampler = NegativeSampler(log(lists), n_items=13)
    for user, items in enumerate(lists):
        untouched = [i for i in range(13) if i not in items]
        ranks = torch.arange(len(untouched))

        def planted(bound: Tensor, stream: int, *counters: Tensor, ranks: Tensor = ranks) -> Tensor:
            assert bound.tolist() == [len(ranks)]
            return ranks

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rng, "integers", planted)
            assert sampler.draw(STREAM, torch.tensor([user]), ranks).tolist() == untouched


@examples
@given(positives, st.integers(0, 2**40))
def test_the_draw_is_the_rth_untouched_item_for_the_counters_own_r(lists: list[list[int]], counter: int) -> None:
    users, counters = torch.arange(len(lists)), torch.tensor([counter, counter + 1])
    drawn = NegativeSampler(log(lists), n_items=13).draw(STREAM, users[:, None], counters)
    for u, items in enumerate(lists):
        untouched = [i for i in range(13) if i not in items]
        for c in range(2):
            r = int(rng.integers(len(untouched), STREAM, users[u], counters[c]))
            assert drawn[u, c] == untouched[r]


def test_draws_of_many_counters_are_uniform() -> None:
    lists = [[0, 5, 6], [9], [1, 2, 3, 4, 5, 6, 7, 8]]
    draws = 20_000
    drawn = NegativeSampler(log(lists), n_items=10).draw(STREAM, torch.arange(3)[:, None], torch.arange(draws))
    for user, items in enumerate(lists):
        seen = torch.bincount(drawn[user], minlength=10).double()
        untouched = torch.tensor([i not in items for i in range(10)])
        expected = draws / int(untouched.sum())
        chi_square = float(((seen[untouched] - expected) ** 2 / expected).sum())
        assert chi_square < 27.9, "beyond the .999 quantile of chi-square with 9 degrees of freedom"
        assert int(seen[~untouched].sum()) == 0


def test_a_draw_depends_on_its_own_user_and_counter_alone() -> None:
    sampler = NegativeSampler(log([[0, 3], [1], []]), n_items=6)
    table = sampler.draw(STREAM, torch.arange(3)[:, None], torch.arange(40))
    users, counters = torch.tensor([2, 0, 1, 0]), torch.tensor([39, 7, 0, 7])
    assert torch.equal(sampler.draw(STREAM, users, counters), table[users, counters])
    assert torch.equal(
        sampler.draw(STREAM, users[:, None, None], counters[:, None]), table[users][:, counters][:, :, None]
    )
    assert not torch.equal(sampler.draw(rng.key(0, "other"), torch.arange(3)[:, None], torch.arange(40)), table)


def test_a_user_without_negatives_is_named_and_the_others_are_served() -> None:
    sampler = NegativeSampler(log([[2, 0, 1], [0, 1]]), n_items=3)
    assert sampler.draw(STREAM, torch.tensor([1]), torch.arange(5)).tolist() == [2] * 5
    with pytest.raises(InputError, match="user 0 has all 3 items"):
        sampler.draw(STREAM, torch.tensor([1, 0]), torch.tensor([0, 0]))
