"""The federated loop.

There is one loop, and each method of this book changes one place in it::

    augment ──► select ──► items ──► local training ──► protect ──► aggregate ──► evaluate

In every round t the server draws the clients S_t and sends them the model; each client trains on its own data; the
server averages what comes back (McMahan et al., AISTATS 2017, Algorithm 1). :func:`one_round` is that sentence in code.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.engine.state import State
from fedlib.engine.training import LocalTraining
from fedlib.errors import TooFewClients
from fedlib.items.table import ItemTable
from fedlib.places import PLACES, Messages, Place, add_uploads, call, call_server
from fedlib.run.arguments import Run
from fedlib.run.faults import Faults
from fedlib.run.result import Result
from fedlib.run.world import World, prepare
from fedlib.server.ledger import Ledger
from fedlib.server.optimizers import ServerOptimizer
from fedlib.server.sums import Sums, weighted_mean

BEFORE = ("augment", "select", "items")  # the places that act before local training


def federate(
    data: Split, backbone: Backbone, items: ItemTable | None = None, augment: Place | None = None,
    select: Place | None = None, protect: Place | None = None, server: ServerOptimizer | None = None,
    local: LocalTraining | None = None, *, faults: Faults | None = None, clients_per_round: float = 1.0,
    sampling: str = "fixed", rounds: int = 100, seed: int = 0, executor: str = "vectorized", chunk: int | None = None,
    device: str = "auto", dtype: torch.dtype = torch.float32, evaluate_every: int = 1,
    ks: tuple[int, ...] = (5, 10, 20), best: str | None = None, checkpoint: str | Path | None = None,
    checkpoint_every: int = 10, resume: bool = False, max_memory: float | None = None,
    own_tables_in: str | Path | None = None, progress: bool = False,
) -> Result:  # fmt: skip
    """Train and evaluate a federated recommender, one client a user or, on a split with stores, one client a store.

    ``data`` is a split, e.g. ``load("ml-100k").leave_one_out(seed=0)``; ``backbone`` the model of one client;
    ``items``, ``augment``, ``select`` and ``protect`` the four places; ``local`` how a client trains; ``server``
    how the server steps, if not to the mean (:mod:`~fedlib.server.optimizers`).

    ``faults``: what goes wrong with clients, and the server's check of every upload
    (:class:`~fedlib.run.faults.Faults`). ``clients_per_round``: a share in (0, 1] or a whole number above 1.
    ``sampling``: "fixed" draws that many clients, "poisson" each client with that probability, so that their number
    varies and may be 0. ``executor``: "vectorized" trains ``chunk`` clients at once, in this process.
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
    items = items or ItemTable()
    places = zip(PLACES, (augment, select, items, protect), strict=True)
    run = Run(
        data=data, backbone=backbone, items=items, faults=faults, given_server=server,
        places={name: place for name, place in places if place is not None}, given_local=local or LocalTraining(),
        clients_per_round=clients_per_round, sampling=sampling, rounds=rounds, seed=seed, executor=executor,
        chunk=chunk, device=device, dtype=dtype, evaluate_every=evaluate_every, ks=ks, best=best,
        checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume, max_memory=max_memory,
        own_tables_in=own_tables_in, progress=progress,
    )  # fmt: skip
    run.check()
    world = prepare(run)
    for t in range(world.state.round, rounds):
        began = time.perf_counter()
        sums, columns = one_round(world, t)
        world.note(t, sums, columns, time.perf_counter() - began)
    return world.result()


def one_round(world: World, t: int) -> tuple[Sums, dict[str, Any]]:
    """Round t: send the model to the clients S_t, train them some at a time, add up what they send, and learn from it.

    Returns the sums, and what the history says beside them.
    """
    state, clients, places, network = world.state, world.clients, world.run.places, world.network
    chosen = network.answering(world.chosen(t), t)  # S_t
    messages = {name: place.broadcast(state.places[name], state, chosen) for name, place in places.items()}
    sums = world.empty_sums(t)
    clients.begin(state, chosen, world.ledger, t)
    for work in network.down(clients, state, world.groups(chosen), t):
        sent = call("client", BEFORE, places, work, messages, state)
        trained = clients.train(work)
        clients.keep(state, trained, t)
        sent += call("after", PLACES, places, work, messages, state)
        sent += call("client", ["protect"], places, work, messages, state)
        for upload in network.up(work, state):
            sums.add(upload, clients.model.aggregate_items, clients.model.aggregate_network)
            add_uploads(sent, upload.clients, sums)
    return sums, learn(world, messages, sums, t)


def learn(world: World, messages: Messages, sums: Sums, t: int) -> dict[str, Any]:
    """The server's half of round t: its step, and those of the places; returns what the history says of it."""
    state, places, network = world.state, world.run.places, world.network
    columns, sums.received, sums.informed = network.close(state), network.received, network.informed
    skipped = not network.enough(sums.clients)
    try:
        if not skipped:
            call_server("protect", places, sums, state)  # first, because it may have to unmask the sums
    except TooFewClients as err:
        skipped, columns["reasons"] = True, str(err)
    columns["skipped"] = skipped
    account(world.ledger, world.clients.model, state, messages, sums, t + 1)
    if skipped:
        return columns
    step(world, sums)
    for name in BEFORE:
        call_server(name, places, sums, state)
    for name, place in places.items():
        columns |= place.report(state.places[name] | state.memory[name])
    return columns


def step(world: World, sums: Sums) -> None:
    """The server's step: to the weighted mean of what it was sent, or as its optimiser says. No upload, no step."""
    state, server = world.state, world.run.server
    if not any(bool(weight.any()) for weight in sums.weight.values()):
        return
    for named in (state.tables, state.shared):
        for name, value in named.items():
            mean = weighted_mean(value, sums.delta[name], sums.weight[name])
            if server is None:
                named[name] = mean
            else:
                named[name] = server.step(name, value, mean, sums.weight[name], state.server, world.run.local.lr)
    if server is not None:
        state.server["steps"] += 1


def account(
    ledger: Ledger, model: Backbone, state: State, messages: dict[str, dict[str, Tensor]], sums: Sums, round: int
) -> None:
    """Enter what a round sent: the model and the places' messages down, its parts and the places' uploads up."""
    for name, value in {**state.tables, **state.shared}.items():
        ledger.record(round, "down", name, value, sums.received)
    for name, value in state.fixed.items():
        if sums.informed:
            ledger.record(round, "down", f"{name} (once)", value, sums.informed)
    for place, added in messages.items():
        for name, value in added.items():
            ledger.record(round, "down", f"{place}/{name}", value, sums.received)
    if sums.sent is not None:
        for tensor, shape, dtype, size in sums.sent:
            ledger.record_ragged(round, "up", tensor, shape, dtype, sums.clients, size * sums.clients)
        return
    for name, value in {**state.tables, **state.shared}.items():
        ledger.record(round, "up", name, value, sums.clients)
    for name, table in state.tables.items():
        if model.aggregate_items == "row":
            ledger.record(
                round, "up", f"{name} (rows touched)", torch.empty(len(table), dtype=torch.bool), sums.clients
            )
    if (state.tables and model.aggregate_items == "size") or (state.shared and model.aggregate_network == "size"):
        ledger.record(round, "up", "number of samples", torch.empty((), dtype=torch.int32), sums.clients)
    for name, total in sums.uploads.items():
        ledger.record(round, "up", name, total, sums.clients)
