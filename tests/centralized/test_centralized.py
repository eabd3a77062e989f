"""One set of expectations for all centralised rankers, under all protocols, and MovieLens 100K."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fedlib import rng
from fedlib.centralized import BPR, NGCF, Chance, ItemKNN, Popularity, evaluate
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems

RANKERS = [
    Chance(),
    Popularity(),
    ItemKNN(neighbours=4),
    BPR(dim=4, epochs=3),
    NGCF(dim=4, layers=(4,), epochs=3, batch=16, device="cpu"),
]


def dataset(m: int, n: int, share: float = 0.4) -> Dataset:
    """Random interactions of m users with n items."""
    users, items = (rng.uniform(rng.key(1, "data"), torch.arange(m)[:, None], torch.arange(n)) < share).nonzero().T
    log = UserItems.from_pairs(users, items, m)
    catalogue = pd.DataFrame({"title": [str(i) for i in range(n)]})
    return Dataset(
        "toy", m, n, log, [str(u) for u in range(m)], [str(i) for i in range(n)], catalogue, "none", log.sha256
    )


@pytest.fixture(params=["loo", "full", "ratio"])
def split(request: pytest.FixtureRequest) -> Split:
    data = dataset(m=14, n=20)
    if request.param == "loo":
        return data.leave_one_out(negatives=3)
    return data.full_ranking() if request.param == "full" else data.ratio_split()


def slow_ranks(scores: Tensor, split: Split, which: str) -> list[float]:
    """The expected rank of each held-out item, by plain loops over the candidates of the protocol."""
    held_out: UserItems = getattr(split, which)
    negatives = getattr(split, f"{which}_negatives")
    ranks = []
    for user, item in zip(held_out.users.tolist(), held_out.items.tolist(), strict=True):
        if negatives is not None:
            candidates = negatives[user].tolist()
        else:
            candidates = [i for i in range(split.data.n_items) if i not in split.train[user].tolist() and i != item]
        own = scores[user, item]
        ranks.append(1 + sum(float(scores[user, c] > own) + float(scores[user, c] == own) / 2 for c in candidates))
    return ranks


@pytest.mark.parametrize("ranker", RANKERS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("which", ["valid", "test"])
def test_every_protocol_ranks_what_plain_loops_rank(ranker: Any, which: Literal["valid", "test"], split: Split) -> None:
    scores = ranker.fit(split).score(torch.arange(split.data.n_users))
    result = evaluate(ranker, split, which, ks=(3, 20))
    expected = slow_ranks(scores, split, which)
    assert result.ranks.tolist() == [r if r <= 20 else float("inf") for r in expected]
    assert torch.equal(evaluate(ranker, split, which, ks=(3, 20), memory_mb=0.002).ranks, result.ranks)


@pytest.mark.parametrize("ranker", RANKERS, ids=lambda r: type(r).__name__)
def test_a_score_is_that_of_its_pair_whatever_is_asked_beside_it(ranker: Any) -> None:
    split = dataset(m=14, n=20).full_ranking()
    everything = ranker.fit(split).score(torch.arange(split.data.n_users))
    assert everything.shape == (split.data.n_users, 20)
    users, items = torch.tensor([5, 0, 5]), torch.tensor([[3, 19], [0, 0], [7, 3]])
    assert_close(ranker.score(users, items), everything[users[:, None], items])
    assert_close(ranker.score(users), everything[users])


@pytest.mark.parametrize("ranker", RANKERS, ids=lambda r: type(r).__name__)
def test_held_out_items_play_no_part_in_training(ranker: Any) -> None:
    split = dataset(m=14, n=20).full_ranking()
    users = torch.arange(split.data.n_users)
    before = ranker.fit(split).score(users).clone()
    nobody = UserItems(torch.zeros_like(split.test.indptr), split.test.items[:0])
    after = ranker.fit(replace(split, valid=nobody, test=nobody)).score(users)
    assert torch.equal(before, after)


@pytest.mark.parametrize("ranker", [ItemKNN(), BPR(dim=4, epochs=60, batch=64)], ids=lambda r: type(r).__name__)
def test_a_checkerboard_is_learned(ranker: Any) -> None:
    """Even users chose even items and odd users odd ones, but one each: that one must come first among the rest."""
    m, n = 20, 16
    pairs = [(u, i) for u in range(m) for i in range(n) if (u + i) % 2 == 0]
    missing = [(u, (u % 2 + 2 * u) % n) for u in range(m)]
    kept = torch.tensor([pair for pair in pairs if pair not in missing])
    train = UserItems.from_pairs(kept[:, 0], kept[:, 1], m)
    test = UserItems.from_pairs(*torch.tensor(missing).T, m)
    split = replace(dataset(m, n).ratio_split(), train=train, valid=test, test=test)
    assert evaluate(ranker.fit(split), split, ks=(1,)).metrics((1,))["HR@1"] == 1.0


def test_rankers_on_movielens_are_in_their_known_order(real_data: Path) -> None:
    """Popularity reaches about .415 / .225 in the literature's protocol; negatives move it by .01."""
    from fedlib.data.sources import load

    split = load("ml-100k").leave_one_out(seed=0)
    found = {
        type(r).__name__: evaluate(r.fit(split), split).metrics((10,))
        for r in (Chance(), Popularity(), ItemKNN(), BPR())
    }
    hit = {name: values["HR@10"] for name, values in found.items()}
    assert hit["Chance"] == pytest.approx(0.10, abs=0.03)
    assert hit["Popularity"] == pytest.approx(0.415, abs=0.03)
    assert found["Popularity"]["NDCG@10"] == pytest.approx(0.225, abs=0.02)
    assert min(hit["ItemKNN"], hit["BPR"]) > hit["Popularity"] + 0.15
