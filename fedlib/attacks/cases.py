"""The attacks of the table, each tried on all that a party has seen of one client, where it suits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedlib.attacks.eavesdrop import Seen
from fedlib.attacks.models import best, from_counts, from_head
from fedlib.attacks.updates import from_fcf, intersect, ratings_from_two_rounds, rows_by_sign, touched_rows
from fedlib.backbones.fcf import FCFALS
from fedlib.backbones.fedmf import FedMF
from fedlib.data.log import UserItems
from fedlib.engine.training import LocalTraining
from fedlib.run.result import Result

HEAD = "score.weight"


@dataclass(frozen=True)
class Known:
    """What a party knows beside what it sees: the method with its settings, and which ``table`` it looks at.

    ``prototype`` (n,) of each item, where counts by prototype are sent.
    """

    result: Result
    table: str
    prototype: Tensor | None


@dataclass(frozen=True)
class Case:
    """One client, of which something was ``seen``.

    ``k``: how many items it has, for attacks that are told. ``popularity`` (n,): how often the others have each item.
    """

    known: Known
    seen: list[Seen]
    k: int
    popularity: Tensor

    @cached_property
    def changes(self) -> list[Tensor]:
        """How the table has changed, (n, d) a round."""
        return [one.change(self.known.table) for one in self.seen]

    @cached_property
    def received(self) -> list[Tensor]:
        """The table the client had been sent, (n, d) a round."""
        return [one.received[self.known.table] for one in self.seen]


Guesses = Iterator[tuple[str, set[int]]]  # an attack's name and the items it finds
Attack = Callable[[Case], Guesses]  # guesses nothing of a model that it does not suit


def by_rows(case: Case) -> Guesses:
    """Which rows moved, and to which side: of any model."""
    yield "touched rows", touched_rows(case.changes[-1])
    yield "touched in every round", intersect(case.changes)
    yield "sides of rows", rows_by_sign(case.changes[-1])
    yield "sides over all rounds, k told", rows_by_sign(torch.stack(case.changes).sum(0), case.k)


def by_residual(case: Case) -> Guesses:
    """The residual of the closed form: of FCF."""
    backbone = case.known.result.backbone
    if not isinstance(backbone, FCFALS):
        return
    found = [from_fcf(change, q, backbone.l2) for change, q in zip(case.changes, case.received, strict=True)]
    yield "FCF's residual", found[-1]
    yield "FCF's residual in every round", set.intersection(*found)
    yield "FCF's residual, k told", from_fcf(case.changes[-1], case.received[-1], backbone.l2, case.k)


def by_two_rounds(case: Case) -> Guesses:
    """The equations of two rounds: of FedMF under SGD."""
    local = LocalTraining(**case.known.result.config["local"])
    if not isinstance(case.known.result.backbone, FedMF) or local.optimizer != "sgd" or len(case.seen) < 2:
        return
    assert local.lr_items is not None  # the configuration of a run leaves nothing open
    rates = {"lr": local.lr, "lr_items": local.lr_items}
    stolen = ratings_from_two_rounds(case.changes[-2], case.changes[-1], case.received[-2], **rates)
    yield "ratings from two rounds", set((stolen.ratings > 0.5).nonzero()[:, 0].tolist())


def by_head(case: Case) -> Guesses:
    """The change of a linear score function: of a model that sends one."""
    if HEAD in case.seen[-1].parameters:
        head = case.seen[-1].parameters[HEAD][0]
        yield "change of the head, k told", best(from_head(head, case.received[-1]), case.k)


def by_counts(case: Case) -> Guesses:
    """Counts by prototype: where they are sent."""
    prototype = case.known.prototype
    if prototype is not None:
        counts = mean_counts(case.known.result.data.train, case.seen[-1].clients, prototype)
        yield "counts", best(from_counts(counts, prototype, case.popularity + 1), int(counts.sum() + 0.5))


ATTACKS: tuple[Attack, ...] = (by_rows, by_residual, by_two_rounds, by_head, by_counts)


def mean_counts(log: UserItems, clients: tuple[int, ...], prototype: Tensor) -> Tensor:
    """The counts by prototype, (J,), of one client, or the mean of those whose sum the server gets."""
    items = torch.cat([log[client] for client in clients])
    return torch.bincount(prototype[items], minlength=int(prototype.max()) + 1) / len(clients)
