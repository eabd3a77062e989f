"""Graph expansion: clients learn of each other's embeddings through a third party that cannot read the items.

Three roles, none of which sees everything:

=====================  ==========================================================  ==================================
role                   sees                                                        never sees
=====================  ==========================================================  ==================================
client                 its items; the mean embedding of the others who have one    who the others are, their other items
third party            tokens and user embeddings, under a name for each client    items, ratings, item embeddings
recommendation server  item tables and their updates (the loop itself)             tokens, user embeddings
=====================  ==========================================================  ==================================

:class:`GraphClient` and :class:`ThirdParty` play their roles in plain words, for reading and for tests;
:class:`GraphExpansion` computes what they would, for all clients of a round at once.

A token is a keyed hash of an item's id, the same on every client, or equal items would not match. That is also what it
leaks. The third party counts how often each token occurs, and popularity is public knowledge: the most frequent token
is probably the most popular item. Whoever holds the key, or may have ids of his choice turned into tokens, can hash the
whole catalogue and read every token. A client that colludes with the third party is enough.

Source: Wu et al., *A federated graph neural network framework for privacy-preserving personalization*, Nature
Communications 13:3091, 2022, section "Privacy-preserving user-item graph expansion" (the authors' code signs item ids
with RSA, which is deterministic too).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from fedlib.scatter import add_rows_

TOKEN_BYTES = 32


def token(key: bytes, item: str) -> str:
    """HMAC-SHA256 of an item's id under the clients' key, as 64 hexadecimal digits.

    >>> token(b"secret", "i7") == token(b"secret", "i7") != token(b"another", "i7")
    True
    """
    return hmac.new(key, item.encode(), "sha256").hexdigest()


@dataclass(frozen=True)
class Query:
    """All that a client tells the third party: a name for itself, its tokens in sorted order, its embedding (d,)."""

    client: str
    tokens: tuple[str, ...]
    embedding: Tensor


@dataclass(frozen=True)
class Neighbours:
    """The mean embedding (d,) of the other clients with a token, and how many they are."""

    mean: Tensor
    number: int


@dataclass
class GraphClient:
    """A client: its items, the key that only clients have, and its user embedding (d,).

    ``neighbours`` is what it has learnt from the third party, by item; an item that nobody else has is not in it.
    """

    name: str
    items: tuple[str, ...]
    key: bytes
    embedding: Tensor
    neighbours: dict[str, Neighbours] = field(default_factory=dict)

    def query(self) -> Query:
        """What it sends. Tokens are sorted, so that their order says nothing about the items."""
        return Query(self.name, tuple(sorted(token(self.key, item) for item in self.items)), self.embedding)

    def learn(self, answer: dict[str, Neighbours]) -> None:
        """Put the answer's tokens back into items."""
        by_token = {token(self.key, item): item for item in self.items}
        self.neighbours = {by_token[t]: neighbours for t, neighbours in answer.items()}


class ThirdParty:
    """Matches equal tokens. ``queries`` holds the last query of every client, which is all that it ever knows."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {}

    def receive(self, query: Query) -> None:
        """Remember a client's query in the place of its earlier one."""
        self.queries[query.client] = query

    def answer(self, client: str) -> dict[str, Neighbours]:
        """For each token of a client, the other clients that have it too."""
        answer = {}
        for t in self.queries[client].tokens:
            others = [
                query.embedding for query in self.queries.values() if t in query.tokens and query.client != client
            ]
            if others:
                answer[t] = Neighbours(torch.stack(others).mean(0), len(others))
        return answer

    def view(self) -> pd.DataFrame:
        """Everything it has seen, one row a client and token."""
        seen = [(query.client, t, query.embedding.tolist()) for query in self.queries.values() for t in query.tokens]
        return pd.DataFrame(seen, columns=["client", "token", "embedding"])


@dataclass(frozen=True)
class GraphExpansion:
    r"""The exchange of a whole round: what :class:`ThirdParty` answers, for all clients that ask.

    .. math:: n_{ui} = \frac{\sum_{v \in U_i} p_v - p_u}{|U_i| - 1}

    with :math:`U_i` the clients known to have item i, u among them. A client asks before it trains, when it takes part
    and has not asked in the last ``refresh`` rounds; all who ask in a round are heard before anybody is answered. The
    third party goes on using the last embedding of a client that sits out, and that client goes on using its last
    answer.
    """

    dim: int
    refresh: int

    def memory(self, n_users: int, n_edges: int, like: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Before the first round: what the third party knows, (m, ...), and clients of their items, (nnz, ...)."""
        third_party = {
            "embedding": like.new_zeros(n_users, self.dim),
            "asked": torch.full((n_users,), -1, dtype=torch.int64, device=like.device),
        }
        return third_party, {
            "neighbours": like.new_zeros(n_edges, self.dim),
            "holders": torch.zeros(n_edges, dtype=torch.int32, device=like.device),
        }

    def bytes_needed(self, n_users: int, n_edges: int, itemsize: int) -> int:
        """Memory of :meth:`memory`."""
        return n_users * (self.dim * itemsize + 8) + n_edges * (self.dim * itemsize + 4)

    def learn(
        self,
        third_party: dict[str, Tensor],
        held: dict[str, Tensor],
        private: dict[str, Tensor],
        clients: Tensor,
        users: Tensor,
        items: Tensor,
        n_items: int,
        round: int,
    ) -> list[tuple[str, str, str, str, int, float]]:
        """Let those of ``clients`` (K,) ask whose answer is old; returns what they sent and got, for the ledger.

        ``users`` and ``items`` (nnz,) are all training interactions.
        """
        asked, embedding = third_party["asked"], third_party["embedding"]
        due = clients[(asked[clients] < 0) | (round - asked[clients] >= self.refresh)]
        if len(due) == 0:
            return []
        asked[due] = round
        embedding[due] = private["user"][due]
        heard = totals(embedding, asked >= 0, users, items, n_items)
        # Answers for all interactions would be as large as the data, and only those who ask need one.
        asking = torch.zeros_like(asked, dtype=torch.bool).index_fill_(0, due, True)[users].nonzero().squeeze(1)
        held["neighbours"][asking], holders = others(embedding, users[asking], items[asking], *heard)
        held["holders"][asking] = holders
        return self._sent(embedding, len(due), holders)

    def _sent(self, embedding: Tensor, clients: int, holders: Tensor) -> list[tuple[str, str, str, str, int, float]]:
        vector, dtype = self.dim * embedding.element_size(), str(embedding.dtype).removeprefix("torch.")
        tokens, matched = len(holders), int((holders > 0).sum())
        return [
            ("up", "third party/user embedding", f"({self.dim},)", dtype, clients, clients * vector),
            ("up", "third party/tokens", "(items,)", "256 bits", clients, tokens * TOKEN_BYTES),
            ("down", "third party/neighbours", f"(matched items, {self.dim})", dtype, clients, matched * vector),
            ("down", "third party/holders", "(items,)", "int32", clients, tokens * 4),
        ]


def totals(embedding: Tensor, known: Tensor, users: Tensor, items: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """For every item the sum of its known users' embeddings, and how many they are.

    embedding (m, d), known (m,) bool, users and items (nnz,) -> (n_items, d) and (n_items,).
    """
    told = (embedding * known[:, None])[users]
    total = add_rows_(embedding.new_zeros(n_items, embedding.shape[1]), items, told)
    return total, torch.bincount(items[known[users]], minlength=n_items)


def others(embedding: Tensor, users: Tensor, items: Tensor, total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """For interactions (u, i) of known users the mean embedding of the other known users of i, and their number.

    embedding (m, d), users and items (E,), total and count from :func:`totals` -> (E, d), zero where there are no
    others, and (E,) int32.
    """
    number = count[items] - 1
    mean = (total[items] - embedding[users]) / number.clamp(min=1)[:, None]
    return mean * (number > 0)[:, None], number.to(torch.int32)
