"""What clients keep between rounds."""

from __future__ import annotations

import pytest
import torch

from fedlib import LocalTraining, PFedRec, federate
from fedlib.engine.kept import KeptRows
from tests.small import small_split


def test_a_server_table_is_held_only_while_a_client_refers_to_it() -> None:
    """With three of 13 clients a round, old tables are forgotten as their last clients take part again."""
    result = federate(
        small_split(), PFedRec(4), local=LocalTraining(batch=8), rounds=60, clients_per_round=3, device="cpu"
    )
    kept = result.state.kept["item"]
    in_use = set(kept.version.tolist())
    assert min(in_use) > 0  # by now everybody has taken part
    kept.open_version(60, result.state.tables["item"])  # the next round begins
    assert set(kept.versions) == in_use | {60}


def test_more_rows_than_there_is_room_for_are_refused() -> None:
    """A place that hands a client further interactions must not push its rows into the next client's."""
    kept = KeptRows(torch.zeros(6, 2), torch.tensor([2, 3]))
    ids, real = torch.tensor([[0, 1, 2]]), torch.tensor([[True, True, True]])
    with pytest.raises(ValueError, match="client 0 has 3 rows, room for 2"):
        kept.write(torch.tensor([0]), ids, real, torch.ones(1, 3, 2), version=0)
    kept.write(torch.tensor([1]), ids, real, torch.ones(1, 3, 2), version=0)
    assert kept.count.tolist() == [0, 3]
    assert kept.read(torch.tensor([0, 1]), torch.arange(6).expand(2, -1)).sum(dim=(1, 2)).tolist() == [0, 6]


def test_a_client_that_never_took_part_recommends_with_the_initial_table() -> None:
    one = federate(small_split(), PFedRec(4), local=LocalTraining(batch=8), rounds=1, clients_per_round=3, device="cpu")
    kept = one.state.kept["item"]
    idle = (kept.count == 0).nonzero()[:, 0]
    assert len(idle) == 10
    everything = torch.arange(40).expand(len(idle), -1)
    assert torch.equal(kept.read(idle, everything), kept.versions[0][everything])
    assert not torch.equal(one.state.tables["item"], kept.versions[0])
