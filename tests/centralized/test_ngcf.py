"""NGCF trained centrally: that it learns, stops where it is told to, and is a function of its seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedlib.centralized import NGCF, evaluate
from fedlib.data import synthetic
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems

SMALL = {"dim": 8, "layers": (8, 8), "lr": 0.01, "batch": 64, "device": "cpu"}


def blocks(m: int = 24, n: int = 20, seed: int = 0) -> Split:
    """Even users like even items and odd users odd ones; one of them is held out of every user."""
    split = synthetic(n_users=m, n_items=max(n, 80), interactions=(3, 5)).ratio_split()
    pairs = torch.tensor([(u, i) for u in range(m) for i in range(n) if (u + i) % 2 == 0])
    held = torch.tensor([(u, u % 2 + 2 * (u % (n // 2))) for u in range(m)])
    left = ~(pairs[:, None] == held[None]).all(2).any(1)
    train = UserItems.from_pairs(*pairs[left].T, m)
    test = UserItems.from_pairs(*held.T, m)
    data = replace(split.data, n_items=n)
    return replace(split, data=data, train=train, valid=test, test=test)


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_a_planted_block_structure_is_learned(variant: str) -> None:
    """A user of the checkerboard ranks the held-out item of its own colour above all of the other colour."""
    split = blocks()
    model = NGCF(epochs=60, variant=variant, **SMALL).fit(split)
    assert evaluate(model, split, ks=(1,)).metrics((1,))["HR@1"] == 1.0
    assert model.losses[-1] < model.losses[0] / 2


def test_a_fit_is_a_function_of_its_seed() -> None:
    split, users = blocks(), torch.arange(24)
    first = NGCF(epochs=2, **SMALL).fit(split).score(users)
    assert torch.equal(NGCF(epochs=2, **SMALL).fit(split).score(users), first)
    assert not torch.equal(NGCF(epochs=2, seed=1, **SMALL).fit(split).score(users), first)


def test_training_stops_when_validation_does_not_rise_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation says .1, .3, .2, .3: after the second check nothing is better, and the fourth is the last."""
    found = iter([0.1, 0.3, 0.2, 0.3, 0.9])

    class Said:
        def metrics(self, ks: tuple[int, ...]) -> dict[str, float]:
            return {"Recall@20": next(found)}

    monkeypatch.setattr("fedlib.centralized.ngcf.evaluate", lambda *_, **__: Said())
    split, users = blocks(), torch.arange(24)
    model = NGCF(epochs=100, patience=2, check_every=2, **SMALL).fit(split)
    assert model.checks == [(2, 0.1), (4, 0.3), (6, 0.2), (8, 0.3)]
    assert len(model.losses) == 8
    assert torch.equal(model.score(users), NGCF(epochs=4, **SMALL).fit(split).score(users))
