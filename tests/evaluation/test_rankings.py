"""Ranks of a federated model against plain loops over users and items, under every protocol."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedlib import FedMF, LocalTraining, PFedRec, federate
from fedlib.backbones import Backbone
from fedlib.data import Split
from fedlib.evaluation.rankings import exposure
from fedlib.run.result import Result
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)
SPLITS = {
    "loo": small_split(),
    "full": small_split().data.full_ranking(),
    "ratio": small_split(longest=30).data.ratio_split(),
}


def logits(result: Result, user: int) -> Tensor:
    """What the client itself would compute for all items, one item after the other."""
    state = result.state
    if isinstance(result.backbone, FedMF):
        return torch.stack([row @ state.private["user"][user] for row in state.tables["item"]])
    kept = state.kept["item"]
    table = kept.versions[int(kept.version[user])].clone()
    start, count = int(kept.start[user]), int(kept.count[user])
    table[kept.ids[start : start + count]] = kept.rows[start : start + count]
    weight, bias = state.private["score.weight"][user, 0], state.private["score.bias"][user]
    return torch.stack([row @ weight + bias[0] for row in table])


def plain_ranks(result: Result, split: Split, which: str) -> list[float]:
    """Expected ranks of every held-out item, user by user."""
    relevant, negatives = getattr(split, which), getattr(split, f"{which}_negatives")
    ranks = []
    for user in range(split.data.n_users):
        scores = logits(result, user).tolist()
        for item in relevant[user].tolist():
            if negatives is None:
                rivals = set(range(split.data.n_items)) - set(split.train[user].tolist()) - {item}
            else:
                rivals = set(negatives[user].tolist())
            above = sum(scores[r] > scores[item] for r in rivals)
            equal = sum(scores[r] == scores[item] for r in rivals)
            ranks.append(1 + above + equal / 2)
    return ranks


@pytest.mark.parametrize("backbone", [FedMF(4), PFedRec(4)], ids=["fedmf", "pfedrec"])
@pytest.mark.parametrize("protocol", SPLITS)
def test_ranks_equal_plain_loops(protocol: str, backbone: Backbone) -> None:
    split = SPLITS[protocol]
    result = federate(split, backbone, local=LOCAL, rounds=3, clients_per_round=0.5, device="cpu", dtype=torch.float64)
    for which in ("valid", "test"):
        ranking = result.ranking(which)
        order = torch.argsort(ranking.users, stable=True)
        assert ranking.ranks[order].tolist() == plain_ranks(result, split, which)
    hits = sum(rank <= 10 for rank in plain_ranks(result, split, "test"))
    if protocol != "ratio":  # one held-out item a user
        assert result.metrics["HR@10"] == pytest.approx(hits / split.data.n_users)


def test_exposure_counts_the_lists_an_item_is_on() -> None:
    split = SPLITS["loo"]
    result = federate(split, FedMF(4), local=LOCAL, rounds=3, device="cpu", dtype=torch.float64)
    shown = [0] * split.data.n_items
    for user in range(split.data.n_users):
        scores = logits(result, user).tolist()
        others = [i for i in range(split.data.n_items) if i not in split.train[user].tolist()]
        for item in sorted(others, key=lambda i: scores[i])[-5:]:
            shown[item] += 1
    assert exposure(result.state, result.backbone, split, k=5).tolist() == shown


def test_ties_are_counted_and_logged() -> None:
    """Before anything is learned from, an all-zero item table ties every candidate."""
    backbone = FedMF(4, std=0.0)
    result = federate(SPLITS["loo"], backbone, local=LOCAL, rounds=1, device="cpu")
    assert result.history["ties"].tolist() == [1.0]
    assert (result.ranking().ranks == 1 + 5 / 2).all()
