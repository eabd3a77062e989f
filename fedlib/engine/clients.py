"""What K clients do in a round: receive, train, keep what is theirs, and hold up what they are about to send."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.cohort import AllItems, LocalRows, draw_samples, lay_out
from fedlib.engine.reading import fixed_rows, prepared_params, received_rows
from fedlib.engine.received import Received
from fedlib.engine.state import State
from fedlib.engine.training import LocalTraining, train
from fedlib.server.ledger import Ledger
from fedlib.shapes import Chunk, Trained, Upload, Work


class Clients(Protocol):
    """All clients of a run: one a user (:class:`UserClients`), or one a store, with a graph of its own
    (:class:`~fedlib.stores.clients.StoreClients`) or a model a user (:class:`~fedlib.stores.users.StoreUsers`).

    ``length`` is each client's number of samples. A round begins with what the ``chosen`` clients do before any
    training. Then a group of K of them receives its :class:`Work`, with the state ``given`` to them, trains on it
    (``work`` then holds what each is about to send), and keeps what never leaves it.
    """

    @property
    def model(self) -> Backbone: ...
    @property
    def local(self) -> LocalTraining: ...
    @property
    def length(self) -> Tensor: ...
    @property
    def seed(self) -> int: ...
    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None: ...
    def receive(self, given: State, group: Tensor, t: int) -> Any: ...
    def train(self, work: Any) -> Any: ...
    def keep(self, state: State, trained: Any, t: int) -> None: ...


@dataclass(frozen=True)
class UserClients:
    """One client a user, as far as they stay the same from round to round; ``local`` leaves nothing open."""

    model: Backbone
    local: LocalTraining
    train_items: UserItems
    length: Tensor
    sampler: NegativeSampler
    slots: LocalRows | AllItems
    seed: int

    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None:
        """Open a version of the tables whose rows clients keep, and let clients learn of each other's where they do."""
        open_versions(state, t)
        if self.model.exchange is not None and len(chosen):
            edges = self.train_items.users, self.train_items.items, state.n_items
            news = self.model.exchange.learn(state.third_party, state.held, state.private, chosen, *edges, t)
            for sent in news:
                ledger.record_ragged(t + 1, *sent)

    def receive(self, given: State, group: Tensor, t: int) -> Work:
        """K clients with their positives and the model they were sent."""
        stream = rng.key(self.seed, "negatives", t)
        model = Received(given, self.model, group, self.train_items, self.sampler, self.local.negatives, stream)
        items, count = self.train_items.padded(group)
        return Work(t, self.seed, group, items, count, model.score, model=model, owned=items, owned_count=count,
                    positions=self.train_items.places(group), given=given)  # fmt: skip

    def train(self, work: Work) -> tuple[Chunk, Trained]:
        """Draw negatives, unless a selector has chosen among them, and train."""
        given = work.given
        work.reorder((work.count if work.samples is None else work.samples.count).argsort(stable=True))  # as the chunk
        samples = work.samples or draw_samples(
            work.clients, work.positives, work.count, self.sampler,
            0 if self.model.all_items else self.local.negatives, rng.key(self.seed, "negatives", work.round),
        )  # fmt: skip
        chunk = flip_labels(lay_out(work.clients, samples, self.slots), work.flipped)
        params = prepared_params(given, self.model, chunk.clients, chunk.ids, self.train_items)
        rows = received_rows(given, chunk.clients, chunk.ids)

        def descend(params: dict[str, Tensor], rows: dict[str, Tensor]) -> Trained:
            fixed = fixed_rows(given, chunk.ids)
            return train(self.model, params, rows, chunk, self.local, seed=self.seed, round=work.round, fixed=fixed)

        trained = self.model.train_clients(copies(params), copies(rows), chunk, descend)
        make_upload(given, work, chunk, trained, params, rows)
        work.trained = partial(work.received.score_trained, chunk, trained)
        return chunk, trained

    def keep(self, state: State, trained: tuple[Chunk, Trained], t: int) -> None:
        """Store what never leaves the clients: private parameters, their own tables, their tuned copies."""
        chunk, result = trained
        for name, value in state.private.items():
            value[chunk.clients] = result.params[name]
        keep_tables(state, chunk, result, t)


def open_versions(state: State, t: int) -> None:
    """Remember the tables that the clients of round t receive, where clients keep rows of them."""
    for name, kept in state.kept.items():
        kept.open_version(t, state.tables[name])


def flip_labels(chunk: Chunk, flipped: Tensor) -> Chunk:
    """The samples, with likes and dislikes exchanged for the clients that are among ``flipped``."""
    if len(flipped) == 0:
        return chunk
    liars = torch.isin(chunk.clients, flipped)[:, None]
    return replace(chunk, label=torch.where(liars, 1 - chunk.label, chunk.label))


def make_upload(
    given: State, work: Upload, chunk: Chunk, trained: Trained, params: dict[str, Tensor], rows: dict[str, Tensor]
) -> None:
    """Write into ``work`` what K clients are about to send: how far they are from the ``params`` and ``rows`` they
    received. The memory of ``rows`` is used for that."""
    work.update = {name: torch.sub(trained.rows[name], rows[name], out=rows[name]) for name in given.tables}
    work.update |= {name: trained.params[name] - params[name] for name in given.shared}
    work.clients, work.ids, work.real = chunk.clients, chunk.ids, chunk.real_rows
    work.size, work.loss = chunk.count.to(trained.loss.dtype), trained.loss
    work.tables, work.n_items = tuple(given.tables), given.n_items


def keep_tables(state: State, chunk: Chunk, result: Trained, t: int) -> None:
    """Store the rows of K clients' own tables and of their tuned copies."""
    real = chunk.real_rows
    for name, table in state.own_tables.items():
        table[chunk.clients[:, None].expand_as(chunk.ids)[real], chunk.ids[real]] = result.rows[name][real]
    for name, kept in state.kept.items():
        kept.write(chunk.clients, chunk.ids, real, result.rows[name], t)


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of each tensor, in one piece."""
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
