"""Stores of users: every user in one, by chance or by degree, and half of the edges in the global log."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fedlib import InputError
from fedlib.data import synthetic
from fedlib.data.log import Stores
from fedlib.data.partition import (
    adjusted_mutual_information,
    at_random,
    by_degree,
    degree_bins,
    of_dataset,
    share_edges,
)

SKEWED = (torch.arange(1, 1001) ** 2) // 500 + 5  # degrees of 1,000 users, a long tail


def test_random_stores_are_of_equal_size_and_tell_nothing_of_the_degree() -> None:
    stores = at_random(1000, 7, seed=3)
    assert sorted(stores.sizes.tolist()) == [142, 143, 143, 143, 143, 143, 143]
    assert torch.equal(torch.cat([stores.users(k) for k in range(7)]).sort().values, torch.arange(1000))
    assert adjusted_mutual_information(stores, degree_bins(SKEWED)) == pytest.approx(0, abs=0.02)
    assert stores.sha256 == at_random(1000, 7, seed=3).sha256 != at_random(1000, 7, seed=4).sha256


@pytest.mark.parametrize("law", ["uniform", "beta"])
def test_stores_by_degree_are_ranges_of_it(law: str) -> None:
    """No user of a store has a higher degree than one of the next store."""
    stores = by_degree(SKEWED.flip(0), 10, law=law)
    degrees = [SKEWED.flip(0)[stores.users(k)] for k in range(10)]
    assert all(int(low.max()) <= int(high.min()) for low, high in pairwise(degrees))
    assert int(stores.sizes.min()) >= 1 and int(stores.sizes.sum()) == 1000


def test_the_laws_give_stores_of_equal_and_of_unequal_size() -> None:
    even, skewed = by_degree(SKEWED, 10), by_degree(SKEWED, 10, law="beta")
    assert int(even.sizes.min()) > 70 and int(even.sizes.max()) < 140
    assert int(skewed.sizes.max()) > 180 and int(skewed.sizes.min()) < 40
    # Beta(5, 9) has its mode at 1/3, so the largest stores are the third to the fifth of ten.
    assert int(skewed.sizes.argmax()) in (2, 3, 4, 5)
    told = [adjusted_mutual_information(stores, degree_bins(SKEWED)) for stores in (even, skewed)]
    assert 0.9 > told[0] > told[1] > 0.5  # as in FedGDVE's Table 4, where they are .63 and .53


def test_beta_positions_have_the_moments_of_beta_5_9() -> None:
    from fedlib.data.partition import _positions

    x = _positions("beta", 20000, 0)
    assert float(x.mean()) == pytest.approx(5 / 14, abs=0.004)
    assert float(x.var()) == pytest.approx(5 * 9 / (14**2 * 15), rel=0.03)


def test_mutual_information_is_1_for_the_bins_themselves() -> None:
    bins = degree_bins(SKEWED, 5)
    assert bins.bincount().tolist() == pytest.approx([200] * 5, abs=10)
    assert adjusted_mutual_information(Stores(bins, 5), bins) == pytest.approx(1.0)
    assert degree_bins(torch.tensor([3, 3, 3, 9]), 2).tolist() == [0, 0, 0, 1]  # equal degrees share a bin


def test_a_data_set_may_bring_its_stores() -> None:
    shop = synthetic(n_users=30, n_items=300, interactions=(3, 30), n_stores=4)
    assert torch.equal(of_dataset(shop).assignment, shop.stores) and of_dataset(shop).n_stores == 4


def test_shared_edges_leave_every_user_the_larger_half() -> None:
    split = synthetic(n_users=30, n_items=300, interactions=(3, 30)).ratio_split()
    shared = share_edges(split, seed=1)
    assert shared.global_log is not None
    assert shared.global_log.counts.tolist() == [count // 2 for count in split.train.counts.tolist()]
    for user in range(30):
        parts = shared.train[user].tolist(), shared.global_log[user].tolist()
        assert sorted(parts[0] + parts[1]) == sorted(split.train[user].tolist())
    assert torch.equal(shared.test.items, split.test.items)
    again = share_edges(split, seed=2).global_log
    assert again is not None and not torch.equal(again.items, shared.global_log.items)


def test_bad_requests_get_a_sentence() -> None:
    split = synthetic(n_users=30, n_items=300, interactions=(3, 30)).ratio_split()
    for call, sentence in [
        (lambda: at_random(5, 6), "must be from 1 to 5, the number of users, not 6"),
        (lambda: by_degree(SKEWED, 10, law="normal"), 'must be one of uniform, beta, not "normal"'),
        (lambda: by_degree(SKEWED[:12], 12, law="beta"), "12 users are too few for 12 stores under the beta law"),
        (lambda: share_edges(split, share=1.0), "strictly between 0 and 1, not 1.0"),
        (lambda: share_edges(share_edges(split)), "has a global log already"),
        (lambda: split.with_stores(at_random(29, 2)), "The stores have 29 users, but the split 30"),
    ]:
        with pytest.raises(InputError, match=sentence):
            call()
