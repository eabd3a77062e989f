"""Who takes part, and what a chunk of clients holds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlib import rng
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.cohort import LocalRows, chunks, draw_samples, lay_out, sample_clients
from tests.small import small_split


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=5), st.integers(1, 3))
def test_slots_number_each_clients_items_once(lists: list[list[int]], calls: int) -> None:
    """Against sets, also when the scratch table still holds the notes of an earlier call."""
    slots, width = LocalRows(10, torch.device("cpu")), max(map(len, lists))
    for _ in range(calls):
        items = torch.tensor([x + [3] * (width - len(x)) for x in lists])
        real = torch.arange(width) < torch.tensor([[len(x)] for x in lists])
        local, ids, n_rows = slots(items, real)
        for k, own in enumerate(lists):
            assert sorted(ids[k, : n_rows[k]].tolist()) == sorted(set(own))
            assert ids[k][local[k, : len(own)]].tolist() == own
        lists = lists[::-1]


def test_sampled_clients() -> None:
    length = torch.ones(200, dtype=torch.int64)
    length[::7] = 0
    drawn = sample_clients(length, 0.1, 5, 3)
    assert len(drawn) == 17 and (length[drawn] > 0).all() and drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(sample_clients(length, 40, 5, 3)) == 40
    assert torch.equal(sample_clients(length, 1.0, 5, 3), length.nonzero().squeeze(1))
    assert len(sample_clients(length, 1e-9, 5, 3)) == 1
    often = torch.cat([sample_clients(length, 0.1, 5, t) for t in range(600)])
    assert torch.bincount(often, minlength=200)[length > 0].float().sub(600 * 17 / 171).abs().max() < 5 * 7.4


def test_a_poisson_cohort_is_independent_coins() -> None:
    """Over 400 rounds of 500 clients: each client and each pair as often as it should be, sizes binomial."""
    rounds, m, q = 400, 500, 0.1
    drawn, everybody = torch.zeros(rounds, m, dtype=torch.float64), torch.ones(m)
    for t in range(rounds):
        cohort = sample_clients(everybody, q, 0, t, "poisson")
        assert torch.equal(cohort, cohort.unique()), "ascending, nobody twice"
        drawn[t, cohort] = 1
    sizes = drawn.sum(1)
    assert abs(sizes.mean().item() - q * m) < 5 * math.sqrt(q * (1 - q) * m / rounds)
    assert sizes.var().item() == pytest.approx(q * (1 - q) * m, rel=5 * math.sqrt(2 / rounds))
    assert (drawn.mean(0) - q).abs().max() < 5 * math.sqrt(q * (1 - q) / rounds)
    follows = (drawn[1:] * drawn[:-1]).mean().item()
    assert follows == pytest.approx(q * q, rel=0.1), "who was drawn last round is drawn again as often as anybody"


def test_a_poisson_cohort_may_be_empty_or_everybody_with_samples() -> None:
    length = torch.tensor([3, 0, 1, 2, 9])
    assert any(len(sample_clients(length, 0.05, 0, t, "poisson")) == 0 for t in range(50))
    assert sample_clients(length, 1.0, 0, 0, "poisson").tolist() == [0, 2, 3, 4]
    often = [len(sample_clients(torch.ones(100), 20, 0, t, "poisson")) for t in range(200)]
    assert abs(sum(often) / 200 - 20) < 5 * math.sqrt(16 / 200)  # a number asks for a share


def test_chunks_sort_by_length_and_lose_nobody() -> None:
    length = torch.tensor([5, 1, 9, 2, 7, 3])
    parts = list(chunks(torch.tensor([0, 1, 2, 3, 5]), length, 2))
    assert [length[p].tolist() for p in parts] == [[1], [2, 3], [5, 9]]


def test_a_chunk_ends_where_padding_would_cost_more_than_another_chunk() -> None:
    """Eight clients may share a chunk; 100 beside 10 pads 90 a client, and three of these are more than 8 x 32."""
    length = torch.tensor([10, 10, 10, 10, 100, 100, 1])
    parts = [length[p].tolist() for p in chunks(torch.arange(7), length, 8)]
    assert parts == [[1, 10, 10], [10, 10, 100, 100]]
    assert [*map(len, chunks(torch.arange(7), torch.full((7,), 5), 8))] == [7]


def test_a_chunk_lays_out_positives_and_negatives() -> None:
    split = small_split()
    clients = torch.tensor([4, 2, 7])
    positives, count = split.train.padded(clients)
    sampler = NegativeSampler(split.data.interactions, 40)
    samples = draw_samples(clients, positives, count, sampler, 4, stream=rng.key(0, "negatives", 1))
    chunk = lay_out(clients, samples, LocalRows(40, torch.device("cpu")))
    assert chunk.count.tolist() == sorted(chunk.count.tolist())
    for k, user in enumerate(chunk.clients.tolist()):
        n = int(chunk.count[k])
        items, label = chunk.ids[k][chunk.local[k, :n]], chunk.label[k, :n]
        assert items[label == 1].tolist() == split.train[user].tolist()
        assert n == 5 * len(split.train[user])
        assert not set(items[label == 0].tolist()) & set(split.data.interactions[user].tolist())
        assert len(set(chunk.sample[k, :n].tolist())) == n
