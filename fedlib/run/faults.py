"""What goes wrong with real clients, as a simulation: some fail, some are late, some send rubbish, some lie.

Who is affected is drawn anew in every round, but for the hostile clients, who are the same all along. With faults, even
with none of them switched on, the server checks every upload before it adds it up
(:func:`fedlib.protect.robust.refuse`); what it refuses, and why, is in the history. Faults surround the loop: they say
who answers and what arrives (:class:`~fedlib.run.network.Unreliable`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.shapes import Upload

ATTACKS = ("sign-flip", "scale", "promote", "label-flip")
SHARES = ("before", "during", "after", "broken", "stale", "hostile")


@dataclass(frozen=True, kw_only=True)
class Faults:
    r"""Shares of the clients that fail, and how.

    ``before``: never answer. ``during``: fail while they train, so that nothing is kept and nothing sent. ``after``:
    train, but their upload is lost.
    ``deadline``: uploads later than so many seconds are not waited for. A client takes ``seconds_per_sample`` times its
    samples, times a log-normal factor of its device, :math:`e^{s z}` with s ``spread``.
    ``broken``: send a number that is not finite, or a tensor of the wrong shape.
    ``stale``: train on the model of ``age`` rounds ago.
    ``hostile``: the same clients in every round, with one ``attack``: "sign-flip" sends the opposite of the update,
    times ``strength``; "scale" the update times ``strength``; "promote" moves the row of item ``target`` to
    ``strength`` times the mean of ten popular rows and sends nothing else; "label-flip" trains with likes and dislikes
    exchanged. Popular rows are known by the table alone: most items are seldom chosen and so pushed away from the
    users, and the ten rows furthest on the other side of the mean of all rows are those of items that many chose.
    ``norm``: the largest norm of an update the server believes. A round with fewer than ``least`` uploads is skipped.
    """

    before: float = 0.0
    during: float = 0.0
    after: float = 0.0
    deadline: float | None = None
    seconds_per_sample: float = 0.01
    spread: float = 0.5
    broken: float = 0.0
    stale: float = 0.0
    age: int = 5
    hostile: float = 0.0
    attack: str = "sign-flip"
    strength: float = 1.0
    target: int = 0
    norm: float | None = None
    least: int = 1

    def check(self, plan: Plan, n_items: int) -> None:
        """Raise InputError, in one sentence, for faults that make no sense."""
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share of the clients, in [0, 1], not {getattr(self, name)}.")
        if self.attack not in ATTACKS:
            raise InputError(f'attack must be one of {", ".join(ATTACKS)}, not "{self.attack}".')
        if not 0 <= self.target < n_items:
            raise InputError(f"target must be an item from 0 to {n_items - 1}, not {self.target}.")
        if self.age < 1 or self.least < 1:
            raise InputError(f"age and least must be at least 1, not {self.age} and {self.least}.")
        if self.stale and any(table.keep for table in plan.backbone.tables.values()):
            raise InputError("Stale clients cannot be simulated for a model that keeps its tuned copy of a table.")
        if plan.backbone.clients_are_stores and (self.attack == "label-flip") and self.hostile:
            raise InputError('"label-flip" is for clients that are users: a store has no labels to exchange.')

    def drawn(self, what: str, seed: int, round: int, clients: Tensor) -> Tensor:
        """Which of the clients (K,) it befalls in this round, bool."""
        share = getattr(self, what)
        return rng.uniform(rng.key(seed, f"fault {what}", round), clients) < share

    def liars(self, seed: int, clients: Tensor) -> Tensor:
        """Which of the clients (K,) are hostile, bool."""
        return rng.uniform(rng.key(seed, "hostile"), clients) < self.hostile

    def too_late(self, upload: Upload, seed: int) -> Tensor:
        """Which uploads (K,) come after the deadline."""
        if self.deadline is None:
            return torch.zeros_like(upload.clients, dtype=torch.bool)
        slow = (self.spread * rng.normal(rng.key(seed, "device"), upload.clients)).exp()
        return self.seconds_per_sample * upload.size * slow > self.deadline

    def lie(self, upload: Upload, tables: dict[str, Tensor], seed: int) -> None:
        """Turn the updates of the hostile clients into what they send; ``tables`` are the server's."""
        liars = self.liars(seed, upload.clients)
        if self.attack == "label-flip" or not bool(liars.any()):
            return
        factor = {"sign-flip": -self.strength, "scale": self.strength, "promote": 0.0}[self.attack]
        for name, value in upload.update.items():
            upload.update[name] = torch.where(liars.view(-1, *(1,) * (value.dim() - 1)), factor * value, value)
        if self.attack == "promote":
            for name, table in tables.items():
                upload.ids, upload.real, upload.update[name] = promoted(upload, name, table, liars, self)


def spoiled(sent: dict[str, Tensor], which: int) -> dict[str, Tensor]:
    """One client's upload with a NaN, an infinity, or a row too few."""
    name, value = next(iter(sent.items()))
    if which % 3 == 2:
        return sent | {name: value[:-1]}
    worse = value.clone()
    worse.view(-1)[0] = (math.nan, math.inf)[which % 3]
    return sent | {name: worse}


def promoted(upload: Upload, name: str, table: Tensor, liars: Tensor, faults: Faults) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of an item table in which every liar sends one row alone, the target's: its ids, real and values."""
    stands_out = -(table @ table.mean(0))
    stands_out[faults.target] = -math.inf
    popular = table[stands_out.topk(min(10, len(table))).indices].mean(0)
    ids, real, rows = upload.ids.clone(), upload.real.clone(), upload.update[name].clone()
    ids[liars], real[liars], rows[liars] = faults.target, False, 0
    real[liars, 0] = True
    rows[liars, 0] = faults.strength * popular - table[faults.target]
    return ids, real, rows
