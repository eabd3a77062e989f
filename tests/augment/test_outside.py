"""Stores that learn from a global log: whose vectors move, who knows what, and what stays for the evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedlib import (
    FALE,
    Entropy,
    FedAvg,
    FedMF,
    FedNCF,
    FedNGCF,
    FedPerGNN,
    FedSelect,
    HardestNegativeMargin,
    InputError,
    LocalTraining,
    PFedRec,
    Place,
    PrototypeSelection,
    RandomSelection,
    federate,
    load_result,
    rng,
)
from fedlib.augment import AllOutside, RandomOutside
from fedlib.backbones import Backbone
from fedlib.data import synthetic
from fedlib.data.interactions import Split
from fedlib.data.log import Stores, UserItems
from fedlib.data.partition import at_random, share_edges
from fedlib.places import Outside
from fedlib.run.arguments import resolved
from fedlib.stores.clients import StoreClients
from fedlib.stores.users import StoreUsers
from fedlib.stores.work import Samplers
from tests.items.fusion import fusion
from tests.select.fakes import Fake
from tests.small import small_split

NGCF = FedNGCF(6, layers=(6, 4), dropout=0.2, l2=0.01, max_steps=4)
ADAM = LocalTraining(batch=32, lr=0.01, optimizer="adam")
MODELS = {"ngcf": NGCF, "fedmf": FedMF(6), "pergnn": FedPerGNN(6), "pfedrec": PFedRec(6, hidden=(6,))}
HOW = {"local": ADAM, "device": "cpu", "rounds": 2}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@pytest.fixture(scope="module")
def split() -> Split:
    data = synthetic(n_users=40, n_items=120, interactions=(6, 20))
    return share_edges(data.ratio_split().with_stores(at_random(40, 4, seed=1)), share=0.5)


def of_users(state: object, model: Backbone) -> dict[str, Tensor]:
    return {name: value for name, value in state.private.items() if model.owner(name) == "user"}  # type: ignore[attr-defined]


@each_model
@pytest.mark.parametrize("augment", [AllOutside(), RandomOutside(0.3)], ids=["all", "random"])
def test_nothing_of_a_stores_users_changes_when_another_trains_on_their_edges(
    model: Backbone, augment: Place, split: Split
) -> None:
    still = federate(split, model, **HOW | {"local": replace(ADAM, lr=1e-300, lr_items=1e-300), "rounds": 1}).state
    one = federate(split, model, augment=augment, **HOW | {"rounds": 1, "clients_per_round": 0.25}).state
    assert split.stores is not None
    taking_part = int(one.joined["edges"].any(1).nonzero())
    assert int(one.joined["edges"].any(1).sum()) == 1
    own = split.stores.users(taking_part)
    others = torch.ones(40, dtype=torch.bool)
    others[own] = False
    for name, value in of_users(one, model).items():
        start = of_users(still, model)[name]
        assert torch.equal(value[others], start[others]), name
        assert (value[own] != start[own]).any()
        guests = one.guests[name]
        assert (guests[taking_part, others] != start[others]).any(), "a stranger's vector is trained, as a copy"
        for store in set(range(4)) - {taking_part}:
            assert torch.equal(guests[store], start)


@pytest.mark.parametrize("of_stores", [StoreClients, StoreUsers])
def test_no_draw_depends_on_another_stores_private_interactions(of_stores: type, split: Split) -> None:
    """The same store trains twice, and in between everything private at the others is replaced."""
    model = NGCF if of_stores is StoreClients else FedMF(6)
    assert split.stores is not None and split.global_log is not None
    theirs = split.stores.assignment[split.train.users] != 0
    moved = torch.where(theirs, (split.train.items + 17) % 120, split.train.items)
    outcomes = []
    for train in (split.train, UserItems(split.train.indptr, moved)):
        state = federate(split, model, augment=AllOutside(), **HOW | {"rounds": 1, "clients_per_round": 0.25}).state
        local = resolved(ADAM, split, model, 1.0)
        clients = of_stores(
            model, local, train, split.stores, split.client_sizes, Samplers(train, 120), 0, split.global_log
        )
        work = clients.receive(state, torch.tensor([0]), 1)
        AllOutside().client(work, {})
        clients.train(work)
        outcomes.append(work.update)
    for name, value in outcomes[0].items():
        assert torch.equal(value, outcomes[1][name]), name


def test_negatives_are_what_a_store_may_know() -> None:
    """Users 0 and 1 live in store 0, user 2 in store 1; item 5 of user 2 is in the global log, item 4 is not."""
    log = UserItems.from_pairs(torch.tensor([0, 2]), torch.tensor([1, 5]), 3)
    private = UserItems.from_pairs(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 4]), 3)
    stores = Stores(torch.tensor([0, 0, 1]), 2)
    samplers = Samplers(private, 6)
    clients = StoreClients(NGCF, ADAM, private, stores, torch.tensor([2, 1]), samplers, 0, log)
    work = clients.receive(None, torch.tensor([0]), 0)  # type: ignore[arg-type]
    alone = samplers.of(work).positives
    assert [alone[u].tolist() for u in range(3)] == [[0], [2], []]
    work.outside = Outside(torch.arange(3), log, lambda step: torch.ones(2, dtype=torch.bool))
    known = samplers.of(work).positives
    assert [sorted(known[u].tolist()) for u in range(3)] == [[0, 1], [2], [5]]
    assert work.nodes().tolist() == [0, 1, 2]
    edges = work.training_edges(work.nodes(), torch.tensor([False, True]))
    assert [edges[u].tolist() for u in range(3)] == [[0], [2], [5]]


def test_the_log_that_joins_is_that_of_a_store_with_these_interactions() -> None:
    """One store: the global log of its own users joins, so it trains on what it would have had without sharing."""
    data = synthetic(n_users=30, n_items=80, interactions=(6, 15)).ratio_split().with_stores(at_random(30, 1))
    shared = share_edges(data, share=0.5)
    how = HOW | {"dtype": torch.float64}
    for model in (FedMF(6), FedPerGNN(6)):
        whole = federate(data, model, **how).state
        parted = federate(shared, model, augment=AllOutside(), **how).state
        for name, value in whole.tables.items():
            torch.testing.assert_close(parted.tables[name], value, rtol=0, atol=1e-9)


@each_model
def test_what_has_joined_stays_for_ranking_resuming_and_loading(model: Backbone, split: Split, tmp_path: Path) -> None:
    how = HOW | {"augment": RandomOutside(0.4), "rounds": 3}
    whole = federate(split, model, **how)
    federate(split, model, checkpoint=tmp_path / "c", **how | {"rounds": 2})
    resumed = federate(split, model, checkpoint=tmp_path / "c", resume=True, **how)
    for name, value in whole.state.tensors().items():
        assert torch.equal(resumed.state.tensors()[name], value), name
    assert whole.state.joined["edges"].double().mean() == pytest.approx(0.4, abs=0.01)
    again = load_result(whole.save(tmp_path / "s"))
    assert again.per_user().equals(whole.per_user())
    assert again.recommend("user-3", 5).equals(whole.recommend("user-3", 5))
    if model.clients_are_stores or isinstance(model, FedPerGNN):  # the others' scores do not depend on a graph
        whole.state.joined["edges"][:] = False
        assert not whole.per_user().equals(again.per_user())


def test_nothing_of_the_log_or_of_guests_is_sent(split: Split) -> None:
    plain, augmented = (federate(split, NGCF, augment=augment, **HOW) for augment in (None, AllOutside()))
    assert augmented.ledger.equals(plain.ledger)


def test_steps_follow_the_graph_and_weights_the_stores_own_interactions(split: Split) -> None:
    steps: dict[int, int] = {}
    sizes: dict[int, float] = {}

    class Counted(AllOutside):
        def client(self, work, message):
            super().client(work, message)
            joined = work.outside.draw(0)

            def draw(step: int) -> Tensor:
                steps[work.store] = step + 1
                return joined

            work.outside = replace(work.outside, draw=draw)
            return {}

    class Watch(Place):
        def client(self, work, message):
            sizes[work.store] = float(work.size)
            return {}

    model, local = FedNGCF(6, layers=(6,), max_steps=99), replace(ADAM, batch=16)
    federate(split, model, augment=Counted(), protect=Watch(), **HOW | {"local": local, "rounds": 1})
    assert split.global_log is not None
    own, outside = split.client_sizes.tolist(), len(split.global_log.items)
    assert steps == {store: -(-(size + outside) // 16) for store, size in enumerate(own)}
    assert sizes == dict(enumerate(map(float, own)))


SELECTORS = {
    "random": RandomSelection(0.4, over="positives"),
    "entropy": Entropy(0.4, over="positives"),
    "hard": HardestNegativeMargin(0.4, over="positives"),
    "fale": FALE(0.4, over="positives"),
    "prototypes": PrototypeSelection(0.4, over="positives", reading="intent", prototypes=Fake(40, 8), update_every=1),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_a_selector_chooses_inside_stores_as_it_does_among_users(name: str) -> None:
    """One user a store, a full batch: the same samples are chosen and the same steps taken as by clients."""
    small = small_split()
    local = LocalTraining(batch=1000, lr=0.05, lr_items=0.3)
    how = {"local": local, "rounds": 2, "device": "cpu", "dtype": torch.float64, "select": SELECTORS[name]}
    for model in (FedMF(8), FedAvg(8), FedNCF(8, hidden=(6,), gmf=0, std=0.3)):
        users = federate(small, model, **how)
        stores = federate(small.with_stores(Stores(torch.arange(13), 13)), model, **how)
        assert torch.equal(stores.state.memory["select"]["used"], users.state.memory["select"]["used"])
        for table, value in users.state.tables.items():
            torch.testing.assert_close(stores.state.tables[table], value, rtol=0, atol=1e-10)
        assert set(stores.ledger["tensor"]) == set(users.ledger["tensor"])


def test_all_three_places_at_once() -> None:
    """A fusion's items, under a selection of samples, on a store's own and outside interactions."""
    data = small_split(m=16, longest=14)
    shared = share_edges(data.with_stores(at_random(16, 3)), share=0.3)
    result = federate(
        shared, FedMF(8), items=fusion(), augment=RandomOutside(0.5), device="cpu", rounds=2,
        select=PrototypeSelection(0.5, over="positives", reading="intent", prototypes=Fake(40, 8)),
        local=replace(ADAM, batch=16),
    )  # fmt: skip
    assert {"items.map.weight", "select/prototypes", "words (once)"} <= set(result.ledger["tensor"])
    assert result.history["coverage"].iloc[-1] > 0 and result.state.joined["edges"].any()


def test_a_random_share_is_fixed_and_differs_between_stores(split: Split) -> None:
    one, two = (federate(split, FedMF(6), augment=RandomOutside(0.3), **HOW | {"rounds": r}).state for r in (1, 3))
    assert torch.equal(one.joined["edges"], two.joined["edges"])
    assert not torch.equal(one.joined["edges"][0], one.joined["edges"][1])
    edges = len(split.global_log.items)
    number = rng.uniform(rng.key(0, "outside", 0), torch.arange(edges))
    assert one.joined["edges"][0].nonzero().squeeze(1).tolist() == sorted(
        number.argsort()[: round(0.3 * edges)].tolist()
    )


def test_what_makes_no_sense_gets_a_sentence(split: Split) -> None:
    with pytest.raises(InputError, match="the clients here are users"):
        federate(small_split(), FedMF(4), augment=AllOutside(), rounds=1)
    with pytest.raises(InputError, match="this split has none"):
        federate(replace(split, global_log=None), FedMF(4), augment=AllOutside(), rounds=1)
    with pytest.raises(InputError, match=r"a share of the global log in \(0, 1\]"):
        federate(split, FedMF(4), augment=RandomOutside(0.0), rounds=1)
    with pytest.raises(InputError, match="FedNGCF has none: a store trains on a graph"):
        federate(split, NGCF, select=RandomSelection(0.5, over="positives"), rounds=1)
    with pytest.raises(InputError, match="FedSelect trains a model for each user"):
        federate(split, FedMF(4), select=FedSelect(0.5, over="positives"), rounds=1)
    guests = 4 * 40 * 6 * 4
    base = dict(HOW, rounds=1, augment=AllOutside())
    with pytest.raises(InputError, match="private state would take"):
        federate(split, FedMF(6), max_memory=40 * 6 * 4 + guests - 1, **base)
    federate(split, FedMF(6), max_memory=40 * 6 * 4 + guests, **base)
