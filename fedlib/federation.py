"""The federated loop.

There is one loop, and each method of this book changes one place in it::

    augment ──► select ──► items ──► local training ──► protect ──► aggregate ──► evaluate

In every round t the server draws the clients S_t and sends them the model; each client trains on its own data; the
server averages what comes back (McMahan et al., AISTATS 2017, Algorithm 1). :func:`one_round` is that sentence in code.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.backbones.ngcf import FedNGCF
from fedlib.data.interactions import Split
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.clients import Clients, UserClients, send
from fedlib.engine.cohort import AllItems, LocalRows, chunks, clients_in_round, sample_clients, sample_rate
from fedlib.engine.memory import check_memory
from fedlib.engine.state import State, initial_state
from fedlib.engine.training import LocalTraining
from fedlib.errors import TooFewClients
from fedlib.evaluation.rankings import is_best, timed_evaluation
from fedlib.items import ItemTable
from fedlib.places import Place, Plan, Sent, add_uploads, call, call_server
from fedlib.run.arguments import (
    data_identity,
    describe,
    resolved,
    validate,
    validate_best,
    validate_clients,
    validate_disk,
)
from fedlib.run.checkpoint import Checkpoints
from fedlib.run.faults import Faults, NoFaults, RoundLog
from fedlib.run.machine import default_chunk, keep_freed_memory, physical_memory, pick_device, show_progress
from fedlib.run.result import Result
from fedlib.server.ledger import Ledger
from fedlib.server.sums import Sums, weighted_mean, zero_sums
from fedlib.stores.clients import StoreClients
from fedlib.stores.users import StoreUsers

PLACES = ("augment", "select", "items", "protect")


def federate(
    data: Split,
    backbone: Backbone,
    items: ItemTable | None = None,
    augment: Place | None = None,
    select: Place | None = None,
    protect: Place | None = None,
    local: LocalTraining | None = None,
    *,
    faults: Faults | None = None,
    clients_per_round: float = 1.0,
    sampling: str = "fixed",
    rounds: int = 100,
    seed: int = 0,
    executor: str = "vectorized",
    chunk: int | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    evaluate_every: int = 1,
    ks: tuple[int, ...] = (5, 10, 20),
    best: str | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    resume: bool = False,
    max_memory: float | None = None,
    own_tables_in: str | Path | None = None,
    progress: bool = False,
) -> Result:
    """Train and evaluate a federated recommender, one client a user or, on a split with stores, one client a store.

    ``data`` is a split, e.g. ``load("ml-100k").leave_one_out(seed=0)``; ``backbone`` the model of one client;
    ``items``, ``augment``, ``select`` and ``protect`` the four places; ``local`` how a client trains.

    ``faults``: what goes wrong with clients, and the server's check of every upload
    (:class:`~fedlib.run.faults.Faults`). ``clients_per_round``: a share in (0, 1] or a whole number above 1.
    ``sampling``: "fixed" draws that many clients, "poisson" each client with that probability, so that their number
    varies and may be 0. ``executor``: "vectorized" trains ``chunk`` clients at once, "loop" one after the other.
    ``checkpoint``: a folder to save to every ``checkpoint_every`` rounds; with ``resume`` the run goes on from the
    newest checkpoint there. ``max_memory``: bytes the clients' private state may take (default: the machine's
    memory). ``own_tables_in``: a folder for the clients' own item tables, which then need not fit in memory (on a
    CPU, without checkpoints). ``evaluate_every`` rounds, and after the last one, all users are evaluated at the
    cut-offs ``ks``. ``best``: a metric such as "NDCG@10"; the result is then the state after the evaluated round
    that is best by it on the validation items, the first of equals, and not that after the last round. ``progress``
    shows a line on a terminal.

    Two runs with the same arguments and the same number of threads on a CPU are equal bit for bit.
    Raises :class:`~fedlib.errors.InputError` for arguments that make no sense.
    """
    began = time.perf_counter()
    keep_freed_memory()
    items, local = items or ItemTable(), local or LocalTraining()
    places = {
        name: place for name, place in zip(PLACES, (augment, select, items, protect), strict=True) if place is not None
    }
    validate(data, local, clients_per_round, rounds, executor, chunk, evaluate_every, checkpoint_every, ks, sampling)
    validate_best(best, data, ks)
    validate_clients(data, backbone, places, local, chunk)
    local = resolved(local, data, backbone, clients_per_round)
    config = describe(
        backbone, places, local, faults, clients_per_round, sampling, seed, dtype, evaluate_every, ks, best
    )
    where, n = pick_device(device), data.data.n_items
    validate_disk(own_tables_in, backbone, where, checkpoint)
    clients = _clients(data, backbone, local, seed, where)
    check_memory(
        backbone, data.train, n, local.negatives, dtype=dtype, stores=data.stores, own_tables=own_tables_in is None,
        max_memory=physical_memory() if max_memory is None else max_memory,
    )  # fmt: skip
    tables = items.tables(backbone, n, seed)
    state = initial_state(backbone, tables, data.train, n, local.negatives, seed=seed, dtype=dtype, device=where,
                          stores=data.stores, own_tables_in=own_tables_in)  # fmt: skip
    plan = planned(backbone, clients.length, clients_per_round, sampling, rounds)
    state.places = {name: place.init(data, seed) | place.plan(plan) for name, place in places.items()}
    state.memory = {name: {key: value.to(where) for key, value in place.memory(data).items()}
                    for name, place in places.items()}  # fmt: skip
    reliable = faults or NoFaults()
    reliable.plan(plan, n)
    if faults is not None:
        state.places["faults"] = {}
    saved = Checkpoints(checkpoint, config | data_identity(data))
    history, ledger = saved.begin(state, rounds, resume=resume)
    size = 1 if executor == "loop" or data.stores else chunk or default_chunk(where)
    prepared = time.perf_counter() - began

    for t in range(state.round, rounds):
        start = time.perf_counter()
        chosen = sample_clients(clients.length.cpu(), clients_per_round, seed, t, sampling).to(where)  # S_t
        sums, told = one_round(clients, places, reliable, state, chosen, size, ledger, t)
        state.round, last = t + 1, t + 1 == rounds
        row: dict[str, Any] = {"round": t + 1, "clients": sums.clients}
        row |= {"loss": sums.loss / sums.clients if sums.clients else math.nan} | told
        row |= {f"bytes_{way}": ledger.bytes(t + 1, way) for way in ("down", "up")}
        row["seconds"] = time.perf_counter() - start
        if last or (t + 1) % evaluate_every == 0:
            row |= timed_evaluation(state, backbone, data, ks)
            if best is not None and is_best(row, history, f"valid {best}"):
                state.note_best()
        history.append(row)
        if last or (t + 1) % checkpoint_every == 0:
            saved.save(state, history, ledger)
        if progress:
            show_progress(row, rounds)

    if "seconds_evaluate" not in history[-1]:  # resumed where an earlier run had saved but not evaluated
        history[-1] |= timed_evaluation(state, backbone, data, ks)
        if best is not None and is_best(history[-1], history[:-1], f"valid {best}"):
            state.note_best()
    state.return_to_best()
    return Result(state, backbone, data, config, pd.DataFrame(history), ledger.frame(), tuple(ks), str(where), size,
                  prepared, time.perf_counter() - began)  # fmt: skip


def one_round(
    clients: Clients, places: dict[str, Place], faults: NoFaults, state: State, chosen: torch.Tensor, size: int,
    ledger: Ledger, t: int,
) -> tuple[Sums, dict[str, Any]]:  # fmt: skip
    """Round t: send the model to the ``chosen`` clients, train them ``size`` at a time, average what they send.

    Returns the sums, and what the history says beside them.
    """
    log = RoundLog()
    state.cohort = chosen = faults.answering(chosen, clients.seed, t, log)
    message = {name: place.broadcast(state.places[name], state) for name, place in places.items()}
    sums = zero_sums(state.tables, state.shared, clients.backbone.aggregate_items)
    if "protect" in places:
        sums = places["protect"].collect(sums, clients.seed, t)
    clients.begin(state, chosen, ledger, t)

    groups = chunks(chosen, clients.length, size)
    for group, received in faults.groups(groups, state, clients.seed, t, log):
        work = clients.receive(received, group, t)
        work.flipped = faults.flipped(group, clients.seed)
        sent: list[Sent] = []
        for name in ("augment", "select", "items"):
            sent += call(name, places, work, message, state)
        trained = clients.train(received, work)
        clients.keep(state, trained, t)
        for name in PLACES:
            sent += call(name, places, work, message, state, trained=True)
        sent += call("protect", places, work, message, state)
        faults.arriving(work, state, clients.seed, log)
        if len(work.clients):
            send(clients.backbone, state, work, sums)
            add_uploads(sent, work, sums)

    sums.received, skipped = log.received, faults.too_few(sums.clients)
    state.places |= {"faults": memory} if (memory := faults.remember(state)) else {}
    told = faults.row(log)
    try:
        if not skipped:
            call_server("protect", places, sums, state)  # first, because it may have to unmask the sums
    except TooFewClients as err:
        skipped, told["reasons"] = True, str(err)
    told["skipped"] = skipped
    account(ledger, clients.backbone, state, message, sums, t + 1)
    if skipped:
        return sums, told
    step(clients, state, sums)
    for name in ("augment", "select", "items"):
        call_server(name, places, sums, state)
    for name, place in places.items():
        told |= place.report(state.places[name] | state.memory[name])
    return sums, told


def step(clients: Clients, state: State, sums: Sums) -> None:
    """The server's step: to the weighted mean of what it was sent, or as its optimiser says. No upload, no step."""
    server = clients.backbone.server
    if not any(bool(weight.any()) for weight in sums.weight.values()):
        return
    for named in (state.tables, state.shared):
        for name, value in named.items():
            mean = weighted_mean(value, sums.delta[name], sums.weight[name])
            if server is None:
                named[name] = mean
            else:
                named[name] = server.step(name, value, mean, sums.weight[name], state.server, clients.local.lr)
    if server is not None:
        state.server["steps"] += 1


def planned(backbone: Backbone, length: torch.Tensor, clients_per_round: float, sampling: str, rounds: int) -> Plan:
    """What the run is going to do."""
    able = int((length > 0).sum())
    cohort = float(clients_in_round(able, clients_per_round))
    if sampling == "poisson":
        cohort = able * sample_rate(able, clients_per_round)
    return Plan(backbone, able, cohort, "all" if cohort == able else sampling, rounds)


def _clients(data: Split, backbone: Backbone, local: LocalTraining, seed: int, device: torch.device) -> Clients:
    n, length = data.data.n_items, data.client_sizes.to(device)
    train, touched = data.train.to(device), data.data.interactions.to(device)
    sampler = NegativeSampler(touched if local.negatives_from == "untouched" else train, n)
    if data.stores is not None:
        rest = local, train, data.stores, length, sampler, seed
        return StoreClients(backbone, *rest) if isinstance(backbone, FedNGCF) else StoreUsers(backbone, *rest)
    slots = AllItems(n) if backbone.all_items else LocalRows(n, device)
    return UserClients(backbone, local, train, length, sampler, slots, seed)


def account(
    ledger: Ledger, backbone: Backbone, state: State, message: dict[str, dict[str, Tensor]], sums: Sums, round: int
) -> None:
    """Enter what a round sent: the model and the places' messages down, its parts and the places' uploads up."""
    for name, value in {**state.tables, **state.shared}.items():
        ledger.record(round, "down", name, value, sums.received)
    for place, added in message.items():
        for name, value in added.items():
            ledger.record(round, "down", f"{place}/{name}", value, sums.received)
    if sums.sent is not None:
        for tensor, shape, dtype, size in sums.sent:
            ledger.record_ragged(round, "up", tensor, shape, dtype, sums.clients, size * sums.clients)
        return
    for name, value in {**state.tables, **state.shared}.items():
        ledger.record(round, "up", name, value, sums.clients)
    for name, table in state.tables.items():
        if backbone.aggregate_items == "row":
            ledger.record(
                round, "up", f"{name} (rows touched)", torch.empty(len(table), dtype=torch.bool), sums.clients
            )
    if (state.tables and backbone.aggregate_items == "size") or (state.shared and backbone.aggregate_network == "size"):
        ledger.record(round, "up", "number of samples", torch.empty((), dtype=torch.int32), sums.clients)
    for name, total in sums.uploads.items():
        ledger.record(round, "up", name, total, sums.clients)
