"""A run under way: everything that changes from round to round, made once before the first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedlib.data.negatives import NegativeSampler
from fedlib.engine.clients import Clients, UserClients
from fedlib.engine.cohort import AllItems, LocalRows, chunks, clients_in_round, sample_clients, sample_rate
from fedlib.engine.kept import capacity
from fedlib.engine.memory import check_memory, copy_bytes
from fedlib.engine.state import State, initial_state
from fedlib.errors import InputError
from fedlib.evaluation.rankings import is_best, timed_evaluation
from fedlib.places import Plan
from fedlib.run.arguments import Run
from fedlib.run.checkpoint import Checkpoints
from fedlib.run.machine import default_chunk, keep_freed_memory, physical_memory, show_progress
from fedlib.run.network import Network, Unreliable
from fedlib.run.result import Result
from fedlib.server.ledger import Ledger
from fedlib.server.sums import Sums, zero_sums
from fedlib.stores.clients import StoreClients
from fedlib.stores.users import StoreUsers
from fedlib.stores.work import Samplers


@dataclass
class World:
    """A ``run`` with its ``state`` after so many rounds, its ``clients``, and the ``network`` between them.

    ``size`` clients train at once; ``history`` and ``ledger`` grow with every round.
    """

    run: Run
    state: State
    clients: Clients
    network: Network
    saved: Checkpoints
    history: list[dict[str, Any]]
    ledger: Ledger
    size: int
    began: float = field(default_factory=time.perf_counter)
    prepared: float = 0.0

    def chosen(self, t: int) -> Tensor:
        """The clients of round t, S_t."""
        length, run = self.clients.length.cpu(), self.run
        return sample_clients(length, run.clients_per_round, run.seed, t, run.sampling).to(run.where)

    def groups(self, chosen: Tensor) -> Iterator[Tensor]:
        """The chosen clients, ``size`` at a time."""
        return chunks(chosen, self.clients.length, self.size)

    def empty_sums(self, t: int) -> Sums:
        """What takes the uploads of round t."""
        sums = zero_sums(self.state.tables, self.state.shared, self.clients.model.aggregate_items)
        protect = self.run.places.get("protect")
        return sums if protect is None else protect.collect(sums, self.run.seed, t)

    def note(self, t: int, sums: Sums, columns: dict[str, Any], seconds: float) -> None:
        """Enter round t in the history; evaluate, save and show it where it is time to."""
        run, last = self.run, t + 1 == self.run.rounds
        self.state.round = t + 1
        row: dict[str, Any] = {"round": t + 1, "clients": sums.clients}
        row |= {"loss": sums.loss / sums.clients if sums.clients else math.nan} | columns
        row |= {f"bytes_{way}": self.ledger.bytes(t + 1, way) for way in ("down", "up")}
        row["seconds"] = seconds
        if last or (t + 1) % run.evaluate_every == 0:
            self.evaluate(row)
        self.history.append(row)
        if last or (t + 1) % run.checkpoint_every == 0:
            self.saved.save(self.state, self.history, self.ledger)
        if run.progress:
            show_progress(row, run.rounds)

    def evaluate(self, row: dict[str, Any]) -> None:
        """Add the metrics of the state to a ``row``, and keep the state where it is the best so far."""
        row |= timed_evaluation(self.state, self.clients.model, self.run.data, self.run.ks)
        earlier = [other for other in self.history if other is not row]
        if self.run.best is not None and is_best(row, earlier, f"valid {self.run.best}"):
            self.state.note_best()

    def result(self) -> Result:
        """What the run gives back."""
        if "seconds_evaluate" not in self.history[-1]:  # resumed where an earlier run had saved but not evaluated
            self.evaluate(self.history[-1])
        self.state.return_to_best()
        run = self.run
        return Result(
            self.state, self.clients.model, run.data, run.config, pd.DataFrame(self.history), self.ledger.frame(),
            tuple(run.ks), str(run.where), self.size, self.prepared, time.perf_counter() - self.began, run.items,
        )  # fmt: skip


def prepare(run: Run) -> World:
    """Everything a run needs before its first round, or before the one it goes on with."""
    began = time.perf_counter()
    keep_freed_memory()
    clients = clients_of(run)
    plan = planned(run, clients.length)
    if run.faults is not None:
        run.faults.check(plan, run.n_items)
    network = Network(run.seed) if run.faults is None else Unreliable(run.seed, run.faults)
    check_memory(
        run.model, run.data.train, run.n_items, run.local.negatives, dtype=run.dtype, stores=run.data.stores,
        own_tables=run.own_tables_in is None, outside="augment" in run.places and run.data.global_log is not None,
        uploads=sum(place.uploads_held(plan) for place in run.places.values()),
        max_memory=physical_memory() if run.max_memory is None else run.max_memory,
    )  # fmt: skip
    state = first_state(run)
    saved = Checkpoints(run.checkpoint, run.config | data_identity(run))
    begin_places(run, state, plan, anew=not (run.resume and saved.files()))
    history, ledger = saved.begin(state, run.rounds, resume=run.resume)
    return World(run, state, clients, network, saved, history, ledger, size_of(run), began, time.perf_counter() - began)


def first_state(run: Run) -> State:
    """The state before the first round, without that of the places."""
    data, log = run.data, run.data.global_log
    for name, features in run.items.fixed().items():
        if len(features) != run.n_items:
            raise InputError(f"{name} has features of {len(features)} items, but the data has {run.n_items}.")
    state = initial_state(
        run.model, run.items.tables(run.backbone, run.n_items, run.seed), data.train, run.n_items, run.local.negatives,
        seed=run.seed, dtype=run.dtype, device=run.where, stores=data.stores, own_tables_in=run.own_tables_in,
        fixed=run.items.fixed(), outside=len(log.items) if "augment" in run.places and log is not None else None,
    )  # fmt: skip
    if run.server is not None:
        state.server = run.server.memory({**state.tables, **state.shared})
    return state


def begin_places(run: Run, state: State, plan: Plan, *, anew: bool) -> None:
    """The places' own state and what clients keep for them; a run that goes on has both in its checkpoint."""
    planned = {name: place.plan(plan) for name, place in run.places.items()}  # refuses what makes no sense, always
    names = [*run.places] if run.faults is None else [*run.places, "faults"]
    state.places = {name: {} for name in names}
    state.memory = {name: {} for name in run.places}
    if not anew:
        return
    for name, place in run.places.items():
        own = place.init(run.data, run.seed) | planned[name]
        state.places[name] = {key: value.to(run.where) for key, value in own.items()}
        kept = place.memory(run.data)
        state.memory[name] = {key: value.to(run.where) for key, value in kept.items()}


def planned(run: Run, length: Tensor) -> Plan:
    """What the run is going to do, for places that have to know it."""
    able = int((length > 0).sum())
    cohort = float(clients_in_round(able, run.clients_per_round))
    if run.sampling == "poisson":
        cohort = able * sample_rate(able, run.clients_per_round)
    sampling = "all" if cohort == able else run.sampling
    return Plan(run.model, able, cohort, sampling, run.rounds, run.data.stores is not None)


def clients_of(run: Run) -> Clients:
    """All clients of the run: the users, or the stores of its split."""
    data, local, model, where, n = run.data, run.local, run.model, run.where, run.n_items
    length, train = data.client_sizes.to(where), data.train.to(where)
    excluded = data.data.interactions.to(where) if local.negatives_from == "untouched" else train
    if data.stores is not None:
        of_stores = StoreClients if run.backbone.clients_are_stores else StoreUsers
        log = None if data.global_log is None else data.global_log.to(where)
        return of_stores(model, local, train, data.stores, length, Samplers(excluded, n), run.seed, log)
    slots = AllItems(n) if model.all_items else LocalRows(n, where)
    return UserClients(model, local, train, length, NegativeSampler(excluded, n), slots, run.seed)


def size_of(run: Run) -> int:
    """How many clients are trained at once."""
    if run.data.stores is not None:
        return 1
    if run.chunk is not None:
        return run.chunk
    itemsize = torch.empty((), dtype=run.dtype).itemsize
    room = capacity(run.data.train, run.local.negatives, run.n_items)
    return default_chunk(run.where, copy_bytes(run.model, room, itemsize))


def data_identity(run: Run) -> dict[str, str]:
    """What tells this split's data from another's in a checkpoint."""
    data = run.data
    known = {"data_sha256": data.data.sha256, "train_sha256": data.train.sha256, "test_sha256": data.test_sha256}
    known |= {} if data.stores is None else {"stores_sha256": data.stores.sha256}
    return known | ({} if data.global_log is None else {"global_sha256": data.global_log.sha256})
