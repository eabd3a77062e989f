"""Stores as clients: one store is central training, several are averaged, and users' vectors stay where they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from fedlib import (
    Faults,
    InputError,
    LocalTraining,
    Place,
    PlainNoise,
    Result,
    SecureAggregation,
    UserLevelDP,
    federate,
    load_result,
)
from fedlib.backbones import FedNGCF
from fedlib.centralized import NGCF
from fedlib.data import synthetic
from fedlib.data.interactions import Split
from fedlib.data.log import Stores
from fedlib.data.partition import at_random, share_edges
from fedlib.engine.state import State, initial_state
from fedlib.evaluation.rankings import scorer
from fedlib.items import ItemTable
from fedlib.run.arguments import resolved
from fedlib.stores.clients import StoreClients
from fedlib.stores.work import Samplers

M, N = 40, 120
LOCAL = LocalTraining(batch=32, lr=0.01, optimizer="adam")
MODEL = FedNGCF(6, layers=(6, 4), dropout=0.2, l2=0.01, max_steps=4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole() -> Split:
    return synthetic(n_users=M, n_items=N, interactions=(3, 20)).ratio_split()


@pytest.fixture(scope="module")
def split(whole: Split) -> Split:
    return whole.with_stores(at_random(M, 4, seed=1))


def run(split: Split, model: FedNGCF = MODEL, local: LocalTraining = LOCAL, rounds: int = 2, **how: object) -> Result:
    return federate(split, model, local=local, rounds=rounds, device="cpu", **how)


def fresh(split: Split, model: FedNGCF, dtype: torch.dtype = torch.float32) -> State:
    tables = ItemTable().tables(model, N, 0)
    return initial_state(model, tables, split.train, N, 1, seed=0, dtype=dtype, device=CPU, stores=split.stores)


def all_scores(result: Result) -> torch.Tensor:
    scores = torch.zeros(M, N, dtype=next(iter(result.state.tables.values())).dtype)
    assert result.data.stores is not None
    for store in range(result.data.stores.n_stores):
        users = result.data.stores.users(store)
        scores[users] = scorer(result.state, result.backbone, result.data, store)(users, None)
    return scores


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_one_store_is_central_training(whole: Split, variant: str) -> None:
    """An epoch of Adam on the same draws, by torch's own optimiser: equal up to rounding."""
    shape = {"layers": (6, 4), "variant": variant, "dropout": 0.2, "l2": 0.01}
    one = whole.with_stores(Stores(torch.zeros(M, dtype=torch.int64), 1))
    result = run(one, FedNGCF(6, max_steps=1000, **shape), rounds=1)
    central = NGCF(dim=6, epochs=1, batch=32, lr=0.01, device="cpu", **shape).fit(whole)
    assert_close(all_scores(result), central.score(torch.arange(M)), rtol=0, atol=1e-5)
    assert result.history["loss"].tolist() == pytest.approx(central.losses, abs=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_server_takes_the_mean_by_size(split: Split, share: float) -> None:
    """Each store is trained alone from the start here, and the mean is written out."""
    model, dtype = MODEL, torch.float64
    result = run(split, model, rounds=1, clients_per_round=share, dtype=dtype)
    local = resolved(LOCAL, split, model, share)
    excluded = split.data.interactions if local.negatives_from == "untouched" else split.train
    clients = StoreClients(model, local, split.train, split.stores, split.client_sizes, Samplers(excluded, N), 0)
    state = fresh(split, model, dtype)
    taken = participants(result, split)
    assert len(taken) == 4 * share
    trained = {k: clients.train(clients.receive(state, torch.tensor([k]), 0)).values for k in taken}
    size = {k: int(split.train.counts[split.stores.users(k)].sum()) for k in taken}
    for name, value in {**result.state.tables, **result.state.shared}.items():
        mean = sum(size[k] * trained[k][name] for k in taken) / sum(size.values())
        assert_close(value, mean, rtol=0, atol=1e-12)
    for k in range(4):
        expected = (
            trained[k]["user"] if k in taken else fresh(split, model, dtype).private["user"][split.stores.users(k)]
        )
        assert torch.equal(result.state.private["user"][split.stores.users(k)], expected)


def participants(result: Result, split: Split) -> list[int]:
    """The stores whose users' vectors have moved."""
    start = fresh(split, MODEL, torch.float64).private["user"]
    moved = (result.state.private["user"] != start).any(1)
    return split.stores.assignment[moved].unique().tolist()


def test_users_vectors_are_never_sent_and_bytes_are_counted(split: Split) -> None:
    ledger = run(split, rounds=1, clients_per_round=3).ledger
    network = {"w1.0", "w1.1", "w2.0", "w2.1", "b1.0", "b1.1", "b2.0", "b2.1"}
    up = ledger[ledger["direction"] == "up"].set_index("tensor")
    assert set(up.index) == {"item", "number of samples"} | network
    assert set(ledger[ledger["direction"] == "down"]["tensor"]) == {"item"} | network
    assert (ledger["clients"] == 3).all()
    assert up["bytes_per_client"]["item"] == N * 6 * 4
    assert up.loc[sorted(network), "bytes_per_client"].sum() == 4 * 2 * (6 * 6 + 6 * 4 + 6 + 4)


def test_alone_every_store_has_its_own_model(split: Split) -> None:
    result = run(split, MODEL.alone(), rounds=1)
    assert result.ledger.empty and not result.state.tables
    assert result.state.own_tables["item"].shape == (4, N, 6) and result.state.private["w1.0"].shape == (4, 6, 6)
    assert result.state.private["user"].shape == (M, 6)
    assert not torch.equal(result.state.own_tables["item"][0], result.state.own_tables["item"][1])


@pytest.mark.parametrize("model", [MODEL, MODEL.alone()], ids=["shared", "alone"])
def test_a_resumed_run_is_the_same_bit_for_bit(split: Split, model: FedNGCF, tmp_path: Path) -> None:
    how = {"clients_per_round": 0.5}
    whole = run(split, model, rounds=4, **how)
    run(split, model, rounds=2, checkpoint=tmp_path, **how)
    resumed = run(split, model, rounds=4, checkpoint=tmp_path, resume=True, **how)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    times = ["seconds", "seconds_evaluate"]
    assert resumed.history.drop(columns=times).equals(whole.history.drop(columns=times))
    assert resumed.ledger.equals(whole.ledger)
    with pytest.raises(InputError, match=r"belongs to another run \(different: stores_sha256"):
        run(split.with_stores(at_random(M, 4, seed=2)), model, rounds=4, checkpoint=tmp_path, resume=True, **how)


def test_runs_are_a_function_of_their_seed(split: Split) -> None:
    first, again, other = (run(split, rounds=1, seed=seed).state.tables["item"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_every_user_is_ranked_by_its_store_among_what_it_has_not_seen(whole: Split) -> None:
    """Ranks by plain loops; training items and the user's part of the global log are no candidates."""
    split = share_edges(whole).with_stores(at_random(M, 4, seed=1))
    result = run(split, rounds=1)
    scores, ranking = all_scores(result), result.ranking()
    assert sorted(ranking.users.tolist()) == split.test.users.tolist()
    found = {(u, round(r, 1)) for u, r in zip(ranking.users.tolist(), ranking.ranks.tolist(), strict=True)}
    assert split.global_log is not None
    for user, item in zip(split.test.users.tolist(), split.test.items.tolist(), strict=True):
        seen = {*split.train[user].tolist(), *split.global_log[user].tolist()}
        rest = scores[user, [i for i in range(N) if i not in seen and i != item]]
        own = scores[user, item]
        assert (user, 1 + float((rest > own).sum()) + float((rest == own).sum()) / 2) in found


def test_leave_one_out_works_too(whole: Split) -> None:
    split = whole.data.leave_one_out(negatives=5).with_stores(at_random(M, 4))
    result = run(split, rounds=1)
    scores = all_scores(result)
    ranks = dict(zip(result.ranking().users.tolist(), result.ranking().ranks.tolist(), strict=True))
    assert split.test_negatives is not None
    for user in range(M):
        above = scores[user, split.test_negatives[user]] > scores[user, split.test[user]]
        assert ranks[user] == 1 + int(above.sum())


def test_stores_learn(whole: Split) -> None:
    """Three stores of a shop with planted tastes: far better after 30 rounds than before."""
    split = whole.with_stores(at_random(M, 3))
    local = LocalTraining(epochs=3, batch=64, lr=0.02, optimizer="adam")
    history = run(split, FedNGCF(16, layers=(16, 16)), local, rounds=30, evaluate_every=29).history
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] / 2


@pytest.mark.parametrize("model", [MODEL, MODEL.alone()], ids=["shared", "alone"])
def test_saving_and_loading_keeps_scores_and_recommendations(whole: Split, model: FedNGCF, tmp_path: Path) -> None:
    result = run(share_edges(whole).with_stores(at_random(M, 4)), model)
    again = load_result(result.save(tmp_path / "result"))
    for one in (result, again):
        pd.testing.assert_frame_equal(one.recommend("user-5", k=4), result.recommend("user-5", k=4))
        pd.testing.assert_frame_equal(one.per_user().sort_index(), result.per_user().sort_index())
    assert again.metrics == result.metrics and again.data.stores is not None and again.data.global_log is not None
    seen = {f"book-{item}" for item in result.data.train[5].tolist()}
    assert not seen & set(result.recommend("user-5", k=10)["item"])


def test_a_protecting_place_sees_what_a_store_is_about_to_send(split: Split) -> None:
    class Nothing(Place):
        def client(self, work, message):
            work.update = {name: torch.zeros_like(delta) for name, delta in work.update.items()}
            return {"sent": torch.ones(1)}

    result = run(split, rounds=1, protect=Nothing())
    assert torch.equal(result.state.tables["item"], fresh(split, MODEL).tables["item"])
    assert "protect/sent" in set(result.ledger["tensor"])


@pytest.mark.parametrize(
    "protect",
    [SecureAggregation(clip=2.0, bits=32), UserLevelDP(clip=1e6, noise_multiplier=1e-15), PlainNoise(variance=0.0)],
    ids=["secure aggregation", "user-level dp", "noise"],
)
def test_what_protects_users_protects_stores(split: Split, protect: Place) -> None:
    """Where nothing is clipped and no noise is added, the model is the plain one."""
    plain = run(split, rounds=1, dtype=torch.float64)
    by_size = not isinstance(protect, UserLevelDP)
    kept = run(split, rounds=1, protect=protect, dtype=torch.float64)
    for name, value in plain.state.tables.items():
        distance = float((kept.state.tables[name] - value).abs().max())
        assert distance < 1e-4 if by_size else 0 < distance < 1  # equal weights are another mean


def test_stores_that_fail_are_left_out(split: Split) -> None:
    history = run(split, rounds=6, faults=Faults(before=0.3, after=0.2, broken=0.2)).history
    lost = history[["lost before", "lost during", "lost after", "refused", "clients"]].sum(axis=1)
    assert (lost == 4).all() and (history["clients"] < 4).any()


def test_without_validation_items_there_are_no_validation_metrics(split: Split) -> None:
    from dataclasses import replace

    from fedlib.data.log import UserItems

    nobody = UserItems(torch.zeros(M + 1, dtype=torch.int64), split.valid.items[:0])
    result = run(replace(split, valid=nobody), rounds=1)
    assert result.valid_metrics == {} and "NDCG@10" in result.metrics


def test_what_makes_no_sense_gets_a_sentence(whole: Split, split: Split) -> None:
    for call, sentence in [
        (lambda: run(whole), "The clients of FedNGCF are stores"),
        (lambda: run(split, local=LocalTraining(step_decay=0.9)), "step_decay and stop are not for FedNGCF"),
        (lambda: run(split, chunk=3), "stores are trained one at a time"),
        (lambda: run(split, select=Place()), "select chooses among the samples of one user"),
        (lambda: run(split, local=LocalTraining(weight_decay=0.1)), "weight_decay is not for FedNGCF"),
        (lambda: run(split, clients_per_round=5), "there are only 4 clients"),
        (lambda: run(split, max_memory=100), "private state would take"),
    ]:
        with pytest.raises(InputError, match=sentence):
            call()
