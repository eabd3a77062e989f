"""Clients that are stores: each trains on the graph of its own users' interactions, one store at a time.

Shape letters: J stores, U users of a store, n items, B triples in a batch, E edges of the global log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, cast

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.backbones.graph import Graph
from fedlib.backbones.triples import Triples, draw_triples
from fedlib.data.interactions import Split
from fedlib.data.log import Stores, UserItems
from fedlib.engine.optimizers import SGD, Adam
from fedlib.engine.state import State
from fedlib.engine.training import LocalTraining
from fedlib.places import Outside
from fedlib.server.ledger import Ledger
from fedlib.stores.values import store_values
from fedlib.stores.work import Samplers, StoreWork


class GraphModel(Protocol):
    """What a backbone whose clients are stores has besides: ``loss`` of a batch of triples, the final ``vectors`` of
    users and items, and the most steps a store takes in a round."""

    @property
    def max_steps(self) -> int: ...
    def loss(self, values: dict[str, Tensor], graph: Graph, triples: Triples, stream: int) -> Tensor: ...
    def vectors(self, values: dict[str, Tensor], graph: Graph) -> tuple[Tensor, Tensor]: ...


def graph_model(model: Backbone) -> GraphModel:
    """The same backbone, as one of a whole store."""
    return cast("GraphModel", model)


@dataclass(frozen=True)
class StoreTrained:
    """What a store holds after local training: the values of its ``nodes``, and which outside edges have joined."""

    work: StoreWork
    values: dict[str, Tensor]
    nodes: Tensor
    joined: Tensor | None


@dataclass(frozen=True)
class OneByOne:
    """One client a store; ``local`` leaves nothing open, ``length`` (J,) is each store's number of interactions.

    ``samplers`` draw negatives by what a store may know. What joins from outside comes from the global log (``log``).
    """

    model: Backbone
    local: LocalTraining
    train_items: UserItems
    stores: Stores
    length: Tensor
    samplers: Samplers
    seed: int
    log: UserItems | None = None

    def receive(self, given: State, group: Tensor, t: int) -> StoreWork:
        """One store with its users' interactions."""
        store = int(group)
        users = self.stores.users(store).to(group.device)
        edges = self.train_items.of_users(users)
        return StoreWork(t, self.seed, group, store, users, edges, given, self.samplers, self.log)


class StoreClients(OneByOne):
    """Stores that train a model of all their users, who are nodes of one graph."""

    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None:
        """Stores do nothing before they train."""

    def train(self, work: StoreWork) -> StoreTrained:
        """ceil(edges / batch) steps an epoch, at most the model's ``max_steps``, with a new optimiser."""
        local, given = self.local, work.given
        nodes, sampler = work.nodes(), self.samplers.of(work)
        received = all_values(given, self.model, work.store, work.users, nodes[len(work.users) :])
        values = {name: value.clone() for name, value in received.items()}
        first = None if work.outside is None else work.outside.draw(0)
        size = len(work.training_edges(nodes, first).items)
        steps = min(local.epochs * -(-size // local.batch), graph_model(self.model).max_steps)
        optimizer = new_optimizer(self.model, values, local, work.round)
        total, joined = torch.zeros((), dtype=torch.float64, device=given.device), first
        for joined, part in stretches(work, steps):
            edges = work.training_edges(nodes, joined)
            graph = Graph.of(edges, nodes, given.n_items)
            counters = [(work.seed, work.store, work.round, step) for step in part]
            triples = [draw_triples(edges, nodes, sampler, local.batch, *names) for names in counters]
            graphs = graph.with_each(torch.stack([some.negatives for some in triples]))
            for grown, some, names in zip(graphs, triples, counters, strict=True):
                total += descend(self.model, values, grown, some, optimizer, *names).double()
        work.update = {name: (values[name] - received[name])[None] for name in (*given.tables, *given.shared)}
        work.ids = torch.arange(given.n_items, device=given.device)[None]  # every item's row is sent
        work.real = torch.ones_like(work.ids, dtype=torch.bool)
        work.size = self.length[work.clients].to(next(iter(values.values())).dtype)
        work.tables, work.n_items = tuple(given.tables), given.n_items
        work.loss = (total / steps)[None]
        return StoreTrained(work, values, nodes, joined)

    def keep(self, state: State, trained: StoreTrained, t: int) -> None:
        """Store what never leaves the store: its users' vectors, its copies of others', and all it does not share."""
        work = trained.work
        for name, value in state.private.items():
            if self.model.owner(name) == "user":
                keep_users(state, name, work, trained.nodes, trained.values[name])
            else:
                value[work.clients] = trained.values[name][None]
        for name, table in state.own_tables.items():
            table[work.clients] = trained.values[name][None]
        keep_joined(state, work, trained.joined)


def stretches(work: StoreWork, steps: int) -> Iterator[tuple[Tensor | None, list[int]]]:
    """The steps of a round, those in a row together that train on the same edges; which outside edges join in them."""
    if work.outside is None:
        yield None, list(range(steps))
        return
    drawn = [(work.outside.draw(step), step) for step in range(steps)]
    for _, part in groupby(drawn, key=lambda pair: id(pair[0])):
        same = list(part)
        yield same[0][0], [step for _, step in same]


def keep_users(state: State, name: str, work: StoreWork, nodes: Tensor, values: Tensor) -> None:
    """Store parameter ``name`` of a store's ``nodes``, (U + G, ...): its own users', and its copies of strangers'."""
    n = len(work.users)
    state.private[name][work.users] = values[:n]
    if len(nodes) > n:
        state.guests[name][work.store, nodes[n:]] = values[n:]


def keep_joined(state: State, work: StoreWork, joined: Tensor | None) -> None:
    """Remember which edges of the global log a store has trained on."""
    if joined is not None:
        state.joined["edges"][work.store] = joined


def all_values(state: State, model: Backbone, store: int, users: Tensor, strangers: Tensor) -> dict[str, Tensor]:
    """All a store has in its hands: item tables, and :func:`~fedlib.stores.values.store_values`."""
    own = {name: table[store] for name, table in state.own_tables.items()}
    return state.tables | store_values(state, model, store, users, strangers) | own


def new_optimizer(model: Backbone, values: dict[str, Tensor], local: LocalTraining, round: int) -> SGD | Adam:
    """The rule of ``local`` over ``values``, which it updates in place; item tables have their own learning rate."""
    rule: type[SGD] | type[Adam] = Adam if local.optimizer == "adam" else SGD
    leaves: dict[str, dict[str, Tensor]] = {"network": {}, "items": {}}
    for name, value in values.items():
        leaves["items" if name in model.tables else "network"][name] = value[None]
    return rule(leaves, local.rates(round), 0.0)


def descend(
    model: Backbone, values: dict[str, Tensor], graph: Graph, triples: Triples, optimizer: SGD | Adam, *counters: int
) -> Tensor:
    """One step on a batch of triples, all of whose items are in the graph; returns its mean loss before the step.

    ``counters`` name the dropout's draws.
    """
    stream = rng.key(counters[0], "graph dropout", *counters[1:])
    leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
    loss = graph_model(model).loss(leaves, graph, triples, stream)
    loss.backward()
    gradients: dict[str, dict[str, Tensor]] = {"network": {}, "items": {}}
    for name, leaf in leaves.items():
        assert leaf.grad is not None  # every value reaches the loss
        gradients["items" if name in model.tables else "network"][name] = leaf.grad[None]
    optimizer.step(gradients, ("network", "items"), 0)
    return loss.detach()


def store_graph(state: State, data: Split, store: int) -> tuple[Tensor, Tensor, UserItems]:
    """A store's users (U,), the strangers (G,) it has edges of, and the edges it ranks by: its own and the joined."""
    assert data.stores is not None
    members = data.stores.users(store).to(state.device)
    own = data.train.to(state.device).of_users(members)
    if data.global_log is None or "edges" not in state.joined:
        return members, members[:0], own
    joined = data.global_log.to(state.device).where(state.joined["edges"][store])
    samplers = Samplers(own, state.n_items)
    work = StoreWork(0, 0, members.new_tensor([store]), store, members, own, state, samplers)
    everybody = torch.arange(joined.n_users, device=state.device)
    all_of_them = torch.ones_like(joined.items, dtype=torch.bool)
    work.outside = Outside(everybody, joined, lambda step: all_of_them)
    nodes = work.nodes()
    return members, nodes[len(members) :], work.training_edges(nodes, all_of_them)


def store_scorer(state: State, model: Backbone, data: Split, store: int) -> Callable[[Tensor, Tensor | None], Tensor]:
    """How one store ranks for its users: logits of users (B,) for items (B, C), or for all n items, (B, n)."""
    members, strangers, edges = store_graph(state, data, store)
    graph = Graph.of(edges, torch.cat([members, strangers]), state.n_items)
    user_vectors, item_vectors = graph_model(model).vectors(all_values(state, model, store, members, strangers), graph)

    def score(users: Tensor, items: Tensor | None = None) -> Tensor:
        w = user_vectors[torch.searchsorted(members, users.to(state.device))]
        wanted = None if items is None else item_vectors[items.to(state.device)]
        return w @ item_vectors.T if wanted is None else torch.einsum("bd,bcd->bc", w, wanted)

    return score
