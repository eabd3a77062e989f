"""What reaches the server's side of secure aggregation, for every backbone and whatever comes before training.

The one object that plays the server, :class:`fedlib.protect.roles.Server`, is replaced by one that writes down
all it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
import torch

from fedlib import InputError, SecureAggregation, federate
from fedlib.data.interactions import Split
from fedlib.protect import secagg, secure
from fedlib.protect.messages import ROUNDS, Keys, Masked, Message, Revealed, SealedShares, Signed
from fedlib.protect.roles import Server
from tests.backbones.test_contract import BACKBONES, checkerboard
from tests.small import BEFORE_TRAINING, refuses


class Listening(Server):
    """A server that keeps every message."""

    got: list[Message]

    def roster(self, advertised: Iterable[Keys]) -> tuple[Keys, ...]:
        self.got += (messages := [*advertised])
        return super().roster(messages)

    def route(self, sealed: Iterable[SealedShares]) -> dict[int, list[SealedShares]]:
        self.got += (messages := [*sealed])
        return super().route(messages)

    def add(self, masked: Masked) -> None:
        self.got.append(masked)
        super().add(masked)

    def agreement(self, signed: Iterable[Signed]) -> tuple[Signed, ...]:
        self.got += (messages := [*signed])
        return super().agreement(messages)

    def total(self, revealed: Iterable[Revealed]) -> np.ndarray:
        self.got += (messages := [*revealed])
        return super().total(messages)


@pytest.fixture(scope="module")
def board() -> Split:
    return checkerboard()


@pytest.mark.parametrize(("kind", "before"), [*product(BACKBONES, BEFORE_TRAINING)])
def test_the_server_gets_keys_boxes_and_vectors_that_say_nothing_of_their_clients(
    kind: str, before: str, board: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    Listening.got, packed = [], []
    pack = secure.pack

    def watched(codes: dict[str, torch.Tensor], **how: int) -> np.ndarray:
        packed.append(({name: tuple(code.shape[1:]) for name, code in codes.items()}, pack(codes, **how)))
        return packed[-1][1]

    monkeypatch.setattr(secagg, "Server", Listening)
    monkeypatch.setattr(secure, "pack", watched)
    backbone, local = BACKBONES[kind]
    places = BEFORE_TRAINING[before]
    how = {"local": local, "rounds": 1, "device": "cpu", "clients_per_round": 0.15} | places
    if refuses(backbone, places):
        with pytest.raises(InputError):
            federate(board, backbone, **how)
        return
    run = federate(board, backbone, protect=SecureAggregation(clip=64.0), **how)

    # Nothing private is in the vectors, and what is in them has the same shape for everybody: no list of rows.
    shared = {name: tuple(value.shape) for name, value in {**run.state.tables, **run.state.shared}.items()}
    [(shapes, plain)] = packed
    assert {name: shape for name, shape in shapes.items() if name.startswith("value/")} == {
        f"value/{name}": shape for name, shape in shared.items()
    }
    others = {name.partition("/")[2] for name in shapes if not name.startswith("value/")}
    assert {name for name in others if name not in shared} <= {n for n in others if n.partition("/")[0] in places}
    assert not {*run.state.private, *run.state.own_tables} & {name.rpartition("/")[2] for name in shapes}

    # The server does not get these vectors but masked ones, in which not even a zero can be told.
    got = Listening.got
    vectors = [message.vector for message in got if isinstance(message, Masked)]
    assert len(vectors) == len(plain) == int(run.history["clients"].iloc[0])
    assert all(vector.shape == vectors[0].shape and vector.dtype == vectors[0].dtype for vector in vectors)
    for masked, unmasked in zip(vectors, plain, strict=True):
        assert (masked == unmasked).mean() < 0.01
        assert (masked == 0).mean() < 0.01 or (unmasked != 0).all()

    # And the ledger lists every byte of it.
    up = run.ledger[(run.ledger["direction"] == "up") & ~run.ledger["tensor"].str.startswith("third party")]
    for kind_of, name in zip((Keys, SealedShares, Masked, Signed, Revealed), ROUNDS, strict=True):
        listed = up[up["tensor"] == f"secure aggregation: {name}"]["bytes"].sum()
        assert listed == sum(message.size for message in got if isinstance(message, kind_of))
    assert len(up) == len(ROUNDS)
    assert all(isinstance(message, Keys | SealedShares | Masked | Signed | Revealed) for message in got)
