"""What a run asks of the machine: how many clients at once, and how much memory."""

from __future__ import annotations

import pytest
import torch

from fedlib import FedAvg, FedMF, FedNCF, InputError, LocalTraining, RobustAggregation, SecureAggregation, federate
from fedlib.engine.memory import copy_bytes, upload_bytes
from fedlib.run.machine import default_chunk
from tests.small import small_split

CPU = torch.device("cpu")


def test_clients_with_large_copies_train_fewer_at_once() -> None:
    assert [default_chunk(CPU, size) for size in (0, 1 << 10, 1 << 19, 1 << 20, 1 << 30)] == [32, 32, 32, 16, 1]


def test_a_copy_is_all_parameters_and_the_rows_of_an_average_client() -> None:
    """FedNCF(4, hidden=(6,), gmf=0): 4 for the user, (8 + 1) 6 for the layer, 7 for the head, 4 a row."""
    model, room = FedNCF(4, hidden=(6,), gmf=0), torch.tensor([10, 20])
    assert copy_bytes(model, room, 4) == 4 * (4 + 54 + 7 + 15 * 4)
    assert upload_bytes(model, 40, 4) == 4 * (40 * 4 + 54 + 7)
    assert upload_bytes(model.alone(), 40, 4) == 0


@pytest.mark.parametrize("protect", [RobustAggregation(), SecureAggregation()], ids=["robust", "secure"])
def test_uploads_that_are_held_apart_count_as_memory(protect: object) -> None:
    """Thirteen clients, twice their whole upload, beside their vectors."""
    how = {"protect": protect, "rounds": 1, "device": "cpu", "local": LocalTraining(batch=8)}
    needed = 13 * 4 * 4 + 2 * 13 * 40 * 4 * 4
    with pytest.raises(InputError, match="holds every client's upload apart"):
        federate(small_split(), FedMF(4), max_memory=needed - 1, **how)
    federate(small_split(), FedMF(4), max_memory=needed, **how)


def test_the_chunk_of_a_run_follows_from_what_a_client_works_on() -> None:
    split = small_split()
    assert federate(split, FedMF(4), rounds=1, device="cpu").chunk == 32
    wide = 1 << 15  # 128 KiB a row, and some twenty rows a client
    assert federate(split, FedAvg(wide), rounds=1, device="cpu", evaluate_every=1).chunk < 16
