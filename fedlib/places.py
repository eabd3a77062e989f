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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from fedlib.data.interactions import Split

if TYPE_CHECKING:
    from fedlib.aggregate import Sums
    from fedlib.backbones.base import Backbone
    from fedlib.received import Received
    from fedlib.state import State

EMPTY = torch.empty(0)


@dataclass
class Work:
    """What K clients have before them while a round passes through the places.

    clients (K,); positives (K, P), the first ``count[k]`` real, which are trained on and which a selector makes fewer;
    ``score(items)``: the received model's logits for items (K, C), without dropout, and after local training the
    trained model's. ``model`` shows more of what was received (:class:`~fedlib.received.Received`).

    owned (K, Q), the first ``owned_count[k]`` real, are all the training items of the clients, whatever is selected.
    positions (K, Q) say where they stand in the training log, which is how a place finds its entries in ``memory``:
    tensors (nnz, ...) with one for each training interaction, or (m, ...) with one for each client. The simulation
    hands over everybody's; a client reads and writes, in place, no entries but its own.

    After local training ``update`` holds what each client is about to send, ``{"item": (K, R, d),
    "mlp.linear0.weight": (K, ...)}``, differences to what it received. Its rows of an item table are those of items
    ``ids`` (K, R) where ``real`` (K, R); ``size`` (K,) is its number of samples, ``loss`` (K,) its mean loss.
    ``tables`` names the parts of the update that are item rows, ``n_items`` is n. ``flipped`` are those of the clients
    that train with likes and dislikes exchanged (:class:`~fedlib.faults.Faults`).
    """

    round: int
    seed: int
    clients: Tensor
    positives: Tensor
    count: Tensor
    score: Callable[[Tensor], Tensor]
    update: dict[str, Tensor] = field(default_factory=dict)
    ids: Tensor = EMPTY
    real: Tensor = EMPTY
    size: Tensor = EMPTY
    loss: Tensor = EMPTY
    tables: tuple[str, ...] = ()
    n_items: int = 0
    flipped: Tensor = EMPTY
    model: Received | None = None
    owned: Tensor = EMPTY
    owned_count: Tensor = EMPTY
    positions: Tensor = EMPTY
    memory: dict[str, Tensor] = field(default_factory=dict)

    def score_vectors(self, vectors: Tensor) -> Tensor:
        """The received model's logits (K, J) for J vectors (J, d) in the place of item vectors."""
        return self.received.score_vectors(vectors)

    @property
    def received(self) -> Received:
        """``model``, which is there in every run."""
        assert self.model is not None
        return self.model

    def reorder(self, order: Tensor) -> None:
        """Put the K clients into the ``order`` (K,)."""
        for name in ("clients", "positives", "count", "owned", "owned_count", "positions"):
            setattr(self, name, getattr(self, name)[order])
        self.model = self.received.of(self.clients)


class Upload(Protocol):
    """The part of a :class:`Work`, or of a store's, that is about to be sent."""

    round: int
    seed: int
    clients: Tensor
    update: dict[str, Tensor]
    ids: Tensor
    real: Tensor
    size: Tensor
    loss: Tensor
    tables: tuple[str, ...]
    n_items: int


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
