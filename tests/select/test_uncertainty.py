"""Uncertainty by hand, and that for two-valued feedback three textbook scores are one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlib import (
    Entropy,
    FedMF,
    FedNCF,
    HardestNegativeMargin,
    LabelConfidence,
    LeastConfidence,
    LocalTraining,
    Margin,
    SoftmaxEntropy,
    federate,
    load,
)
from fedlib.places import Place
from fedlib.select.uncertainty import (
    entropy,
    hardest_negative_margin,
    label_confidence,
    least_confidence,
    margin,
    softmax_entropy,
)
from tests.small import small_split

LOCAL = LocalTraining(batch=16, lr=0.02, lr_items=0.02, optimizer="adam", epochs=2)


def test_the_textbook_scores_by_hand() -> None:
    p = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    torch.testing.assert_close(entropy(p), torch.tensor([0.0, quarter, math.log(2), 0.0], dtype=torch.float64))
    assert margin(p).tolist() == [1.0, 0.5, 0.0, 1.0]
    assert least_confidence(p).tolist() == [0.0, 0.25, 0.5, 0.0]
    assert label_confidence(p, torch.ones(4)).tolist() == [1.0, 0.75, 0.5, 0.0]
    assert label_confidence(p, torch.zeros(4)).tolist() == p.tolist()


def test_the_scores_with_negatives_by_hand() -> None:
    z = torch.tensor([[2.0, 2.0, 2.0], [3.0, 1.0, 5.0]], dtype=torch.float64)
    assert hardest_negative_margin(z).tolist() == [0.0, -2.0]
    e = [math.exp(x) / (math.exp(3) + math.exp(1) + math.exp(5)) for x in (3, 1, 5)]
    expected = torch.tensor([math.log(3), -sum(x * math.log(x) for x in e)], dtype=torch.float64)
    torch.testing.assert_close(softmax_entropy(z), expected)


@given(st.lists(st.integers(1, 9999), min_size=2, max_size=30, unique_by=lambda x: abs(x - 5000)))
def test_the_textbook_scores_sort_alike(p: list[int]) -> None:
    """By the distance from one half, whatever the side."""
    x = torch.tensor(p, dtype=torch.float64) / 10_000
    by_distance = (x - 0.5).abs().argsort().tolist()
    assert entropy(x).argsort(descending=True).tolist() == by_distance
    assert margin(x).argsort().tolist() == by_distance
    assert least_confidence(x).argsort(descending=True).tolist() == by_distance


def test_entropy_margin_and_least_confidence_are_one_selector() -> None:
    split = load("synthetic").leave_one_out(seed=0)
    backbone = FedNCF(8, hidden=(16, 8), gmf=0, std=0.3)
    runs = [federate(split, backbone, select=S(0.2, over="positives"), local=LOCAL, rounds=3,
                     clients_per_round=0.3, device="cpu", evaluate_every=3)
            for S in (Entropy, Margin, LeastConfidence)]  # fmt: skip
    for name, value in runs[0].state.tensors().items():
        assert torch.equal(runs[1].state.tensors()[name], value), name
        assert torch.equal(runs[2].state.tensors()[name], value), name


def test_the_other_forms_choose_otherwise() -> None:
    used = [federate(small_split(), FedMF(8), select=S(0.3, over="positives"), local=LOCAL, rounds=1, device="cpu")
            .state.memory["select"]["used"]
            for S in (Entropy, SoftmaxEntropy, HardestNegativeMargin, LabelConfidence)]  # fmt: skip
    assert not any(torch.equal(used[i], used[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("number", [1, 4])
def test_the_negatives_that_are_shown_are_those_that_are_trained_on(number: int) -> None:
    shown: dict[int, set[int]] = {}

    class Look(Place):
        def client(self, work, message):
            drawn = work.received.samples(work.positives, work.count).items.view(*work.positives.shape, 1 + number)
            for k, client in enumerate(work.clients.tolist()):
                p = int(work.count[k])
                shown[client] = {*work.positives[k, :p].tolist(), *drawn[k, :p].flatten().tolist()}
            return {}

        def after(self, work, message):
            for k, client in enumerate(work.clients.tolist()):
                assert {*work.ids[k][work.real[k]].tolist()} == shown[client]
            return {}

    local = LocalTraining(batch=8, negatives=number)
    federate(small_split(), FedMF(4), select=Look(), local=local, rounds=2, device="cpu", chunk=5)
    assert len(shown) == 13
