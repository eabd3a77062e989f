"""Reading a state: which parameters and item rows a client has in its hands, and the scores they give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import embedding

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.engine.composed import own_weights
from fedlib.engine.state import State
from fedlib.shapes import Rows

RowsOf = Callable[[Tensor], Rows]  # items (K, C) -> rows (K, C, ...)


def received_params(state: State, clients: Tensor) -> dict[str, Tensor]:
    """The parameters K clients start a round with, (K, ...): their private ones and a view of the shared ones."""
    private = {name: value[clients] for name, value in state.private.items()}
    shared = {name: value.expand(len(clients), *value.shape) for name, value in state.shared.items()}
    return private | shared


def received_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients start a round with, for items (K, R): the server's and their own -> (K, R, d)."""
    served = {name: embedding(items, table) for name, table in state.tables.items()}
    return served | own_rows(state, clients, items)


def personal_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The item rows K clients recommend with: like :func:`received_rows`, but kept rows before the server's."""
    served = {
        name: state.kept[name].read(clients, items) if name in state.kept else embedding(items, table)
        for name, table in state.tables.items()
    }
    return served | own_rows(state, clients, items)


def own_rows(state: State, clients: Tensor, items: Tensor) -> dict[str, Tensor]:
    """The rows of K clients' own tables for items (K, R), gathered as rows of one long table: that is fastest."""
    place = clients[:, None] * state.n_items + items
    return {name: embedding(place, table.flatten(0, 1)) for name, table in state.own_tables.items()}


def fixed_rows(state: State, items: Tensor) -> dict[str, Tensor]:
    """The fixed features of items (K, C), (K, C, f)."""
    return {name: embedding(items, value) for name, value in state.fixed.items()}


def read_rows(
    model: Backbone, params: dict[str, Tensor], rows_of: RowsOf, fixed_of: RowsOf, items: Tensor,
    positives: Tensor, count: Tensor, encoded_of: RowsOf | None = None,
) -> Rows:  # fmt: skip
    """What K clients with ``params`` read of items (K, C), of which ``rows_of`` gives the stored rows: (K, C, d).

    positives (K, P), the first ``count[k]`` real, are a client's own items, which the reading may depend on.
    ``encoded_of`` gives rows that have gone through the shared part of it already.
    """
    if not model.mixes:
        return rows_of(items)
    both = torch.cat([positives, items], 1)
    encoded = None if encoded_of is None else encoded_of(both)
    stored = rows_of(both) if encoded is None or model.meeting.keeps_rows else {}
    fixed = fixed_of(both) if encoded is None else {}
    own = own_weights(positives, count, items.shape[1], encoded or stored)
    read = model.read(params, {**fixed, **stored}, own, encoded)
    return {name: q[:, positives.shape[1] :] for name, q in read.items()}


def prepared_params(
    state: State, model: Backbone, clients: Tensor, items: Tensor, own: UserItems, *, personal: bool = False
) -> dict[str, Tensor]:
    """:func:`received_params` after K clients have worked out what they can from their ``own`` items.

    ``items`` (K, R) are those whose rows they are about to train or score; ``personal``: with the rows they recommend
    with.
    """
    params = received_params(state, clients)
    if not model.prepares:
        return params
    if model.mixes or (personal and state.kept):
        every = torch.arange(state.n_items, device=clients.device).expand(len(clients), -1)
        tables = dict(client_rows(state, model, params, clients, every, own, personal=personal))
    else:
        tables = state.tables | {name: table[clients] for name, table in state.own_tables.items()}
    return prepared(state, model, params, tables, clients, items, own)


def prepared(
    state: State, model: Backbone, params: dict[str, Tensor], tables: dict[str, Tensor], clients: Tensor,
    items: Tensor, own: UserItems,
) -> dict[str, Tensor]:  # fmt: skip
    """What K clients work out from given ``params`` (K, ...) and ``tables`` (n, d) or (K, n, d)."""
    if state.held:
        place = own.places(clients)
        params = params | {name: value[place] for name, value in state.held.items()}
    return model.prepare(params, tables, *own.padded(clients), items)


def client_rows(
    state: State, model: Backbone, params: dict[str, Tensor], clients: Tensor, items: Tensor, own: UserItems,
    *, personal: bool, encoded: Encoded | None = None,
) -> Rows:  # fmt: skip
    """What K clients read of items (K, C), as they were sent or, ``personal``, as they recommend."""
    rows_of = partial(personal_rows if personal else received_rows, state, clients)
    if not model.mixes:
        return rows_of(items)
    encoded_of = None if encoded is None else partial(encoded.rows, clients)
    return read_rows(model, params, rows_of, partial(fixed_rows, state), items, *own.padded(clients), encoded_of)


def score(
    state: State, model: Backbone, clients: Tensor, items: Tensor, own: UserItems, *, personal: bool = True,
    encoded: Encoded | None = None,
) -> Tensor:  # fmt: skip
    """Logits (K, C) of K clients for items (K, C), without dropout; ``own`` are all users' training items."""
    with torch.no_grad():
        params = prepared_params(state, model, clients, items, own, personal=personal)
        rows = client_rows(state, model, params, clients, items, own, personal=personal, encoded=encoded)
        return model.logits(params, rows)


def score_all(
    state: State, model: Backbone, clients: Tensor, own: UserItems, *, block: int = 4096,
    encoded: Encoded | None = None,
) -> Tensor:  # fmt: skip
    """Logits (K, n) of K clients for all n items, ``block`` items at a time."""
    items = torch.arange(state.n_items, device=clients.device)
    parts = [
        score(state, model, clients, part.expand(len(clients), -1), own, encoded=encoded) for part in items.split(block)
    ]
    return torch.cat(parts, dim=1)


class Encoded:
    """All n items after the part of the reading that all clients share, made once for an evaluation.

    Clients who keep rows of their own have these worked out anew, over the server's table that their rows were cut
    from.
    """

    def __init__(self, state: State, model: Backbone) -> None:
        self.state, self.model = state, model
        self.shared = {name: value[None] for name, value in state.shared.items()}
        self.versions: dict[int | None, Rows] = {}

    @classmethod
    def of(cls, state: State, model: Backbone) -> Encoded | None:
        """None where there is nothing that all clients share: items are read as stored, or tables are the clients'."""
        return cls(state, model) if model.mixes and not state.own_tables else None

    def rows(self, clients: Tensor, items: Tensor) -> Rows:
        """The encoded rows that K clients recommend with, items (K, C) -> (K, C, ...)."""
        if not self.state.kept:
            return {name: embedding(items, value) for name, value in self.whole(None).items()}
        kept = next(iter(self.state.kept.values()))  # all are written in the same rounds
        version = kept.version[clients]
        out: dict[str, Tensor] = {}
        for v in version.unique().tolist():
            here = version == v
            for name, value in self.whole(v).items():
                at = out.setdefault(name, value.new_empty(*items.shape, *value.shape[1:]))
                at[here] = embedding(items[here], value)
        known, _ = kept.own(clients, items)  # (K, C)
        which = items[known]
        if len(which):
            rows = {name: embedding(which, table) for name, table in {**self.state.fixed, **self.state.tables}.items()}
            rows |= {name: kept.own(clients, items)[1] for name, kept in self.state.kept.items()}  # (M, ...)
            fresh = self.model.encode_rows(self.shared, {name: value[None] for name, value in rows.items()})
            for name, value in fresh.items():
                out[name][known] = value[0]
        return out

    def whole(self, version: int | None) -> Rows:
        """All n items, from the server's tables or from an earlier ``version`` of those that clients keep rows of."""
        if version not in self.versions:
            state = self.state
            tables = {
                name: state.kept[name].versions[version] if version is not None and name in state.kept else table
                for name, table in state.tables.items()
            }
            rows = {name: value[None] for name, value in {**state.fixed, **tables}.items()}
            encoded = self.model.encode_rows(self.shared, rows)
            self.versions[version] = {name: value[0] for name, value in encoded.items()}
        return self.versions[version]
