"""The four places of the loop that a method may change, and how the loop calls them.

A place is any object with these functions. ``federate`` calls them and knows nothing else about it:

=============  =====================================================================================================
``init``       its own state before the first round, a dict of tensors
``broadcast``  what the server adds to the message for every client of the round
``client``     what K clients do with it: change the :class:`~fedlib.shapes.Work` before them, return uploads (K, ...)
``server``     what becomes of the summed uploads: its state after the round
=============  =====================================================================================================

and six more for those that need them: ``plan`` (what it has to know of the run beforehand), ``memory`` (what clients
keep for it, each for itself), ``after`` (what K clients do when they have trained), ``collect`` (take a round's uploads
one client at a time, where a running sum will not do), ``uploads_held`` (how much memory that takes) and ``report``
(what the round's row of the history says about the place).

``augment`` (which outside interactions join a client), ``select`` (which samples it trains on) and ``items`` (what an
item looks like) act before local training, ``protect`` (what may leave the device) after it. State and memory are part
of the run's ``State``, so checkpoints cover them, and everything broadcast or uploaded gets a row in the ledger. What
clients keep does not, because it goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.engine.state import State
from fedlib.server.sums import Sums
from fedlib.shapes import Work

PLACES = ("augment", "select", "items", "protect")


@dataclass(frozen=True)
class Outside:
    """Interactions that a client may look at and does not own: an ``augment`` place leaves them in its work.

    users (G,) are the users behind the rows of ``edges``. ``draw(step)`` says which of the E edges join in a local
    step, (E,) bool; what ignores the step returns the same tensor each time.
    """

    users: Tensor
    edges: UserItems
    draw: Callable[[int], Tensor]


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, for places that have to know it beforehand.

    ``able`` clients have samples; ``cohort`` of them take part in a round, or are expected to; ``sampling`` is "all",
    "fixed" (that many, without replacement) or "poisson" (each with probability cohort / able). ``stores``: whether the
    clients are stores. ``backbone`` is the model that is trained, after its items.
    """

    backbone: Backbone
    able: int
    cohort: float
    sampling: str
    rounds: int
    stores: bool = False


class Place:
    """A place that changes nothing; methods override what they need."""

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """The place's own state before the first round; a resumed run does not ask for it again."""
        return {}

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """What joins its own state because of what the run is going to do; InputError where it cannot take part."""
        return {}

    def memory(self, split: Split) -> dict[str, Tensor]:
        """What clients keep for this place before the first round: (nnz, ...), one entry for each training interaction,
        or (m, ...), one for each client. It never leaves them."""
        return {}

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        """What the server adds to the message for every client of this round, who are ``chosen`` (S,)."""
        return {}

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """What K clients do; returns named uploads (K, ...), which are summed over clients."""
        return {}

    def after(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        """What K clients do when they have trained, before their update is protected; returns uploads like `client`."""
        return {}

    def uploads_held(self, plan: Plan) -> float:
        """How many clients' whole uploads ``collect`` holds at once, for the run's bound on memory."""
        return 0.0

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """What takes the uploads of the round: the running ``sums``, or something that looks like them."""
        return sums

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """The place's state after the round, from the sums of its own ``uploads`` and of the clients' updates."""
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


Messages = dict[str, dict[str, Tensor]]


def call(
    step: str, names: Iterable[str], places: dict[str, Place], work: Any, messages: Messages, state: State
) -> list[Sent]:
    """Let K clients pass the places ``names``, which do their ``step``, "client" or "after"; what they want to send."""
    sent = []
    for name in names:
        if name in places:
            theirs = work.as_seen_by(name)
            theirs.memory = state.memory[name]
            uploads = getattr(places[name], step)(theirs, messages[name])
            sent += [Sent(f"{name}/{upload}", *work.as_sent(theirs, values)) for upload, values in uploads.items()]
    return sent


def add_uploads(sent: list[Sent], clients: Tensor, sums: Sums) -> None:
    """Add up what the ``clients`` (K,) sent, in their order; those whose upload was lost are no longer among them."""
    for one in sent:
        order = one.clients.argsort()
        at = order[torch.searchsorted(one.clients[order], clients)]
        sums.add_upload(one.name, one.values[at])


def call_server(name: str, places: dict[str, Place], sums: Sums, state: State) -> None:
    """Give the server's side of one place the round's sums."""
    if name in places:
        mine = {
            key.removeprefix(name + "/"): total for key, total in sums.uploads.items() if key.startswith(name + "/")
        }
        state.places[name] = places[name].server(state.places[name], mine, sums, state)
