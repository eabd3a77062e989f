"""Stores that train the model of one user for all their users: one copy of what is shared, a private part a user.

Shape letters: J stores, U users of a store, G strangers, V = U + G, E interactions, c negatives a positive, R item
rows, n items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.data.negatives import NegativeSampler
from fedlib.engine.clients import copies, flip_labels, keep_tables, make_upload, open_versions
from fedlib.engine.reading import fixed_rows, personal_rows, received_rows
from fedlib.engine.state import State
from fedlib.engine.training import train
from fedlib.server.ledger import Ledger
from fedlib.shapes import Chunk, Trained, Work, real_of
from fedlib.stores.clients import OneByOne, keep_joined, keep_users, store_graph
from fedlib.stores.pairs import StoreModel
from fedlib.stores.received import OfStore
from fedlib.stores.values import pair_scores, store_params
from fedlib.stores.work import StoreWork


class StoreUsers(OneByOne):
    """Stores that train the model of one user for all of theirs.

    A store trains on the samples of all its users together, shuffled, in batches of ``local.batch`` pairs of a user and
    an item: its users' vectors, and one copy of the item rows and of the network. It sends that copy, once for all.
    What joins from outside is drawn once a round.
    """

    def begin(self, state: State, chosen: Tensor, ledger: Ledger, t: int) -> None:
        """Open a version of the tables whose rows stores keep. What users tell each other stays inside their store."""
        open_versions(state, t)

    def receive(self, given: State, group: Tensor, t: int) -> StoreWork:
        """One store with its users' interactions, each user a client to a selector."""
        return replace(super().receive(given, group, t), make_users=self.users_of)

    def users_of(self, work: StoreWork) -> Work:
        """The store's users with their positives, and the model as it is for them."""
        items, count = work.edges.padded(torch.arange(len(work.users), device=work.users.device))
        stream = rng.key(self.seed, "negatives", work.round)
        model = OfStore(work.given, self.model, work, self.local.negatives, stream)
        return Work(work.round, self.seed, work.users, items, count, model.score, model=model, owned=items,
                    owned_count=count, positions=self.train_items.places(work.users), given=work.given)  # fmt: skip

    def train(self, work: StoreWork) -> tuple[StoreWork, Chunk, Trained, Tensor, Tensor | None]:
        """Draw negatives and train."""
        given, nodes, number = work.given, work.nodes(), self.local.negatives
        joined = None if work.outside is None else work.outside.draw(0)
        own = selected_edges(work)
        edges = replace(work, edges=own).training_edges(nodes, joined)
        stream = rng.key(self.seed, "negatives", work.round)
        samples = store_samples(work, nodes, edges, self.samplers.of(work), number, given.n_items, stream)
        chunk = flip_labels(samples[0], work.flipped)
        whose = work.store, work.users, nodes[len(work.users) :]
        params = store_params(given, self.model, *whose, samples[1], chunk.ids.shape[1])
        params = {name: value[None] for name, value in params.items()}
        rows = received_rows(given, chunk.clients, chunk.ids)
        trained = train(
            StoreModel(self.model), copies(params), copies(rows), chunk, self.local, seed=self.seed, round=work.round,
            fixed=fixed_rows(given, chunk.ids),
        )  # fmt: skip
        make_upload(given, work, chunk, trained, params, rows)
        work.size = torch.full_like(work.clients, len(own.items) * (number + 1)).to(trained.loss.dtype)
        return work, chunk, trained, nodes, joined

    def keep(self, state: State, trained: tuple[StoreWork, Chunk, Trained, Tensor, Tensor | None], t: int) -> None:
        """Store what never leaves the store: its users' parameters, its copies of others', its tuned copies."""
        work, chunk, result, nodes, joined = trained
        for name, value in state.private.items():
            theirs = result.params[name]  # (1, V, ...) or (1, ...)
            if self.model.owner(name) == "user":
                keep_users(state, name, work, nodes, theirs[0])
            else:
                value[work.clients] = theirs
        keep_tables(state, chunk, result, t)
        keep_joined(state, work, joined)


def selected_edges(work: StoreWork) -> UserItems:
    """What a selector has left of the interactions of a store's users."""
    kept = work.of_users
    if kept is None:
        return work.edges
    real = real_of(kept.positives, kept.count)
    return UserItems.from_pairs(real.nonzero()[:, 0], kept.positives[real], len(work.users))


def store_samples(
    work: StoreWork, nodes: Tensor, edges: UserItems, sampler: NegativeSampler, negatives: int, n_items: int,
    stream: int,
) -> tuple[Chunk, UserItems]:  # fmt: skip
    """The samples of a store's ``nodes`` (V,) as those of one client, and their ``edges`` with rows for items.

    Each user's negatives and each sample's identity are what they would be if the user were a client, but for the
    user's number in the identity. The local row of a sample is ``user * R + row`` (:class:`StoreModel`).
    """
    sample = torch.arange(negatives + 1, device=nodes.device)
    users, positives = nodes[edges.users][:, None], edges.items[:, None]
    drawn = sampler.draw(stream, users, positives * negatives + sample[:-1])
    ids, row = torch.cat([positives, drawn], dim=1).unique(return_inverse=True)  # row (E, c+1)
    identity = (users * n_items + positives) * (negatives + 1) + sample
    local = edges.users[:, None] * len(ids) + row
    label = (sample == 0).float().expand(row.shape)
    count, n_rows = (torch.full_like(work.clients, x) for x in (row.numel(), len(ids)))
    flat = {name: x.reshape(1, -1) for name, x in {"sample": identity, "label": label, "local": local}.items()}
    chunk = Chunk(clients=work.clients, count=count, **flat, ids=ids[None], n_rows=n_rows)
    return chunk, UserItems(edges.indptr, row[:, 0].contiguous())


def store_users_scorer(
    state: State, model: Backbone, data: Split, store: int
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """How one store ranks for its users: logits of users (B,) for items (B, C), or for all n items, (B, n)."""
    members, strangers, edges = store_graph(state, data, store)
    n, everything = state.n_items, torch.arange(state.n_items, device=state.device)[None]
    rows = personal_rows(state, members.new_tensor([store]), everything) | fixed_rows(state, everything)
    rows = {name: q[0] for name, q in rows.items()}
    params = store_params(state, model, store, members, strangers, edges, n)

    def score(users: Tensor, items: Tensor | None = None) -> Tensor:
        who = torch.searchsorted(members, users.to(state.device))
        wanted = everything.expand(len(who), -1) if items is None else items.to(state.device)
        return pair_scores(model, params, rows, who, wanted)

    return score
