"""The loop knows no method by name: a place that only counts, and a backbone with a private and a shared table."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from fedlib import FedMF, ItemTable, LocalTraining, Place, federate
from fedlib.backbones import Backbone, Table
from fedlib.data.interactions import Split
from fedlib.engine.state import State
from fedlib.server.sums import Sums
from fedlib.shapes import Rows, Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)


class Counting(ItemTable):
    """Counts rounds and clients on the server, sends a counter down and each client's number of positives up."""

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        return {"rounds": torch.zeros((), dtype=torch.int64), "positives": torch.zeros((), dtype=torch.int64)}

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        return {"so far": own["rounds"]}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        assert int(message["so far"]) == work.round
        assert work.score(work.positives).shape == work.positives.shape
        return {"count": work.count}

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        return {"rounds": own["rounds"] + 1, "positives": own["positives"] + uploads["count"]}


class TwoTables(Backbone):
    """q_i + d_i scored by a private vector, where only q is shared: the shape of FedRAP."""

    owners: ClassVar = {"w": "user"}

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.dim = dim
        self.tables = {"shared": Table(dim, 0.3), "mine": Table(dim, 0.3, owner="client")}
        self.w = nn.Linear(dim, 1, bias=False, device="meta")

    def forward(self, rows: Rows) -> Tensor:
        return self.w(rows["shared"] + rows["mine"]).squeeze(1)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("where", ["augment", "select", "items", "protect"])
def test_a_counting_place_works_in_every_position(where: str, chunk: int) -> None:
    split = small_split()
    result = federate(split, FedMF(4), local=LOCAL, rounds=3, chunk=chunk, device="cpu", **{where: Counting()})
    own = result.state.places[where]
    assert int(own["rounds"]) == 3
    assert int(own["positives"]) == 3 * len(split.train.items)
    sent = result.ledger[result.ledger["tensor"].str.startswith(where)]
    assert set(zip(sent["direction"], sent["tensor"], strict=True)) == {
        ("down", f"{where}/so far"),
        ("up", f"{where}/count"),
    }
    assert (sent["bytes_per_client"] == 8).all() and (sent["clients"] == 13).all()
    plain = federate(split, FedMF(4), local=LOCAL, rounds=3, chunk=chunk, device="cpu")
    assert torch.equal(plain.state.tables["item"], result.state.tables["item"])  # counting changes nothing


def test_selection_decides_what_is_trained_on() -> None:
    class FirstOnly(Place):
        def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
            work.positives, work.count = work.positives[:, :1], work.count.clamp(max=1)
            return {}

    result = federate(small_split(), FedMF(4), select=FirstOnly(), local=LOCAL, rounds=1, device="cpu")
    start = ItemTable().tables(FedMF(4), 40, 0)["item"].float()
    moved = (result.state.tables["item"] != start).any(1)
    assert moved.sum() <= 13 * 5  # one positive and four negatives for each of 13 clients


def test_protection_acts_on_what_is_about_to_leave() -> None:
    """Halving every update halves the server's step, and touches nothing private."""

    class Halve(Place):
        def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
            assert work.update is not None and set(work.update) == {"item"}
            work.update = {name: delta / 2 for name, delta in work.update.items()}
            return {}

    still = federate(small_split(), FedMF(4), local=LocalTraining(batch=8, lr=1e-30), rounds=1, device="cpu").state
    whole = federate(small_split(), FedMF(4), local=LOCAL, rounds=1, device="cpu").state
    half = federate(small_split(), FedMF(4), local=LOCAL, protect=Halve(), rounds=1, device="cpu").state
    start = still.tables["item"]
    torch.testing.assert_close(half.tables["item"] - start, (whole.tables["item"] - start) / 2, rtol=0, atol=1e-7)
    assert torch.equal(half.private["user"], whole.private["user"])


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_private_table_stays_and_persists(share: float) -> None:
    """Both executors agree; the private table is never in the ledger; clients that sat out keep theirs untouched."""
    split = small_split()
    arguments = {"local": LOCAL, "rounds": 3, "clients_per_round": share, "device": "cpu", "dtype": torch.float64}
    loop, fast = (federate(split, TwoTables(), chunk=chunk, **arguments) for chunk in (1, 4))
    for name, value in fast.state.tensors().items():
        torch.testing.assert_close(value, loop.state.tensors()[name], rtol=0, atol=1e-12)
    assert set(fast.ledger["tensor"]) == {"shared"}
    one = federate(split, TwoTables(), local=LOCAL, rounds=1, clients_per_round=share, device="cpu")
    mine = one.state.own_tables["mine"]
    start = ItemTable().tables(TwoTables(), split.data.n_items, 0)["mine"].float()
    changed = (mine != start).any(dim=2).any(dim=1)
    assert int(changed.sum()) == one.history["clients"][0] == max(1, round(share * 13))


def test_alone_shares_nothing() -> None:
    result = federate(small_split(), FedMF(4).alone(), local=LOCAL, rounds=2, device="cpu")
    assert not result.state.tables and not result.state.shared and result.ledger.empty
    assert result.state.own_tables["item"].shape == (13, 40, 4)
