"""Stores that train the model of one user for all their users: one copy of what is shared, a private part a user.

Shape letters: J stores, U users of a store, E their interactions, c negatives a positive, R item rows, n items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.data.log import Stores, UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.clients import copies, flip_labels, keep_tables, make_upload
from fedlib.engine.reading import personal_rows, received_rows
from fedlib.engine.state import State
from fedlib.engine.training import LocalTraining, train
from fedlib.server.ledger import Ledger
from fedlib.shapes import Chunk, Pairs, Trained
from fedlib.stores.clients import StoreWork
from fedlib.stores.pairs import StoreModel

PAIRS = 1 << 16  # scored at once


@dataclass(frozen=True)
class StoreUsers:
    """One client a store; ``local`` leaves nothing open, ``length`` (J,) is each store's number of interactions.

    A store trains on the samples of all its users together, shuffled, in batches of ``local.batch`` pairs of a user and
    an item: its users' vectors, and one copy of the item rows and of the network. It sends that copy, once for all.
    """

    backbone: Backbone
    local: LocalTraining
    train_items: UserItems
    stores: Stores
    length: Tensor
    sampler: NegativeSampler
    seed: int

    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None:
        """Open a version of the tables whose rows stores keep. What users tell each other stays inside their store."""
        for name, kept in state.kept.items():
            kept.open_version(t, state.tables[name])

    def receive(self, state: State, group: Tensor, t: int) -> StoreWork:
        """One store with its users' interactions."""
        users = self.stores.users(int(group)).to(group.device)
        return StoreWork(t, self.seed, group, users, self.train_items.of_users(users))

    def train(self, state: State, work: StoreWork) -> tuple[StoreWork, Chunk, Trained]:
        """Draw negatives and train."""
        stream = rng.key(self.seed, "negatives", work.round)
        chunk, edges = store_samples(work, self.sampler, self.local.negatives, state.n_items, stream)
        chunk = flip_labels(chunk, work.flipped)
        params = store_params(state, self.backbone, int(work.clients), work.users, edges, chunk.ids.shape[1])
        params = {name: value[None] for name, value in params.items()}
        rows = received_rows(state, chunk.clients, chunk.ids)
        trained = train(
            StoreModel(self.backbone), copies(params), copies(rows), chunk, self.local,
            seed=self.seed, round=work.round,
        )  # fmt: skip
        make_upload(state, work, chunk, trained, params, rows)
        return work, chunk, trained

    def keep(self, state: State, trained: tuple[StoreWork, Chunk, Trained], t: int) -> None:
        """Store what never leaves the store: its users' parameters, all it does not share, its tuned copies."""
        work, chunk, result = trained
        for name, value in state.private.items():
            theirs = result.params[name]  # (1, U, ...) or (1, ...)
            if self.backbone.is_of_user(name):
                value[work.users] = theirs[0]
            else:
                value[work.clients] = theirs
        keep_tables(state, chunk, result, t)


def store_samples(
    work: StoreWork, sampler: NegativeSampler, negatives: int, n_items: int, stream: int
) -> tuple[Chunk, UserItems]:
    """The samples of a store's users as those of one client, and its interactions with rows for items.

    Each user's negatives and each sample's identity are what they would be if the user were a client, but for the
    user's number in the identity. The local row of a sample is ``user * R + row`` (:class:`StoreModel`).
    """
    edges, sample = work.edges, torch.arange(negatives + 1, device=work.users.device)
    users, positives = work.users[edges.users][:, None], edges.items[:, None]
    drawn = sampler.draw(stream, users, positives * negatives + sample[:-1])
    ids, row = torch.cat([positives, drawn], dim=1).unique(return_inverse=True)  # row (E, c+1)
    identity = (users * n_items + positives) * (negatives + 1) + sample
    local = edges.users[:, None] * len(ids) + row
    label = (sample == 0).float().expand(row.shape)
    count, n_rows = (torch.full_like(work.clients, x) for x in (row.numel(), len(ids)))
    flat = {name: x.reshape(1, -1) for name, x in {"sample": identity, "label": label, "local": local}.items()}
    chunk = Chunk(clients=work.clients, count=count, **flat, ids=ids[None], n_rows=n_rows)
    return chunk, UserItems(edges.indptr, row[:, 0].contiguous())


def store_params(
    state: State, backbone: Backbone, store: int, users: Tensor, edges: UserItems, n_rows: int
) -> dict[str, Tensor]:
    """What a store trains and scores with besides item rows: (U, ...) where every user has its own.

    ``edges`` are the interactions of its ``users`` (U,), with rows from 0 to ``n_rows`` - 1 for items.
    """
    own = {name: value[users if backbone.is_of_user(name) else store] for name, value in state.private.items()}
    return backbone.in_store(own | state.shared, edges, n_rows)


def store_users_scorer(
    state: State, backbone: Backbone, data: Split, store: int
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """How one store ranks for its users: logits of users (B,) for items (B, C), or for all n items, (B, n)."""
    assert data.stores is not None
    members, n = data.stores.users(store).to(state.device), state.n_items
    everything = torch.arange(n, device=state.device)
    rows = personal_rows(state, torch.tensor([store], device=state.device), everything[None])
    rows = {name: q[0] for name, q in rows.items()}
    params = store_params(state, backbone, store, members, data.train.to(state.device).of_users(members), n)

    def score(users: Tensor, items: Tensor | None = None) -> Tensor:
        who = torch.searchsorted(members, users.to(state.device))
        wanted = everything.expand(len(who), -1) if items is None else items.to(state.device)
        both = [x.reshape(-1).split(PAIRS) for x in (who[:, None].expand_as(wanted), wanted)]
        with torch.no_grad():
            parts = [backbone.pair_logits(params, rows, Pairs(*part)) for part in zip(*both, strict=True)]
        return torch.cat(parts).view(wanted.shape)

    return score
