"""Stores that train a model of one user for their users: against an independent oracle, and what users expect."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from fedlib import (
    Faults,
    FedMF,
    InputError,
    LocalTraining,
    PlainNoise,
    Result,
    SecureAggregation,
    UserLevelDP,
    federate,
    load_result,
)
from fedlib.backbones import FCFALS, Backbone, FedPerGNN, FedRAP, PFedRec
from fedlib.data.interactions import Split
from fedlib.data.log import Stores
from fedlib.data.partition import at_random
from fedlib.engine.state import initial_state
from fedlib.evaluation.rankings import scorer
from fedlib.items import ItemTable
from fedlib.places import Place
from tests import oracle, storeoracle
from tests.backbones.test_contract import checkerboard
from tests.small import BACKBONES, oracle_name, small_split

ADAM = LocalTraining(epochs=2, batch=16, lr=0.02, lr_items=0.03, optimizer="adam", negatives=2, weight_decay=0.01)
SGD = LocalTraining(epochs=2, batch=16, lr=0.3, lr_items=1.0, negatives=2, weight_decay=0.01)
KINDS: dict[str, Backbone] = {name: BACKBONES[name][0] for name in
    ("fedmf", "fedncf", "neumf", "pfedrec", "pfedrec-mlp", "fedavg", "fcf")}  # fmt: skip
KINDS |= {
    "fedpergnn": FedPerGNN(8, std=0.3),
    "fedpergnn-item": FedPerGNN(8, neighbours="item", std=0.3),
    "fedpergnn-alone": FedPerGNN(8, neighbours=None, std=0.3),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split() -> Split:
    """Thirteen users in three stores of unequal size, one of which has a single user."""
    return small_split().with_stores(Stores(torch.tensor([0, 1, 0, 0, 1, 2, 0, 0, 1, 0, 0, 1, 0]), 3))


def run(split: Split, kind: str, local: LocalTraining = ADAM, rounds: int = 2, **how: object) -> Result:
    return federate(split, KINDS[kind], local=local, rounds=rounds, device="cpu", dtype=torch.float64, **how)


def all_scores(result: Result) -> Tensor:
    stores = result.data.stores
    assert stores is not None
    scores = torch.zeros(result.data.data.n_users, result.data.data.n_items, dtype=torch.float64)
    for store in range(stores.n_stores):
        users = stores.users(store)
        scores[users] = scorer(result.state, result.backbone, result.data, store)(users, None)
    return scores


def judged(split: Split, kind: str, local: LocalTraining, rounds: int, share: float):
    """The oracle's values under the package's names, its losses, and its scores (m, n)."""
    backbone, n, m = KINDS[kind], split.data.n_items, split.data.n_users
    assert split.stores is not None
    tables = ItemTable().tables(backbone, n, 0)
    state = copy.deepcopy(initial_state(backbone, tables, split.train, n, local.negatives, seed=0,
                          dtype=torch.float64, device=CPU, stores=split.stores))  # fmt: skip
    named = partial(oracle_name, kind)
    names = {named(name): name for name in (*state.tables, *state.shared, *state.private)}
    server = {named(name): value for name, value in {**state.tables, **state.shared}.items()}
    private = {named(name): value for name, value in state.private.items()}
    tables, tuned = [named(name) for name in state.tables], {}
    model = None if kind.startswith("fedpergnn") else BACKBONES[kind][1](n).to(torch.float64)
    stores = []
    for k in range(split.stores.n_stores):
        users = split.stores.users(k).tolist()
        lists = [[log[u].tolist() for u in users] for log in (split.train, split.data.interactions)]
        stores.append(storeoracle.Store(users, *lists))
    how = oracle.Local(local.epochs, local.batch, local.lr, float(local.lr_items), 0.01, local.optimizer, 0)

    def logit_of(k: int, t: int) -> storeoracle.Logit:
        if model is None:
            return storeoracle.pergnn_logit(stores[k], backbone.neighbours, private["user"][stores[k].users].clone())
        return storeoracle.module_logit(model, list(private), k, 0, t)

    losses = []
    for t in range(rounds):
        uploads, each = [], []
        for k in oracle.participants(len(stores), share, 0, t):
            values = server | {name: value[stores[k].users] for name, value in private.items()}
            loss, rows, size = storeoracle.train(
                stores[k], k, values, logit_of(k, t), tables, kind.startswith("pfedrec"), how, n, local.negatives, t
            )
            each.append(loss)
            for name in private:
                private[name][stores[k].users] = values[name]
            uploads.append(oracle.Upload({name: values[name] for name in server}, rows, size))
            if kind.startswith("pfedrec"):
                tuned[k] = values["item"]
        modes = {name: backbone.aggregate_items if name in tables else backbone.aggregate_network for name in server}
        server = {
            name: oracle.aggregate(modes[name], value, [u.values[name] for u in uploads], uploads)
            for name, value in server.items()
        }
        losses.append(sum(each) / len(each))
    start = {named(name): value for name, value in state.tables.items()}
    scores = torch.zeros(m, n, dtype=torch.float64)
    for k, store in enumerate(stores):
        mine = {"item": tuned.get(k, start["item"])} if kind.startswith("pfedrec") else {}
        values = server | mine | {name: value[store.users] for name, value in private.items()}
        logit = logit_of(k, 0)
        for u, user in enumerate(store.users):
            scores[user] = torch.stack([logit(values, u, i, torch.empty(0), 0) for i in range(n)]).detach()
    return {names[name]: value for name, value in {**server, **private}.items()}, losses, scores


@pytest.mark.parametrize(("local", "share"), [(SGD, 0.6), (ADAM, 1.0)], ids=["sgd", "adam"])
@each_kind
def test_it_equals_the_oracle(split: Split, kind: str, local: LocalTraining, share: float) -> None:
    """Values, losses and the ranking's scores; a store that sat out ranks with what it has."""
    theirs, losses, scores = judged(split, kind, local, 2, share)
    result = run(split, kind, local, clients_per_round=share)
    state = result.state
    assert theirs.keys() == {*state.tables, *state.shared, *state.private}
    for name, value in {**state.tables, **state.shared, **state.private}.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    assert result.history["loss"].tolist() == pytest.approx(losses, abs=1e-10)
    torch.testing.assert_close(all_scores(result), scores, rtol=0, atol=1e-10)


@each_kind
def test_a_resumed_run_is_the_same_bit_for_bit_and_a_saved_one_recommends_alike(
    split: Split, kind: str, tmp_path: Path
) -> None:
    how = {"clients_per_round": 0.6}
    whole = run(split, kind, rounds=3, **how)
    run(split, kind, rounds=1, checkpoint=tmp_path, **how)
    resumed = run(split, kind, rounds=3, checkpoint=tmp_path, resume=True, **how)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    again = load_result(whole.save(tmp_path / "result"))
    assert again.metrics == whole.metrics
    pd.testing.assert_frame_equal(again.recommend("u5", k=4), whole.recommend("u5", k=4))
    pd.testing.assert_frame_equal(again.per_user().sort_index(), whole.per_user().sort_index())


@each_kind
def test_what_is_a_users_is_never_sent_and_an_upload_is_a_stores(split: Split, kind: str) -> None:
    result = run(split, kind, rounds=1)
    ledger, state = result.ledger, result.state
    own = {name for name in state.private if result.backbone.owner(name) == "user"}
    assert own and all(len(state.private[name]) == 13 for name in own)
    assert not own & set(ledger["tensor"]) and {*state.tables, *state.shared} <= set(ledger["tensor"])
    assert (ledger["clients"] == 3).all() and not ledger["tensor"].str.startswith("third party").any()


@each_kind
def test_alone_every_store_has_its_own_model_and_users_their_own_part(split: Split, kind: str) -> None:
    model = KINDS[kind].alone()
    result = federate(split, model, local=ADAM, rounds=2, device="cpu")
    assert result.ledger.empty and not result.state.tables and not result.state.kept
    for table in result.state.own_tables.values():
        assert len(table) == 3 and not torch.equal(table[0], table[1])
    for name, value in result.state.private.items():
        assert len(value) == (13 if KINDS[kind].is_private(name) else 3), name


def test_a_store_of_one_is_a_client(split: Split) -> None:
    """Stores of one user each: FedMF's run is that of users as clients, but for the order of samples; one batch has
    none."""
    single, local = small_split(), LocalTraining(batch=1000, lr=0.3, lr_items=1.0)
    stores = single.with_stores(Stores(torch.arange(13), 13))
    users, groups = (federate(s, FedMF(8), local=local, rounds=3, device="cpu", dtype=torch.float64)
                     for s in (single, stores))  # fmt: skip
    for name, value in users.state.tensors().items():
        torch.testing.assert_close(groups.state.tensors()[name], value, rtol=0, atol=1e-12)
    assert groups.metrics == users.metrics


@pytest.mark.parametrize("kind", ["fedmf", "fedncf", "fedpergnn"])
@pytest.mark.parametrize(
    "protect",
    [SecureAggregation(clip=8.0, bits=32), UserLevelDP(clip=1e6, noise_multiplier=1e-15), PlainNoise(variance=0.0)],
    ids=["secure aggregation", "user-level dp", "noise"],
)
def test_what_protects_users_protects_stores(split: Split, kind: str, protect: Place) -> None:
    """Where nothing is clipped and no noise is added, the model is the plain one, or that of another mean: DP weighs
    all alike, and under noise all send all rows."""
    plain, kept = run(split, kind, rounds=1), run(split, kind, rounds=1, protect=protect)
    other = {UserLevelDP: ("size", "row"), PlainNoise: ("row",)}.get(type(protect), ())
    for name, value in plain.state.tables.items():
        distance = float((kept.state.tables[name] - value).abs().max())
        assert 0 < distance < 1 if KINDS[kind].aggregate_items in other else distance < 1e-4


def test_stores_that_fail_or_lie_do_not_stop_it(split: Split) -> None:
    history = run(split, "fedncf", rounds=6, faults=Faults(before=0.3, after=0.2, broken=0.2)).history
    lost = history[["lost before", "lost during", "lost after", "refused", "clients"]].sum(axis=1)
    assert (lost == 3).all() and (history["clients"] < 3).any()
    honest = run(split, "fedmf", rounds=1).history["loss"]
    lying = run(split, "fedmf", rounds=1, faults=Faults(hostile=1.0, attack="label-flip")).history["loss"]
    assert lying.iloc[0] != honest.iloc[0]


@pytest.mark.parametrize("model", [FedMF(8), FedPerGNN(8)], ids=["fedmf", "fedpergnn"])
def test_they_find_the_held_out_item_of_a_checkerboard(model: Backbone) -> None:
    """The test item is of the user's colour and its rivals are of the other one: HR@1 of chance is 0.2."""
    board = checkerboard().with_stores(at_random(40, 3))
    local = LocalTraining(batch=256, lr=0.05, lr_items=0.05, optimizer="adam", negatives_from="unobserved")
    result = federate(board, model, local=local, rounds=25, ks=(1,), evaluate_every=25, device="cpu")
    assert result.metrics["HR@1"] > 0.9


def test_what_cannot_join_gets_a_sentence(split: Split) -> None:
    for model in (FedRAP(4), FCFALS(4)):
        with pytest.raises(InputError, match=f"{type(model).__name__} cannot be trained by stores"):
            federate(split, model, rounds=1)
    for how, sentence in [
        ({"chunk": 3}, "stores are trained one at a time"),
        ({"max_memory": 100}, "private state would take"),
        ({"clients_per_round": 5}, "there are only 3 clients"),
    ]:
        with pytest.raises(InputError, match=sentence):
            federate(split, FedMF(4), rounds=1, **how)
    with pytest.raises(InputError, match="keeps its tuned copy"):
        federate(split, PFedRec(4), rounds=1, faults=Faults(stale=0.5))
