"""What the users of a store can see of the model it was sent: what a selector of samples judges them by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fedlib.backbones.base import Backbone
from fedlib.data.log import UserItems
from fedlib.engine.cohort import draw_samples
from fedlib.engine.reading import fixed_rows, read_rows, received_rows
from fedlib.engine.received import only_table
from fedlib.engine.state import State
from fedlib.errors import InputError
from fedlib.shapes import Chunk, Rows, Samples, Trained
from fedlib.stores.values import pair_scores, store_params, store_values
from fedlib.stores.work import StoreWork


@dataclass(frozen=True)
class OfStore:
    """The ``given`` model for the U users of one store, like :class:`~fedlib.engine.received.Received` for clients.

    It trains no copy of a user's own, so what asks for one (:meth:`values`) is refused.
    """

    given: State
    model: Backbone
    work: StoreWork
    number: int
    stream: int

    @property
    def own(self) -> UserItems:
        """The training items of the store's users, by their place in the store."""
        return self.work.edges

    @property
    def rows(self) -> Rows:
        """All item rows the store was sent, (n, d), and their fixed features."""
        every = torch.arange(self.given.n_items, device=self.given.device)[None]
        rows = received_rows(self.given, self.work.clients, every) | fixed_rows(self.given, every)
        return {name: value[0] for name, value in rows.items()}

    @property
    def who(self) -> Tensor:
        """The users' places in the store, (U,)."""
        return torch.arange(len(self.work.users), device=self.given.device)

    def score(self, items: Tensor) -> Tensor:
        """Logits (U, C) for items (U, C)."""
        return pair_scores(self.model, self._params(self.given.n_items), self.rows, self.who, items)

    def vectors(self, items: Tensor) -> Tensor:
        """The vectors (U, C, d) that are read of items (U, C), of a model that reads one table."""
        stores = self.work.clients.expand(len(items))
        stored, fixed = partial(received_rows, self.given, stores), partial(fixed_rows, self.given)
        lists = self.work.edges.padded(self.who)
        with torch.no_grad():
            return read_rows(self.model, self._each(), stored, fixed, items, *lists)[only_table(self.model)]

    def score_vectors(self, vectors: Tensor) -> Tensor:
        """Logits (U, J) for vectors (J, d) that stand where an item's would, which nobody has."""
        table, n = only_table(self.model), self.given.n_items
        if self.model.mixes:
            with torch.no_grad():
                return self.model.logits(self._each(), {table: vectors.expand(len(self.work.users), -1, -1)})
        rows = {table: torch.cat([self.rows[table], vectors.to(self.rows[table])])}
        asked = torch.arange(n, n + len(vectors), device=vectors.device).expand(len(self.work.users), -1)
        return pair_scores(self.model, self._params(n + len(vectors)), rows, self.who, asked)

    def features(self, items: Tensor) -> Tensor:
        """x_i = [p_u; q_i] for items (U, C), or q_i where the model has no user vector: (U, C, f)."""
        q = self.vectors(items)
        if "user" not in self.given.private:
            return q
        p = self.given.private["user"][self.work.users]
        return torch.cat([p[:, None].expand(-1, q.shape[1], -1), q], dim=2)

    def samples(self, positives: Tensor, count: Tensor) -> Samples:
        """The samples that this round's training draws for positives (U, P), the first ``count[u]`` real."""
        sampler = self.work.samplers.of(self.work)
        return draw_samples(self.work.users, positives, count, sampler, self.number, self.stream)

    def _params(self, n_rows: int) -> dict[str, Tensor]:
        users, nobody = self.work.users, self.work.users[:0]
        return store_params(self.given, self.model, self.work.store, users, nobody, self.work.edges, n_rows)

    def _each(self) -> dict[str, Tensor]:
        """Every parameter once for each user, (U, ...)."""
        users = self.work.users
        values = store_values(self.given, self.model, self.work.store, users, users[:0])
        return {
            name: value if self.model.owner(name) == "user" else value.expand(len(users), *value.shape)
            for name, value in values.items()
        }

    def of(self, clients: Tensor) -> OfStore:
        """Refused: users of a store are judged together."""
        raise refusal()

    def values(self) -> dict[str, Tensor]:
        """Refused: a store trains one copy of what it shares, not one for each user."""
        raise refusal()

    def logits(self, values: dict[str, Tensor], items: Tensor) -> Tensor:
        """Refused, like :meth:`values`."""
        raise refusal()

    def score_trained(self, chunk: Chunk, trained: Trained, items: Tensor) -> Tensor:
        """Refused, like :meth:`values`."""
        raise refusal()


def refusal() -> InputError:
    """What is said to a selector that trains a model of a single user."""
    return InputError("This selector trains a model for each user by itself, and a store has one for all its users: "
                      "choose another selector, or a split without stores.")  # fmt: skip
