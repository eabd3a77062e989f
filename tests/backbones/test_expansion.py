"""Graph expansion: the three roles by hand, and the loop's exchange against them."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from fedlib import LocalTraining, federate, rng
from fedlib.backbones.expansion import GraphClient, ThirdParty, token
from fedlib.backbones.fedpergnn import FedPerGNN
from fedlib.data.interactions import Split
from fedlib.engine.state import State, initial_state
from fedlib.errors import InputError
from fedlib.items import ItemTable
from tests.small import small_split

KEY = b"only clients have it"
LOCAL = LocalTraining(batch=8, lr=0.1)


def three_clients() -> list[GraphClient]:
    """Item a belongs to all three, b to two, and each has one of its own."""
    vectors = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, -4.0]])
    own = {"ann": ("a", "b", "x"), "bob": ("b", "a", "y"), "cy": ("z", "a")}
    return [GraphClient(name, items, KEY, vector) for (name, items), vector in zip(own.items(), vectors, strict=True)]


def state_of(split: Split, backbone: FedPerGNN) -> State:
    return initial_state(
        backbone, ItemTable().tables(backbone, split.data.n_items, 0), split.train, split.data.n_items, 4,
        seed=0, dtype=torch.float64, device=torch.device("cpu"),
    )  # fmt: skip


def test_a_token_is_hmac_sha256() -> None:
    """RFC 4231, test case 1."""
    assert token(b"\x0b" * 20, "Hi There") == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"


def test_three_clients_by_hand() -> None:
    clients, third_party = three_clients(), ThirdParty()
    for client in clients:
        third_party.receive(client.query())
    for client in clients:
        client.learn(third_party.answer(client.name))
    ann, bob, cy = ({i: (n.mean.tolist(), n.number) for i, n in client.neighbours.items()} for client in clients)
    assert ann == {"a": ([4.0, -1.0], 2), "b": ([3.0, 2.0], 1)}
    assert bob == {"a": ([3.0, -2.0], 2), "b": ([1.0, 0.0], 1)}
    assert cy == {"a": ([2.0, 1.0], 2)}


def test_the_third_party_never_sees_an_item_but_counts_its_owners() -> None:
    third_party = ThirdParty()
    for client in three_clients():
        third_party.receive(client.query())
    view = third_party.view()
    assert set(view["client"]) == {"ann", "bob", "cy"}
    assert view["token"].str.fullmatch("[0-9a-f]{64}").all()
    assert not {token(b"", item) for item in "abxyz"} & set(view["token"]), "a token must not be had without the key"
    assert sorted(view["token"].value_counts()) == [1, 1, 1, 2, 3]  # popularity shows, as the module says
    assert list(third_party.queries["ann"].tokens) == sorted(third_party.queries["ann"].tokens)


def test_a_later_query_takes_the_place_of_the_earlier_one() -> None:
    ann, bob, _ = three_clients()
    third_party = ThirdParty()
    for client in (ann, bob, GraphClient("ann", ann.items, KEY, torch.tensor([9.0, 9.0]))):
        third_party.receive(client.query())
    bob.learn(third_party.answer("bob"))
    assert bob.neighbours["a"].mean.tolist() == [9.0, 9.0] and bob.neighbours["a"].number == 1


def test_the_exchange_of_the_loop_is_what_the_roles_would_do() -> None:
    """Six rounds in which clients come and go and their vectors change: everybody holds its own last answer."""
    split, backbone, refresh = small_split(m=9, n=24), FedPerGNN(4, refresh=2), 2
    state, third_party = state_of(split, backbone), ThirdParty()
    assert backbone.exchange is not None
    own = [tuple(f"i{i}" for i in split.train[u].tolist()) for u in range(9)]
    clients = [GraphClient(f"u{u}", own[u], KEY, torch.zeros(4)) for u in range(9)]
    last = dict.fromkeys(range(9), -99)
    for t in range(6):
        state.round = t
        state.private["user"] = rng.normal(rng.key(t, "vectors"), torch.arange(9)[:, None], torch.arange(4))
        chosen = rng.permutation(9, rng.key(t, "chosen"))[:4].sort().values
        edges = split.train.users, split.train.items, state.n_items
        backbone.exchange.learn(state.third_party, state.held, state.private, chosen, *edges, t)
        due = [u for u in chosen.tolist() if t - last[u] >= refresh]
        for u in due:
            clients[u].embedding, last[u] = state.private["user"][u].clone(), t
            third_party.receive(clients[u].query())
        for u in due:
            clients[u].learn(third_party.answer(f"u{u}"))
        for edge, (u, i) in enumerate(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True)):
            learnt = clients[u].neighbours.get(f"i{i}")
            assert int(state.held["holders"][edge]) == (learnt.number if learnt else 0)
            expected = learnt.mean if learnt else torch.zeros(4, dtype=torch.float64)
            torch.testing.assert_close(state.held["neighbours"][edge], expected)
    assert (state.held["holders"] > 1).any() and (state.held["holders"] == 0).any()


def test_it_is_refreshed_every_few_rounds_only() -> None:
    """After rounds 1, 2 and 3 with refresh=2: asked in rounds 0, 0 and 2."""
    split = small_split()
    held = [federate(split, FedPerGNN(4, refresh=2), local=LOCAL, rounds=r, device="cpu").state.held for r in (1, 2, 3)]
    assert torch.equal(held[0]["neighbours"], held[1]["neighbours"])
    assert not torch.equal(held[1]["neighbours"], held[2]["neighbours"])


def test_the_ledger_says_what_goes_to_the_third_party() -> None:
    split = small_split()
    ledger = federate(split, FedPerGNN(4, refresh=2), local=LOCAL, rounds=2, device="cpu").ledger
    first = {(row.direction, row.tensor): row.bytes for row in ledger[ledger["round"] == 1].itertuples()}
    owners = pd.Series(split.train.items.tolist()).value_counts()
    edges, matched = len(split.train.items), int(owners[owners > 1].sum())
    assert first == {
        ("down", "item"): 13 * 40 * 4 * 4,
        ("up", "item"): 13 * 40 * 4 * 4,
        ("up", "number of samples"): 13 * 4,
        ("up", "third party/user embedding"): 13 * 4 * 4,
        ("up", "third party/tokens"): edges * 32,
        ("down", "third party/neighbours"): matched * 4 * 4,
        ("down", "third party/holders"): edges * 4,
    }
    mean = ledger.loc[ledger["tensor"] == "third party/tokens", "bytes_per_client"]
    assert mean.tolist() == [pytest.approx(edges * 32 / 13)]
    assert not ledger.loc[ledger["round"] == 2, "tensor"].str.startswith("third party").any()


def test_what_clients_hold_counts_as_memory() -> None:
    split = small_split()
    room = 13 * 4 * 4 + FedPerGNN(4).exchange.bytes_needed(13, len(split.train.items), 4)  # type: ignore[union-attr]
    federate(split, FedPerGNN(4), local=LOCAL, rounds=1, device="cpu", max_memory=room)
    with pytest.raises(InputError, match="private state"):
        federate(split, FedPerGNN(4), local=LOCAL, rounds=1, device="cpu", max_memory=room - 1)
