"""What a selector picks from interactions whose kind is known."""

from __future__ import annotations

import pytest
import torch

from fedlib import FedMF, InputError, LabelConfidence, LocalTraining, RandomSelection, federate, load
from fedlib.data.truth import KINDS
from fedlib.select.planted import choice, composition, kinds
from tests.small import small_split


def test_the_kind_is_that_of_the_interaction() -> None:
    shop = load("synthetic")
    split = shop.leave_one_out(seed=0)
    log = shop.interactions
    listed = zip(log.users.tolist(), log.items.tolist(), shop.truth.kind.tolist(), strict=True)
    kind = {(user, item): k for user, item, k in listed}
    pairs = zip(split.train.users.tolist(), split.train.items.tolist(), strict=True)
    assert kinds(split).tolist() == [kind[pair] for pair in pairs]


def test_chance_picks_the_population_and_a_chooser_of_the_hard_does_not() -> None:
    split = load("synthetic").leave_one_out(seed=0)
    local = LocalTraining(epochs=2, optimizer="adam", lr=0.05, lr_items=0.05, negatives_from="unobserved")
    result = federate(split, FedMF(8), local=local, rounds=30, evaluate_every=30, device="cpu")
    before = {name: value.clone() for name, value in result.state.tensors().items()}
    found = {
        place: composition(choice(result, place(0.1, over="positives")), split, draws=100)
        for place in (RandomSelection, LabelConfidence)
    }
    assert all(torch.equal(value, before[name]) for name, value in result.state.tensors().items())
    for table in found.values():
        assert list(table.index) == list(KINDS) and table["chosen"].sum() == pytest.approx(1)
        assert table["population"].sum() == pytest.approx(1)
    by_chance, hard = found[RandomSelection], found[LabelConfidence]
    assert ((by_chance["chosen"] - by_chance["population"]).abs() < 4 * by_chance["error"]).all()
    assert hard.loc["hard", "ratio"] > 1 + 4 * hard.loc["hard", "error"] / hard.loc["hard", "population"]


def test_data_without_a_truth_is_refused() -> None:
    with pytest.raises(InputError, match="no planted truth"):
        composition(torch.ones(1, dtype=torch.bool), small_split())
