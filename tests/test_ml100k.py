"""Known results on MovieLens 100K, in full: leave-one-out, 99 fixed negatives, 100 rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlib import FedMF, FedNCF, LocalTraining, PFedRec, federate, load
from fedlib.backbones import Backbone
from fedlib.centralized import Popularity, evaluate
from fedlib.commands.rates import SETTINGS
from fedlib.data import Split
from fedlib.evaluation.stats import paired_bootstrap
from fedlib.run.rates import PACKAGED


@pytest.fixture
def split(real_data: Path) -> Split:
    return load("ml-100k", root=real_data).leave_one_out(seed=0)


def test_pfedrec_reaches_its_authors_figures(split: Split) -> None:
    """The authors' code gives .720 and .440; about .015 is one standard error over 943 users."""
    result = federate(split, PFedRec(32), rounds=100, evaluate_every=100, device="cpu")
    assert result.metrics["HR@10"] == pytest.approx(0.72, abs=0.03)
    assert result.metrics["NDCG@10"] == pytest.approx(0.44, abs=0.03)


def test_pfedrecs_figure_needs_negatives_that_know_the_held_out_items(split: Split) -> None:
    """With negatives from everything outside the training items it stays more than a tenth below."""
    local = LocalTraining(negatives_from="unobserved")
    result = federate(split, PFedRec(32), local=local, rounds=100, evaluate_every=100, device="cpu")
    assert result.metrics["HR@10"] < 0.62


@pytest.mark.parametrize("backbone", [FedMF(32), FedNCF()], ids=["fedmf", "fedncf"])
def test_with_its_tuned_rates_it_beats_popularity(
    split: Split, backbone: Backbone, request: pytest.FixtureRequest
) -> None:
    """The whole 95 % interval of the paired difference lies above zero."""
    name = request.node.callspec.id
    row = next(
        r
        for r in SETTINGS.read(PACKAGED)
        if (r["backbone"], r["items"], r["negatives_from"]) == (name, "id", "untouched")
    )
    local = LocalTraining(lr=row["lr"], lr_items=row["lr_items"], optimizer=row["optimizer"])
    result = federate(split, backbone, local=local, rounds=row["rounds"], evaluate_every=100, device="cpu")
    popular = evaluate(Popularity().fit(split), split, ks=(10,)).per_user((10,))
    for metric in ("HR@10", "NDCG@10"):
        assert paired_bootstrap(result.per_user()[metric], popular[metric]).low > 0
