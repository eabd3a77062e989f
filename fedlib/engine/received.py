"""What a client can see of the model it was sent before it trains: what a selector of samples judges them by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.cohort import draw_samples
from fedlib.engine.reading import (
    RowsOf,
    client_rows,
    fixed_rows,
    prepared,
    prepared_params,
    read_rows,
    received_params,
    received_rows,
    score,
)
from fedlib.engine.state import State
from fedlib.errors import InputError
from fedlib.scatter import find, take_rows
from fedlib.shapes import Chunk, Rows, Samples, Trained

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Received:
    """The model that K ``clients`` (K,) were sent, with their private parts, in evaluation mode: nothing is dropped.

    ``own`` are all users' training items; ``number`` negatives a positive come from ``sampler`` and ``stream``.
    """

    state: State
    model: Backbone
    clients: Tensor
    own: UserItems
    sampler: NegativeSampler
    number: int
    stream: int

    def of(self, clients: Tensor) -> Received:
        """The model as other clients have it."""
        return replace(self, clients=clients)

    def score(self, items: Tensor) -> Tensor:
        """Logits (K, C) for items (K, C)."""
        return score(self.state, self.model, self.clients, items, self.own, personal=False)

    def vectors(self, items: Tensor) -> Tensor:
        """The vectors (K, C, d) that are read of items (K, C), of a model that reads one table."""
        params = received_params(self.state, self.clients)
        with torch.no_grad():
            rows = client_rows(self.state, self.model, params, self.clients, items, self.own, personal=False)
        return rows[only_table(self.model)]

    def score_vectors(self, vectors: Tensor) -> Tensor:
        r"""Logits (K, J) for vectors (J, d) that stand where an item's would: :math:`W_g(u, p_j)` of FedSLLM's Eq. 9.

        Everything else is the client's own: :math:`p_u^\top e_j` for FedMF, the tower on :math:`[p_u; e_j]` for FedNCF,
        the private score function for PFedRec. For FedPerGNN the vector is an item without neighbours that nobody has,
        so :math:`\tilde q = e_j`.
        """
        table = only_table(self.model)
        nobodys = torch.full((len(self.clients), len(vectors)), -1, device=self.clients.device)
        params = prepared_params(self.state, self.model, self.clients, nobodys, self.own)
        like = next(iter((self.state.tables | self.state.own_tables).values()))
        with torch.no_grad():
            return self.model.logits(params, {table: vectors.to(like).expand(len(self.clients), -1, -1)})

    def features(self, items: Tensor) -> Tensor:
        """x_i = [p_u; q_i] for items (K, C), or q_i where the model has no user vector: (K, C, f)."""
        q = self.vectors(items)
        if "user" not in self.state.private:
            return q
        p = self.state.private["user"][self.clients]
        return torch.cat([p[:, None].expand(-1, q.shape[1], -1), q], dim=2)

    def samples(self, positives: Tensor, count: Tensor) -> Samples:
        """The samples that this round's training draws for positives (K, P), the first ``count[k]`` real."""
        return draw_samples(self.clients, positives, count, self.sampler, self.number, self.stream)

    def values(self) -> Values:
        """All a client could train, by name: its parameters (K, ...) and whole item tables (K, n, d)."""
        served = {name: table.expand(len(self.clients), -1, -1) for name, table in self.state.tables.items()}
        own = {name: table[self.clients] for name, table in self.state.own_tables.items()}
        return received_params(self.state, self.clients) | served | own

    def logits(self, values: Values, items: Tensor) -> Tensor:
        """Logits (K, C) for items (K, C) with other :meth:`values`, as a function that can be differentiated."""
        tables = {name: values[name] for name in self.model.tables}
        params = {name: value for name, value in values.items() if name not in tables}
        return self._logits(params, partial(rows_of, tables), tables, items)

    def score_trained(self, chunk: Chunk, trained: Trained, items: Tensor) -> Tensor:
        """Logits (K, C) of the ``trained`` model for items (K, C); rows it has not touched are those received."""

        def tuned(wanted: Tensor) -> Rows:
            place = find(chunk.ids, chunk.n_rows, wanted)
            touched, at = (place >= 0)[:, :, None], place.clamp(min=0)
            rows = received_rows(self.state, self.clients, wanted)
            return {name: torch.where(touched, take_rows(trained.rows[name], at), row) for name, row in rows.items()}

        params = {name: trained.params[name] for name in (*self.state.private, *self.state.shared)}
        every = torch.arange(self.state.n_items, device=items.device).expand(len(items), -1)
        with torch.no_grad():
            tables = dict(tuned(every)) if self.model.prepares else {}
            return self._logits(params, tuned, tables, items)

    def _logits(self, params: Values, stored: RowsOf, tables: Values, items: Tensor) -> Tensor:
        """Scores of items (K, C) whose stored rows ``stored`` gives; ``tables`` (K, n, d) are these of all items."""
        lists = self.own.padded(self.clients)
        if self.model.prepares:
            params = prepared(self.state, self.model, params, tables, self.clients, items, self.own)
        fixed = partial(fixed_rows, self.state)
        return self.model.logits(params, read_rows(self.model, params, stored, fixed, items, *lists))


def only_table(model: Backbone) -> str:
    """The name of the one item table that is read. Raises InputError where the model reads more than one."""
    if len(model.reads) > 1:
        names = " and ".join(model.reads)
        raise InputError(
            f"{type(model).__name__} reads {len(model.reads)} item tables ({names}), and this selector needs "
            "the one vector of an item: choose a backbone with one table."
        )
    return next(iter(model.reads))


def rows_of(tables: Values, items: Tensor) -> Rows:
    """Rows (K, C, d) of K clients' tables (K, n, d) for items (K, C)."""
    return {name: take_rows(table, items) for name, table in tables.items()}
