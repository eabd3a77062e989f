"""What K clients do in a round: receive, train, keep what is theirs, and hold up what they are about to send."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib import rng
from fedlib.aggregate import Sums, client_weights
from fedlib.backbones.base import Backbone
from fedlib.cohort import Chunk, Slots, build
from fedlib.data.interactions import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.local import LocalTraining, Trained, train
from fedlib.model import received_params, received_rows, score
from fedlib.places import Work
from fedlib.state import State


@dataclass(frozen=True)
class Clients:
    """All clients of a run, as far as they stay the same from round to round; ``local`` leaves nothing open."""

    backbone: Backbone
    local: LocalTraining
    train: UserItems
    length: Tensor
    sampler: NegativeSampler
    slots: Slots
    seed: int


def receive(clients: Clients, state: State, group: Tensor, t: int) -> Work:
    """K clients with their positives and the model they were sent."""

    def received_score(items: Tensor) -> Tensor:
        return score(state, clients.backbone, group, items, personal=False)

    return Work(t, clients.seed, group, *clients.train.padded(group), received_score)


def train_locally(clients: Clients, state: State, work: Work) -> tuple[Chunk, Trained]:
    """Draw negatives and train; ``work.update`` then holds each client's difference to what it received."""
    chunk = build(
        work.clients, work.positives, work.count, sampler=clients.sampler, negatives=clients.local.negatives,
        slots=clients.slots, stream=rng.key(clients.seed, "negatives", work.round),
    )  # fmt: skip
    params, rows = received_params(state, chunk.clients), received_rows(state, chunk.clients, chunk.ids)
    trained = train(
        clients.backbone, _copies(params), _copies(rows), chunk, clients.local,
        seed=clients.seed, round=work.round,
    )  # fmt: skip
    work.clients = chunk.clients
    work.update = {name: torch.sub(trained.rows[name], rows[name], out=rows[name]) for name in state.tables}
    work.update |= {name: trained.params[name] - params[name] for name in state.shared}
    return chunk, trained


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def keep(state: State, chunk: Chunk, trained: Trained, t: int) -> None:
    """Store what never leaves the clients: private parameters, their own tables, their tuned copies."""
    real = chunk.real_rows
    for name, value in state.private.items():
        value[chunk.clients] = trained.params[name]
    for name, table in state.own_tables.items():
        table[chunk.clients[:, None].expand_as(chunk.ids)[real], chunk.ids[real]] = trained.rows[name][real]
    for name, kept in state.kept.items():
        kept.write(chunk.clients, chunk.ids, real, trained.rows[name], t)


def send(
    backbone: Backbone, state: State, chunk: Chunk, trained: Trained, update: dict[str, Tensor], sums: Sums
) -> None:
    """Add K clients' updates to the server's running sums."""
    size = chunk.count.to(trained.loss.dtype)
    rule = backbone.aggregate_items
    for name in state.tables:
        sums.add_table(name, chunk.ids, chunk.real_rows, update[name], client_weights(rule, size), by_row=rule == "row")
    for name in state.shared:
        sums.add_parameter(name, update[name], client_weights(backbone.aggregate_network, size))
    sums.loss += float(trained.loss.sum())
    sums.clients += len(chunk.clients)
