"""Clients that are stores: each trains on the graph of its own users' interactions, one store at a time.

Shape letters: J stores, U users of a store, n items, B triples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.graph import Graph
from fedlib.backbones.ngcf import FedNGCF, Triples, Values, draw_triples
from fedlib.data.interactions import Split
from fedlib.data.log import Stores, UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.optimizers import SGD, Adam
from fedlib.engine.state import State
from fedlib.engine.training import LocalTraining
from fedlib.server.ledger import Ledger
from fedlib.shapes import EMPTY


@dataclass
class StoreWork:
    """What a store has before it while a round passes through the places.

    clients (1,) is the store; users (U,) are its users, and row u of ``edges`` are the training items of ``users[u]``.
    After local training ``update`` holds what the store is about to send: ``{"item": (1, n, d), "w1.0": (1, d, d)}``,
    with ``ids``, ``real``, ``size`` and ``loss`` as in :class:`~fedlib.shapes.Work`.
    """

    round: int
    seed: int
    clients: Tensor
    users: Tensor
    edges: UserItems
    update: dict[str, Tensor] = field(default_factory=dict)
    ids: Tensor = EMPTY
    real: Tensor = EMPTY
    size: Tensor = EMPTY
    loss: Tensor = EMPTY
    tables: tuple[str, ...] = ()
    n_items: int = 0
    flipped: Tensor = EMPTY


@dataclass(frozen=True)
class StoreTrained:
    """What a store holds after local training."""

    work: StoreWork
    values: Values


@dataclass(frozen=True)
class StoreClients:
    """One client a store; ``local`` leaves nothing open, ``length`` (J,) is each store's number of interactions."""

    backbone: FedNGCF
    local: LocalTraining
    train_items: UserItems
    stores: Stores
    length: Tensor
    sampler: NegativeSampler
    seed: int

    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None:
        """Stores do nothing before they train."""

    def receive(self, state: State, group: Tensor, t: int) -> StoreWork:
        """One store with its users' interactions."""
        users = self.stores.users(int(group)).to(group.device)
        return StoreWork(t, self.seed, group, users, self.train_items.of_users(users))

    def train(self, state: State, work: StoreWork) -> StoreTrained:
        """ceil(interactions / batch) steps an epoch, at most the backbone's ``max_steps``, with a new optimiser."""
        store, local = int(work.clients), self.local
        received = store_values(state, self.backbone, store, work.users)
        values = {name: value.clone() for name, value in received.items()}
        graph = Graph.of(work.edges, work.users, state.n_items)
        steps = min(local.epochs * -(-len(work.edges.items) // local.batch), self.backbone.max_steps)
        optimizer = new_optimizer(self.backbone, values, local, work.round)
        counters = [(work.seed, store, work.round, step) for step in range(steps)]
        triples = [draw_triples(work.edges, work.users, self.sampler, local.batch, *names) for names in counters]
        graphs = graph.with_each(torch.stack([some.negatives for some in triples]))
        losses = [
            descend(self.backbone, values, grown, some, optimizer, *names)
            for grown, some, names in zip(graphs, triples, counters, strict=True)
        ]
        work.update = {name: (values[name] - received[name])[None] for name in (*state.tables, *state.shared)}
        work.ids = torch.arange(state.n_items, device=state.device)[None]  # every item's row is sent
        work.real = torch.ones_like(work.ids, dtype=torch.bool)
        work.size = self.length[work.clients].to(next(iter(values.values())).dtype)
        work.tables, work.n_items = tuple(state.tables), state.n_items
        work.loss = torch.tensor([sum(torch.stack(losses).tolist()) / steps], dtype=torch.float64, device=state.device)
        return StoreTrained(work, values)

    def keep(self, state: State, trained: StoreTrained, t: int) -> None:
        """Store what never leaves the store: its users' vectors, and all it does not share."""
        work = trained.work
        for name, value in state.private.items():
            if self.backbone.is_per_user(name):
                value[work.users] = trained.values[name]
            else:
                value[work.clients] = trained.values[name][None]
        for name, table in state.own_tables.items():
            table[work.clients] = trained.values[name][None]


def store_values(state: State, backbone: FedNGCF, store: int, users: Tensor) -> Values:
    """All a store has in its hands: what it received, what it keeps, and the vectors of its ``users`` (U, d)."""
    own = {name: value[users if backbone.is_per_user(name) else store] for name, value in state.private.items()}
    return state.tables | state.shared | own | {name: table[store] for name, table in state.own_tables.items()}


def new_optimizer(backbone: FedNGCF, values: Values, local: LocalTraining, round: int) -> SGD | Adam:
    """The rule of ``local`` over ``values``, which it updates in place; item tables have their own learning rate."""
    rule: type[SGD] | type[Adam] = Adam if local.optimizer == "adam" else SGD
    lr_items = local.lr if local.lr_items is None else local.lr_items
    rates = {name: lr * local.lr_decay**round for name, lr in (("network", local.lr), ("items", lr_items))}
    leaves: dict[str, dict[str, Tensor]] = {"network": {}, "items": {}}
    for name, value in values.items():
        leaves["items" if name in backbone.tables else "network"][name] = value[None]
    return rule(leaves, rates, 0.0)


def descend(
    backbone: FedNGCF, values: Values, graph: Graph, triples: Triples, optimizer: SGD | Adam, *counters: int
) -> Tensor:
    """One step on a batch of triples, all of whose items are in the graph; returns its mean loss before the step.

    ``counters`` name the dropout's draws.
    """
    stream = rng.key(counters[0], "graph dropout", *counters[1:])
    leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
    loss = backbone.loss(leaves, graph, triples, stream)
    loss.backward()
    gradients: dict[str, dict[str, Tensor]] = {"network": {}, "items": {}}
    for name, leaf in leaves.items():
        assert leaf.grad is not None  # every value reaches the loss
        gradients["items" if name in backbone.tables else "network"][name] = leaf.grad[None]
    optimizer.step(gradients, ("network", "items"), 0)
    return loss.detach()


def store_scorer(state: State, backbone: FedNGCF, data: Split, store: int) -> Callable[[Tensor, Tensor | None], Tensor]:
    """How one store ranks for its users: logits of users (B,) for items (B, C), or for all n items, (B, n)."""
    assert data.stores is not None
    device = state.device
    members = data.stores.users(store).to(device)
    graph = Graph.of(data.train.to(device).of_users(members), members, state.n_items)
    user_vectors, item_vectors = backbone.vectors(store_values(state, backbone, store, members), graph)

    def score(users: Tensor, items: Tensor | None = None) -> Tensor:
        w = user_vectors[torch.searchsorted(members, users.to(device))]
        return w @ item_vectors.T if items is None else torch.einsum("bd,bcd->bc", w, item_vectors[items.to(device)])

    return score
