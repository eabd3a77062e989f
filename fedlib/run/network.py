"""What lies between the server and its clients: who answers, what they receive, and what arrives of what they send."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from fedlib.engine.clients import Clients
from fedlib.engine.state import State
from fedlib.protect.mechanisms import update_norms
from fedlib.protect.robust import refuse
from fedlib.run.faults import Faults, spoiled
from fedlib.shapes import Upload


class Network:
    """A network on which nothing goes wrong, and a server that takes what it is sent."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.received = 0  # clients of this round that got the model, whatever became of them
        self.informed = 0  # those of them that were sent the items' fixed features, which every client gets once

    def answering(self, chosen: Tensor, t: int) -> Tensor:
        """Those of the ``chosen`` clients that answer in round t, which begins."""
        self.received = self.informed = 0
        return chosen

    def reach(self, state: State, group: Tensor) -> None:
        """Note that a group of clients got the model."""
        self.received += len(group)
        for known in state.informed.values():
            self.informed += int((~known[group]).sum())
            known[group] = True

    def down(self, clients: Clients, state: State, groups: Iterator[Tensor], t: int) -> Iterator[Any]:
        """The work of each group of clients that finish their training, with the state they were given."""
        for group in groups:
            self.reach(state, group)
            if len(group):
                yield clients.receive(state, group, t)

    def up(self, upload: Upload, state: State) -> Iterator[Upload]:
        """What reaches the server of an ``upload``."""
        yield upload

    def close(self, state: State) -> dict[str, Any]:
        """What the history says of the round, before the server has learnt from it."""
        return {}

    def enough(self, clients: int) -> bool:
        """Whether the server learns from a round in which so many ``clients`` have sent something."""
        return True


@dataclass
class RoundLog:
    """What went wrong in a round: clients by kind, and the server's reasons for what it refused."""

    before: int = 0
    during: int = 0
    after: int = 0
    late: int = 0
    reasons: list[str] = field(default_factory=list)


class Unreliable(Network):
    """A network with ``faults``, and a server that checks what it is sent."""

    def __init__(self, seed: int, faults: Faults) -> None:
        super().__init__(seed)
        self.faults, self.log = faults, RoundLog()

    def answering(self, chosen: Tensor, t: int) -> Tensor:
        """All but those that fail before anything."""
        self.log = RoundLog()
        silent = self.faults.drawn("before", self.seed, t, chosen)
        self.log.before = int(silent.sum())
        return super().answering(chosen[~silent], t)

    def down(self, clients: Clients, state: State, groups: Iterator[Tensor], t: int) -> Iterator[Any]:
        """The newest state goes to all but the stale clients, who have that of some rounds ago."""
        for group in groups:
            failing = self.faults.drawn("during", self.seed, t, group)
            self.reach(state, group)
            self.log.during += int(failing.sum())
            group = group[~failing]
            behind = self.faults.drawn("stale", self.seed, t, group) & (t >= self.faults.age)
            if not bool(behind.all()):
                yield self._work(clients, state, group[~behind], t)
            if bool(behind.any()):
                yield self._work(clients, self._remembered(state), group[behind], t)

    def _work(self, clients: Clients, given: State, group: Tensor, t: int) -> Any:
        """A group's work; those who lie about what they like train with the labels exchanged."""
        work = clients.receive(given, group, t)
        lie = self.faults.attack == "label-flip"
        work.flipped = group[self.faults.liars(self.seed, group)] if lie else group[:0]
        return work

    def up(self, upload: Upload, state: State) -> Iterator[Upload]:
        """What reaches the server in time and is not refused, as the liars have made it."""
        gone = self.faults.drawn("after", self.seed, upload.round, upload.clients)
        late = ~gone & self.faults.too_late(upload, self.seed)
        self.log.after += int(gone.sum())
        self.log.late += int(late.sum())
        only(upload, ~(gone | late))
        if len(upload.clients):
            self.faults.lie(upload, state.tables, self.seed)
            only(upload, self._accepted(upload))
        if len(upload.clients):
            yield upload

    def close(self, state: State) -> dict[str, Any]:
        """Clients lost, late and refused, and the reasons for the last."""
        if self.faults.stale:
            state.places["faults"] = self._remember(state)
        lost = {f"lost {when}": getattr(self.log, when) for when in ("before", "during", "after")}
        why = {"refused": len(self.log.reasons), "reasons": " ".join(self.log.reasons)}
        return lost | {"late": self.log.late} | why

    def enough(self, clients: int) -> bool:
        """At least as many as the faults ask for."""
        return clients >= self.faults.least

    def _accepted(self, upload: Upload) -> Tensor:
        """Which uploads (K,) the server accepts; its reasons against the others go into the log."""
        shapes = {name: tuple(value.shape[1:]) for name, value in upload.update.items()}
        broken = self.faults.drawn("broken", self.seed, upload.round, upload.clients)
        norms = update_norms(upload.update, dict.fromkeys(upload.tables, upload.real))
        bound = math.inf if self.faults.norm is None else self.faults.norm
        suspect = broken | ~norms.isfinite() | (norms > bound)
        accepted = ~suspect
        for k in suspect.nonzero().squeeze(1).tolist():
            sent = {name: value[k] for name, value in upload.update.items()}
            if broken[k]:
                sent = spoiled(sent, int(upload.clients[k]) + upload.round)
            reason = refuse(sent, shapes, self.faults.norm)
            if reason is None:
                accepted[k] = True
            else:
                self.log.reasons.append(f"Client {int(upload.clients[k])}: {reason}")
        return accepted

    def _remember(self, state: State) -> dict[str, Tensor]:
        """The models of the last ``age`` rounds, newest first, after another one."""
        now = {f"1/{name}": value.clone() for name, value in {**state.tables, **state.shared}.items()}
        for name, value in state.places["faults"].items():
            old, _, tensor = name.partition("/")
            if int(old) < self.faults.age:
                now[f"{int(old) + 1}/{tensor}"] = value
        return now

    def _remembered(self, state: State) -> State:
        """The state with the server's model of ``age`` rounds ago."""
        kept, age = state.places["faults"], self.faults.age
        tables = {name: kept[f"{age}/{name}"] for name in state.tables}
        return replace(state, tables=tables, shared={name: kept[f"{age}/{name}"] for name in state.shared})


def only(upload: Upload, mask: Tensor) -> None:
    """Leave the clients marked in ``mask`` (K,) in the upload."""
    if bool(mask.all()):
        return
    for name in ("clients", "ids", "real", "size", "loss"):
        setattr(upload, name, getattr(upload, name)[mask])
    upload.update = {name: value[mask] for name, value in upload.update.items()}
