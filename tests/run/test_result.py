"""What a run gives back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from fedlib import FedMF, InputError, LocalTraining, PFedRec, federate, load_result
from fedlib.backbones.base import Backbone
from fedlib.engine.reading import score_all
from tests.small import BACKBONES, small_split

LOCAL = LocalTraining(batch=8, lr=0.1)


@pytest.mark.parametrize("kind", [*BACKBONES, "alone"])
def test_saved_and_loaded_results_are_the_same(kind: str, tmp_path: Path) -> None:
    backbone = FedMF(4).alone() if kind == "alone" else BACKBONES[kind][0]
    result = federate(small_split(), backbone, local=LOCAL, rounds=2, clients_per_round=0.5, device="cpu")
    loaded = load_result(result.save(tmp_path / "result"))
    assert loaded.metrics == result.metrics and loaded.valid_metrics == result.valid_metrics
    assert loaded.config == result.config
    pd.testing.assert_frame_equal(loaded.recommend("u3", 5), result.recommend("u3", 5))
    pd.testing.assert_frame_equal(loaded.per_user(), result.per_user())
    assert loaded.history.equals(result.history) and loaded.ledger.equals(result.ledger)


def test_recommendations_are_the_best_items_not_in_training() -> None:
    result = federate(small_split(), FedMF(4), local=LOCAL, rounds=2, device="cpu")
    scores = score_all(result.state, result.backbone, torch.tensor([5]), result.data.train)[0]
    seen = set(result.data.train[5].tolist())
    expected = [i for i in scores.argsort(descending=True).tolist() if i not in seen][:7]
    got = result.recommend("u5", 7)
    assert got["item"].tolist() == [f"i{i}" for i in expected]
    assert got["title"].tolist() == [f"Item {i}" for i in expected]
    assert got["score"].tolist() == pytest.approx(scores[expected].tolist())


@pytest.mark.parametrize(
    ("user", "k", "sentence"),
    [("nobody", 3, "There is no user 'nobody'"), ("u1", 0, "k must be"), ("u1", 99, "k must be")],
)
def test_bad_requests_get_a_sentence(user: str, k: int, sentence: str) -> None:
    result = federate(small_split(), FedMF(4), local=LOCAL, rounds=1, device="cpu")
    with pytest.raises(InputError, match=sentence):
        result.recommend(user, k)


def test_per_user_scores_average_to_the_metrics() -> None:
    result = federate(small_split(), FedMF(4), local=LOCAL, rounds=2, device="cpu")
    for name, value in result.per_user().mean().items():
        assert value == pytest.approx(result.metrics[name])


@pytest.mark.parametrize(
    "name", ["os.system", "os.nothing", "no_such_module.Model", "system", "collections.OrderedDict"]
)
def test_a_result_file_cannot_make_anything_but_a_backbone_run(name: str, tmp_path: Path) -> None:
    """The class is named by the file, and a file may come from anybody."""
    result = federate(small_split(), FedMF(4), local=LOCAL, rounds=1, device="cpu")
    made = {"class": name, "alone": False, "command": f"touch {tmp_path / 'ran'}"}
    result.config["backbone"] = made
    with pytest.raises(InputError, match="is no backbone that can be imported here"):
        load_result(result.save(tmp_path / "result"))
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable fedlib file"):
        load_result(tmp_path)


@pytest.mark.parametrize("backbone", [FedMF(4), PFedRec(4)], ids=["fedmf", "pfedrec"])
def test_the_best_round_is_the_run_that_stopped_there(backbone: Backbone, tmp_path: Path) -> None:
    """And one that is killed and resumed finds the same round."""

    def run(rounds: int, **more):
        local = LocalTraining(batch=8, lr=1.0, lr_items=10.0)
        return federate(small_split(), backbone, local=local, rounds=rounds, clients_per_round=0.5, evaluate_every=2,
                        device="cpu", **more)  # fmt: skip

    result = run(12, best="NDCG@10")
    history = result.history.dropna(subset="valid NDCG@10")
    assert result.state.round == history["round"][history["valid NDCG@10"].idxmax()] < 12
    stopped = run(result.state.round)
    assert result.metrics == stopped.metrics and result.valid_metrics == stopped.valid_metrics
    assert (result.ranking().ranks == stopped.ranking().ranks).all()
    run(4, best="NDCG@10", checkpoint=tmp_path)
    resumed = run(12, best="NDCG@10", checkpoint=tmp_path, resume=True)
    assert resumed.state.round == result.state.round and resumed.metrics == result.metrics


@pytest.mark.parametrize("best", ["NDCG", "NDCG@7", "loss@10", "@10"])
def test_a_best_round_needs_a_metric_that_is_measured(best: str) -> None:
    with pytest.raises(InputError, match="best must be one of HR, NDCG"):
        federate(small_split(), FedMF(4), rounds=1, device="cpu", best=best)
