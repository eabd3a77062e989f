"""Checks and defaults of a run's arguments."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.engine.cohort import clients_in_round
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.evaluation.metrics import METRICS
from fedlib.places import Place
from fedlib.run.faults import Faults

EXECUTORS = ("vectorized", "loop")


def validate(
    data: Split, local: LocalTraining, clients_per_round: float, rounds: int, executor: str,
    chunk: int | None, evaluate_every: int, checkpoint_every: int, ks: tuple[int, ...], sampling: str,
) -> None:  # fmt: skip
    """Raise InputError, in one sentence, for arguments that make no sense."""
    whole = {"rounds": rounds, "chunk": 1 if chunk is None else chunk, "evaluate_every": evaluate_every}
    whole |= {"checkpoint_every": checkpoint_every, "local epochs": local.epochs, "batch": local.batch}
    whole |= {"negatives": local.negatives}
    for name, value in whole.items():
        if value < 1 or value != int(value):
            raise InputError(f"{name} must be a whole number of at least 1, not {value}.")
    for name, rate in {"lr": local.lr, "lr_items": local.lr_items}.items():
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
    if executor not in EXECUTORS:
        raise InputError(f'executor must be one of {", ".join(EXECUTORS)}, not "{executor}".')
    if not (
        0 < clients_per_round <= 1 or (1 < clients_per_round < math.inf and clients_per_round == int(clients_per_round))
    ):
        raise InputError(
            f"clients_per_round must be a share in (0, 1] or a whole number above 1, not {clients_per_round}."
        )
    if sampling not in ("fixed", "poisson"):
        raise InputError(f'sampling must be "fixed" or "poisson", not "{sampling}".')
    clients = len(data.client_sizes)
    if clients_per_round > clients:
        raise InputError(f"clients_per_round is {clients_per_round:g}, but there are only {clients} clients.")
    if not ks or any(k < 1 or k != int(k) for k in ks):
        raise InputError(f"Every K of a metric must be a whole number of at least 1, not {ks}.")
    if len(data.train.items) == 0:
        raise InputError("There is no training interaction in this split.")


def validate_best(best: str | None, data: Split, ks: tuple[int, ...]) -> None:
    """Raise InputError for a metric to keep the best round by that will not be known."""
    if best is None:
        return
    if not len(data.valid.items):
        raise InputError("best needs validation items, and this split has none.")
    name, _, k = best.partition("@")
    if name not in METRICS or k not in map(str, ks):
        known = ", ".join(METRICS)
        raise InputError(f"best must be one of {known} at a K among {', '.join(map(str, ks))}, not {best!r}.")


def validate_clients(
    data: Split, backbone: Backbone, places: dict[str, Place], local: LocalTraining, chunk: int | None
) -> None:
    """Raise InputError, in one sentence, for arguments that do not suit the split's clients."""
    name = type(backbone).__name__
    if data.stores is None:
        if backbone.clients_are_stores:
            raise InputError(f"The clients of {name} are stores: give the split some with its with_stores.")
        return
    if not (backbone.clients_are_stores or backbone.may_train_in_stores):
        raise InputError(f"{name} cannot be trained by stores for their users: use a split without stores.")
    if chunk is not None:
        raise InputError("chunk is for clients that are users: stores are trained one at a time.")
    if "select" in places:
        raise InputError("select chooses among the samples of one user: leave it out where the clients are stores.")
    if backbone.clients_are_stores and local.weight_decay:
        raise InputError(f"weight_decay is not for {name}: its own l2 acts on the vectors of each batch.")
    if backbone.clients_are_stores and (local.step_decay < 1 or local.stop):
        raise InputError(f"step_decay and stop are not for {name}: its stores take a number of steps of their own.")


def validate_disk(
    own_tables_in: str | Path | None, backbone: Backbone, device: torch.device, checkpoint: str | Path | None
) -> None:
    """Raise InputError, in one sentence, where tables cannot be files."""
    if own_tables_in is None:
        return
    if not any(table.owner == "client" for table in backbone.tables.values()):
        raise InputError(f"Clients of {type(backbone).__name__} have no own item tables: leave out --own-tables-in.")
    if device.type != "cpu":
        raise InputError("Tables in files are for a CPU: use --device cpu, or leave out --own-tables-in.")
    if checkpoint is not None:
        raise InputError("A checkpoint is written from memory: leave out either it or --own-tables-in.")


def data_identity(data: Split) -> dict[str, str]:
    """What tells this split's data from another's in a checkpoint."""
    known = {"data_sha256": data.data.sha256, "train_sha256": data.train.sha256, "test_sha256": data.test_sha256}
    return known if data.stores is None else known | {"stores_sha256": data.stores.sha256}


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


def describe(
    backbone: Backbone, places: dict[str, Place], local: LocalTraining, faults: Faults | None, clients_per_round: float,
    sampling: str, seed: int, dtype: torch.dtype, evaluate_every: int, ks: tuple[int, ...], best: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that shapes a run's numbers, as JSON-able values."""
    return {
        "backbone": backbone.config(),
        "places": {name: named(place) for name, place in places.items()},
        "local": plain(local),
        "faults": None if faults is None else plain(faults),
        "clients_per_round": clients_per_round,
        "sampling": sampling,
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "evaluate_every": evaluate_every,
        "ks": list(ks),
        "best": best,
    }


def plain(thing: object) -> dict[str, Any]:
    """The fields of an object, as JSON-able values."""
    return {name: v if isinstance(v, int | float | str | bool | None) else repr(v) for name, v in vars(thing).items()}


def named(place: Place) -> dict[str, Any]:
    """A place as JSON-able values: the name of its class, and its fields."""
    return {"name": type(place).__name__, **plain(place)}
