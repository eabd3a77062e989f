"""The four places of the loop that a method may change.

A place is any object with these functions. ``federate`` calls them and knows nothing else about it:

=============  =====================================================================================================
``init``       its own state before the first round, a dict of tensors
``broadcast``  what the server adds to the message for every client of the round
``client``     what K clients do with it: change the :class:`Work` before them, return named uploads (K, ...)
``server``     what becomes of the summed uploads: its state after the round
=============  =====================================================================================================

and five more for those that need them: ``plan`` (what it has to know of the run beforehand), ``memory`` (what clients
keep for it, each for itself), ``after`` (what K clients do when they have trained), ``collect`` (take a round's uploads
one client at a time, where a running sum will not do) and ``report`` (what the round's row of the history says about
the place).

``augment`` (which outside interactions join a client), ``select`` (which samples it trains on) and ``items`` (what an
item looks like) act before local training, ``protect`` (what may leave the device) after it. State and memory are part
of the run's ``State``, so checkpoints cover them, and everything broadcast or uploaded gets a row in the ledger. What
clients keep does not, because it goes nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib.data.interactions import Split
from fedlib.shapes import Work

if TYPE_CHECKING:
    from fedlib.backbones.base import Backbone
    from fedlib.engine.state import State
    from fedlib.server.sums import Sums


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, for places that have to know it beforehand.

    ``able`` clients have samples; ``cohort`` of them take part in a round, or are expected to; ``sampling`` is "all",
    "fixed" (that many, without replacement) or "poisson" (each with probability cohort / able).
    """

    backbone: Backbone
    able: int
    cohort: float
    sampling: str
    rounds: int


class Place:
    """A place that changes nothing; methods override what they need."""

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """The place's own state before the first round."""
        return {}

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """What joins its own state because of what the run is going to do; InputError where it cannot take part."""
        return {}

    def memory(self, split: Split) -> dict[str, Tensor]:
        """What clients keep for this place before the first round: (nnz, ...), one entry for each training interaction,
        or (m, ...), one for each client. It never leaves them."""
        return {}

    def broadcast(self, own: dict[str, Tensor], state: State) -> dict[str, Tensor]:
        """What the server adds to the message for every client of this round."""
        return {}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """What K clients do; returns named uploads (K, ...), which are summed over clients."""
        return {}

    def after(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """What K clients do when they have trained, before their update is protected; returns uploads like `client`."""
        return {}

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """What takes the uploads of the round: the running ``sums``, or something that looks like them."""
        return sums

    def server(self, own: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """The place's state after the round, from the sums of all uploads."""
        return own

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """What the round's row of the history says, by column.

        ``own`` is the place's state together with what the clients keep for it: a simulation may look at both.
        """
        return {}


@dataclass(frozen=True)
class Sent:
    """What K clients (K,) have ready to send for a place: ``values`` (K, ...) under ``name``."""

    name: str
    clients: Tensor
    values: Tensor


def call(
    name: str, places: dict[str, Place], work: Work, message: dict[str, dict], state: State, *, trained: bool = False
) -> list[Sent]:
    """Let K clients pass one place, before or after they have ``trained``; what they want to send for it."""
    if name not in places:
        return []
    work.memory = state.memory[name]
    step = places[name].after if trained else places[name].client
    uploads = step(work, message[name])
    return [Sent(f"{name}/{upload}", work.clients, values) for upload, values in uploads.items()]


def add_uploads(sent: list[Sent], work: Work, sums: Sums) -> None:
    """Add up what the clients of ``work`` sent, in their order; those whose upload was lost are no longer in it."""
    for one in sent:
        order = one.clients.argsort()
        at = order[torch.searchsorted(one.clients[order], work.clients)]
        sums.add_upload(one.name, one.values[at])


def call_server(name: str, places: dict[str, Place], sums: Sums, state: State) -> None:
    """Give the server's side of one place the round's sums."""
    if name in places:
        state.places[name] = places[name].server(state.places[name], sums, state)
