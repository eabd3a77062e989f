"""BPR-MF: the loss by hand, the first step by hand, and that a fit is a function of its seed."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from fedlib.backbones.losses import bpr_loss
from fedlib.centralized.bpr import BPR
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems


@pytest.fixture
def split() -> Split:
    """Three users, four items; user u chose item u, so items 0-2 are pushed up or down and so is item 3."""
    log = UserItems.from_pairs(torch.arange(3), torch.arange(3), 3)
    nobody = UserItems(torch.zeros(4, dtype=torch.int64), log.items[:0])
    data = Dataset(
        "toy", 3, 4, log, list("abc"), list("wxyz"), pd.DataFrame({"title": list("wxyz")}), "none", log.sha256
    )
    return Split(data, "full", log, nobody, nobody, None, None, nobody.sha256)


def test_the_loss_by_hand() -> None:
    """Margins 2 and -1; squared norms 1 + 4 + 0 and 1 + 0 + 1."""
    user = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive, negative = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    ranking = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(bpr_loss(user, positive, negative, 0.0)) == pytest.approx(ranking)
    assert float(bpr_loss(user, positive, negative, 0.1)) == pytest.approx(ranking + 0.05 * (5 + 2) / 2)


def test_the_loss_of_a_pair_far_on_the_wrong_side_is_its_margin() -> None:
    """The logarithm of an underflowed sigmoid would be infinite."""
    loss = bpr_loss(torch.tensor([[200.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]), 0.0)
    assert float(loss) == pytest.approx(200.0)


def test_the_first_step_of_adam_moves_every_user_by_the_rate_towards_its_item(split: Split) -> None:
    """Adam's first step has size lr in each coordinate, along the sign of the gradient h_i - h_j."""
    start, after = BPR(dim=2, epochs=0).fit(split), BPR(dim=2, epochs=1, lr=1e-3, l2=0.0).fit(split)
    moved = after.user_vectors - start.user_vectors
    assert_close(moved.abs(), torch.full_like(moved, 1e-3), rtol=1e-3, atol=0.0)
    for user in range(3):
        towards = [torch.sign(start.item_vectors[user] - start.item_vectors[j]) for j in range(4) if j != user]
        assert any(torch.equal(torch.sign(moved[user]), direction) for direction in towards)


def test_a_fit_is_a_function_of_its_seed(split: Split) -> None:
    users = torch.arange(3)
    first = BPR(dim=4, epochs=5, batch=2).fit(split).score(users)
    assert torch.equal(BPR(dim=4, epochs=5, batch=2).fit(split).score(users), first)
    assert not torch.equal(BPR(dim=4, epochs=5, batch=2, seed=1).fit(split).score(users), first)
