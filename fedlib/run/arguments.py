"""What a run is: its arguments, whether they make sense, and what they are called."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.engine.cohort import clients_in_round
from fedlib.engine.composed import model_of
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.evaluation.metrics import METRICS
from fedlib.items.table import ItemTable
from fedlib.places import Place
from fedlib.run.faults import Faults
from fedlib.run.identity import identity
from fedlib.run.machine import pick_device
from fedlib.server.optimizers import ServerOptimizer

EXECUTORS = ("vectorized",)


@dataclass(frozen=True, kw_only=True)
class Run:
    """All arguments of :func:`~fedlib.federation.federate`; ``places`` are those of the four that were given."""

    data: Split
    backbone: Backbone
    items: ItemTable
    places: dict[str, Place]
    given_local: LocalTraining
    faults: Faults | None
    given_server: ServerOptimizer | None
    clients_per_round: float
    sampling: str
    rounds: int
    seed: int
    executor: str
    chunk: int | None
    device: str
    dtype: torch.dtype
    evaluate_every: int
    ks: tuple[int, ...]
    best: str | None
    checkpoint: str | Path | None
    checkpoint_every: int
    resume: bool
    max_memory: float | None
    own_tables_in: str | Path | None
    progress: bool

    @cached_property
    def model(self) -> Backbone:
        """What is trained: the backbone after its items."""
        return model_of(self.backbone, self.items)

    @cached_property
    def local(self) -> LocalTraining:
        """How a client trains, with nothing left open."""
        return resolved(self.given_local, self.data, self.model, self.clients_per_round)

    @property
    def server(self) -> ServerOptimizer | None:
        """How the server steps; None for the mean."""
        return self.given_server or self.backbone.server

    @cached_property
    def where(self) -> torch.device:
        """The device."""
        return pick_device(self.device)

    @property
    def n_items(self) -> int:
        """n."""
        return self.data.data.n_items

    def check(self) -> None:
        """Raise InputError, in one sentence, for arguments that make no sense."""
        check_local(self.given_local)
        check_numbers(self)
        check_best(self.best, self.data, self.ks)
        check_clients(self)
        check_server(self)
        check_disk(self)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that shapes the run's numbers, as JSON-able values; as it is before the first round."""
        described: dict[str, Any] = {
            "backbone": self.backbone.config(),
            "places": {name: identity(place) for name, place in self.places.items()},
            "local": identity(vars(self.local)),
            "faults": None if self.faults is None else identity(vars(self.faults)),
            "clients_per_round": self.clients_per_round,
            "sampling": self.sampling,
            "seed": self.seed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "evaluate_every": self.evaluate_every,
            "ks": list(self.ks),
            "best": self.best,
        }
        return described | ({} if self.given_server is None else {"server": identity(self.given_server)})


def check_local(local: LocalTraining) -> None:
    """Raise InputError for a local training that makes no sense."""
    whole("local epochs", local.epochs)
    whole("batch", local.batch)
    whole("negatives", local.negatives)
    for name in ("lr", "lr_items", "lr_fusion"):
        rate = getattr(local, name)
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InputError(f"{name} must be a positive number, not {rate}.")
    if not (math.isfinite(local.weight_decay) and local.weight_decay >= 0):
        raise InputError(f"weight_decay must be 0 or a positive number, not {local.weight_decay}.")
    for name, factor in {"lr_decay": local.lr_decay, "step_decay": local.step_decay}.items():
        if not 0 < factor <= 1:
            raise InputError(f"{name} must be a factor in (0, 1], not {factor}.")
    if not (math.isfinite(local.stop) and local.stop >= 0):
        raise InputError(f"stop must be 0 or a positive number, not {local.stop}.")
    if local.optimizer not in ("sgd", "adam"):
        raise InputError(f'optimizer must be "sgd" or "adam", not "{local.optimizer}".')
    if local.negatives_from not in (None, "unobserved", "untouched"):
        raise InputError(f'negatives_from must be "unobserved" or "untouched", not "{local.negatives_from}".')


def whole(name: str, value: float) -> None:
    """Raise InputError unless a value is a whole number of at least 1."""
    if value < 1 or value != int(value):
        raise InputError(f"{name} must be a whole number of at least 1, not {value}.")


def check_numbers(run: Run) -> None:
    """Raise InputError for numbers and words that make no sense."""
    for name in ("rounds", "evaluate_every", "checkpoint_every"):
        whole(name, getattr(run, name))
    whole("chunk", 1 if run.chunk is None else run.chunk)
    if run.executor not in EXECUTORS:
        raise InputError(f'executor must be one of {", ".join(EXECUTORS)}, not "{run.executor}": clients are trained '
                         "one after the other with chunk=1.")  # fmt: skip
    share = run.clients_per_round
    if not (0 < share <= 1 or (1 < share < math.inf and share == int(share))):
        raise InputError(f"clients_per_round must be a share in (0, 1] or a whole number above 1, not {share}.")
    if run.sampling not in ("fixed", "poisson"):
        raise InputError(f'sampling must be "fixed" or "poisson", not "{run.sampling}".')
    clients = len(run.data.client_sizes)
    if share > clients:
        raise InputError(f"clients_per_round is {share:g}, but there are only {clients} clients.")
    if not run.ks or any(k < 1 or k != int(k) for k in run.ks):
        raise InputError(f"Every K of a metric must be a whole number of at least 1, not {run.ks}.")
    if len(run.data.train.items) == 0:
        raise InputError("There is no training interaction in this split.")


def check_best(best: str | None, data: Split, ks: tuple[int, ...]) -> None:
    """Raise InputError for a metric to keep the best round by that will not be known."""
    if best is None:
        return
    if not len(data.valid.items):
        raise InputError("best needs validation items, and this split has none.")
    name, _, k = best.partition("@")
    if name not in METRICS or k not in map(str, ks):
        known = ", ".join(METRICS)
        raise InputError(f"best must be one of {known} at a K among {', '.join(map(str, ks))}, not {best!r}.")


def check_clients(run: Run) -> None:
    """Raise InputError, in one sentence, for arguments that do not suit the split's clients."""
    backbone, local, name = run.backbone, run.given_local, type(run.backbone).__name__
    if run.data.stores is None:
        if backbone.clients_are_stores:
            raise InputError(f"The clients of {name} are stores: give the split some with its with_stores.")
        return
    if not (backbone.clients_are_stores or backbone.may_train_in_stores):
        raise InputError(f"{name} cannot be trained by stores for their users: use a split without stores.")
    if run.chunk is not None:
        raise InputError("chunk is for clients that are users: stores are trained one at a time.")
    if not backbone.clients_are_stores:
        return
    if "select" in run.places:
        raise InputError(f"select chooses among the samples of one user, and {name} has none: a store trains on a "
                         "graph of all its users.")  # fmt: skip
    if local.weight_decay:
        raise InputError(f"weight_decay is not for {name}: its own l2 acts on the vectors of each batch.")
    if local.step_decay < 1 or local.stop:
        raise InputError(f"step_decay and stop are not for {name}: its stores take a number of steps of their own.")


def check_server(run: Run) -> None:
    """Raise InputError for a server optimiser that makes no sense."""
    if run.given_server is None:
        return
    if run.backbone.server is not None:
        raise InputError(f"{type(run.backbone).__name__} has a server step of its own: leave out server.")
    if run.backbone.is_alone:
        raise InputError("Clients that share nothing leave a server nothing to do: leave out server.")
    run.given_server.check()


def check_disk(run: Run) -> None:
    """Raise InputError, in one sentence, where tables cannot be files."""
    if run.own_tables_in is None:
        return
    if not any(table.owner == "client" for table in run.model.tables.values()):
        name = type(run.backbone).__name__
        raise InputError(f"Clients of {name} have no own item tables: leave out --own-tables-in.")
    if run.where.type != "cpu":
        raise InputError("Tables in files are for a CPU: use --device cpu, or leave out --own-tables-in.")
    if run.checkpoint is not None:
        raise InputError("A checkpoint is written from memory: leave out either it or --own-tables-in.")


def resolved(local: LocalTraining, data: Split, backbone: Backbone, clients_per_round: float) -> LocalTraining:
    """Where nothing is said, negatives follow the split's protocol, and the items' learning rate the backbone's rule.

    A model that shares nothing has no published protocol to follow, and "untouched" negatives would be all it learns
    about the held-out items: it draws "unobserved" ones.
    """
    if local.negatives_from is None:
        sampled = data.test_negatives is not None and not backbone.is_alone
        local = replace(local, negatives_from="untouched" if sampled else "unobserved")
    if local.lr_items is None:
        n, cohort = data.data.n_items, clients_in_round(int((data.client_sizes > 0).sum()), clients_per_round)
        rule = backbone.default_lr_items(local.lr, n_items=n, n_clients=cohort, optimizer=local.optimizer)
        local = replace(local, lr_items=rule)
    return local
