"""FedPerGNN: a graph network on each client's own user-item graph, widened by neighbours it cannot name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedlib.backbones.base import Backbone
from fedlib.backbones.expansion import GraphExpansion, others, totals
from fedlib.backbones.losses import errors
from fedlib.errors import InputError
from fedlib.scatter import add_columns_, add_rows_, find, take_rows
from fedlib.shapes import Batch, Descend, Gradients, Pairs, RowGradients, Rows, Table, Trained, real_of

if TYPE_CHECKING:
    from fedlib.data.log import UserItems
    from fedlib.shapes import Chunk

NEIGHBOURS = ("history", "item", None)


class FedPerGNN(Backbone):
    r"""One step of message passing from a user's own items, then an inner product.

    .. math:: \hat r_{ui} = \sigma(\tilde p_u^\top \tilde q_i), \qquad
       \tilde p_u = \tfrac12\Big(p_u + \frac{1}{|I_u \setminus i|}\sum_{j \in I_u \setminus i} h_j\Big)

    :math:`I_u` are the user's training items; without any, :math:`\tilde p_u = p_u`. The scored item i is never part of
    the sum, in training as in ranking: a positive that stood among its own evidence would be told apart from the
    negatives by that alone. The user vector :math:`p_u` and the graph stay; the item table is shared and averaged by
    the number of samples. :math:`p_u` does go to a third party (see :mod:`~fedlib.backbones.expansion`), which returns
    for each own item j the mean :math:`n_{uj}` of the vectors of the other users who have it, every ``refresh`` rounds.
    ``neighbours`` says where that enters:

    - "history": :math:`h_j = \frac12(q_j + n_{uj})` and :math:`\tilde q_i = q_i` for every scored item. Ours.
    - "item": :math:`h_j = q_j` and :math:`\tilde q_i = \frac12(q_i + n_{ui})`, the graph network as one would write it
      down. But a client knows the neighbours of its own items only: every training positive has them, no negative and
      no candidate of the ranking does. The model learns to tell positives by having neighbours at all: its training
      loss falls far below that of "history", and its ranking with it.
    - None: the own graph alone; nothing goes to a third party.

    Where nobody else has item j, :math:`\frac12(q_j + n_{uj})` reads :math:`q_j`.

    Where the clients are stores, the others are those of the user's own store. A store knows their vectors as they are,
    so nothing goes to a third party and ``refresh`` plays no part; during local training the neighbours' vectors are
    those from before it.

    The authors also disguise what is uploaded; here that is a protection like any other,
    ``protect=LocalDP(...)`` (:class:`~fedlib.protect.noise.LocalDP`).

    This is a top-K form of the method, for implicit feedback, with embeddings for its only weights, as FedSLLM counts
    them. Source: Wu et al., *A federated graph neural network framework for privacy-preserving personalization*, Nature
    Communications 13:3091, 2022.
    """

    owners: ClassVar = {"user": "user"}
    aggregate_items = "size"
    aggregate_network = "size"
    may_train_in_stores = True
    history: Tensor
    size: Tensor
    own: Tensor
    share: Tensor
    extra: Tensor

    def __init__(
        self, dim: int = 32, *, neighbours: str | None = "history", refresh: int = 10, std: float = 0.1
    ) -> None:
        super().__init__()
        if neighbours not in NEIGHBOURS:
            raise InputError(f'neighbours must be "history", "item" or None, not {neighbours!r}.')
        if refresh < 1:
            raise InputError(f"refresh must be a whole number of rounds of at least 1, not {refresh}.")
        self.dim, self.neighbours, self.refresh, self.std = dim, neighbours, refresh, std
        self.tables = {"item": Table(dim, std)}
        self.user_std = std
        self.user = nn.Parameter(torch.empty(dim, device="meta"))
        self.exchange = GraphExpansion(dim, refresh) if neighbours else None
        for name in ("history", "size", "own", "share", "extra"):  # handed in by prepare()
            self.register_buffer(name, None)

    def forward(self, rows: Rows) -> Tensor:
        heard, scored = self.vectors(rows["item"], self.own, self.share, self.extra)
        user = user_vectors(self.user, self.history, heard, self.size, self.own)
        return (user * scored).sum(1)  # (N, d) -> (N,)

    def vectors(self, q: Tensor, own: Tensor, share: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """What each row tells its user, h_i where the user has i and else 0, and what is scored, ~q_i: (..., N, d)."""
        expanded = share[..., None] * q + extra
        heard, scored = (q, expanded) if self.neighbours == "item" else (expanded, q)
        return own[..., None] * heard, scored

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """n_clients lr for SGD, as for FedMF, so that the server sums the clients' steps; otherwise lr."""
        return n_clients * lr if optimizer == "sgd" and not self.is_alone else lr

    def prepare(
        self, params: dict[str, Tensor], tables: dict[str, Tensor], positives: Tensor, count: Tensor, items: Tensor
    ) -> dict[str, Tensor]:
        """What message passing needs, from the table and the neighbours a client holds of its own items.

        history (K, d) the sum of h_j over I_u, size (K,) how many they are; for each of ``items`` (K, R): own, 1 where
        the client has it; share and extra (K, R, d) with (q_i + n_ui) / 2 = share q_i + extra.
        """
        table = tables["item"].expand(len(positives), -1, -1)
        q = take_rows(table, positives)  # (K, P, d)
        real = real_of(positives, count).to(q.dtype)
        share, extra = torch.ones_like(real), torch.zeros_like(q)
        if "holders" in params:
            share, extra = halves(real * (params["holders"] > 0), params["neighbours"])
        heard, _ = self.vectors(q, real, share, extra)
        place = find(positives, count, items)  # (K, R)
        # Behind the positives stands what holds for all other items: no neighbours.
        at = torch.where(place < 0, positives.shape[1], place)
        found = {
            "history": heard.sum(1),
            "size": count.to(q.dtype),
            "own": (place >= 0).to(q.dtype),
            "share": F.pad(share, (0, 1), value=1.0).gather(1, at),
            "extra": take_rows(F.pad(extra, (0, 0, 0, 1)), at),
        }
        return {"user": params["user"]} | found

    def in_store(self, params: dict[str, Tensor], edges: UserItems, n_rows: int) -> dict[str, Tensor]:
        """A store's edges, ascending, as ``user * n_rows + row`` (E,), with share (E,) and extra (E, d) of each.

        As in :meth:`prepare`; the neighbours are the other users of the store. told (U, d) is what a user hears
        along all its edges that does not come from the item rows, and size (U,) how many edges it has.
        """
        p, edge = params["user"], (edges.users * n_rows + edges.items).sort().values
        share, extra = p.new_ones(len(edge)), p.new_zeros(len(edge), self.dim)
        if self.neighbours:
            everybody = torch.ones(len(p), dtype=torch.bool, device=p.device)
            users, items = edge // n_rows, edge % n_rows
            mean, holders = others(p, users, items, *totals(p, everybody, users, items, n_rows))
            share, extra = halves((holders > 0).to(p.dtype), mean)
        told = add_rows_(torch.zeros_like(p), edge // n_rows, extra * (self.neighbours == "history"))
        return params | {"edge": edge, "share": share, "extra": extra, "told": told, "size": edges.counts}

    def pair_logits(self, params: dict[str, Tensor], rows: Rows, pairs: Pairs) -> Tensor:
        """Score pairs of a store's users and items by message passing along all edges of the store, (B,)."""
        p, q = params["user"], rows["item"]
        edge, share, extra, size = (params[name] for name in ("edge", "share", "extra", "size"))
        along = share if self.neighbours == "history" else torch.ones_like(share)
        history = params["told"] + F.embedding_bag(
            edge % len(q), q, size.cumsum(0) - size, mode="sum", per_sample_weights=along
        )  # the sum of h_j over I_u, (U, d)
        wanted = pairs.user * len(q) + pairs.item
        at = torch.searchsorted(edge, wanted).clamp_(max=len(edge) - 1)
        own = (edge[at] == wanted).to(q.dtype)
        known = torch.where(own > 0, share[at], 1.0), own[:, None] * extra[at]
        mine, scored = self.vectors(q[pairs.item], own, *known)
        theirs = p[pairs.user], history[pairs.user], mine[:, None], size[pairs.user].to(q.dtype), own[:, None]
        return (user_vectors(*theirs)[:, 0] * scored).sum(1)

    def train_clients(
        self, params: dict[str, Tensor], rows: dict[str, Tensor], chunk: Chunk, descend: Descend
    ) -> Trained:
        """Gradient steps. Own items among the rows change as they are trained; the others' sum is ``elsewhere``."""
        own = params["own"] * chunk.real_rows
        heard, _ = self.vectors(rows["item"], own, params["share"], params["extra"])
        fixed = {"own": own, "elsewhere": params["history"] - heard.sum(1)}
        return descend(params | fixed, rows)

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        r"""Closed form.

        With :math:`e_i` the summed errors of row i, :math:`v_i` its user vector, :math:`\alpha_i` (1/2, or 1 without a
        history) what p weighs in it and :math:`\beta_i` (:math:`1/(2|I_u \setminus i|)`, or 0) what a message does,

        .. math:: \frac{\partial L}{\partial p} = \sum_i e_i\alpha_i\tilde q_i,\quad
           \frac{\partial L}{\partial \tilde q_i} = e_i v_i,\quad
           \frac{\partial L}{\partial h_j} = \sum_{i \ne j} e_i\beta_i\tilde q_i \quad (j \in I_u).
        """
        p, own, share, size = (params[name] for name in ("user", "own", "share", "size"))
        heard, scored = self.vectors(rows["item"], own, share, params["extra"])
        user = user_vectors(p, params["elsewhere"] + heard.sum(1), heard, size, own)  # (K, R, d)
        z = (user * scored).sum(2).gather(1, batch.local)
        loss, e = errors(z, batch)
        e = add_columns_(torch.zeros_like(own), batch.local, e)
        left = size[:, None] - own
        beta = torch.where(left > 0, 0.5 / left.clamp(min=1), 0.0)
        alpha = torch.where(left > 0, 0.5, 1.0)
        to_user = torch.bmm((e * alpha)[:, None], scored).squeeze(1)
        through = (e * beta)[:, :, None] * scored
        to_heard = own[:, :, None] * (through.sum(1, keepdim=True) - through)
        to_scored = e[:, :, None] * user
        expanded, plain = (to_scored, to_heard) if self.neighbours == "item" else (to_heard, to_scored)
        return loss, {"user": to_user}, {"item": plain + share[:, :, None] * expanded}


def halves(matched: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    """Share and extra of share q + extra: (q + n) / 2 where ``matched`` (...) is 1, so that there is an n, else q."""
    return 1 - matched / 2, matched[..., None] * neighbours / 2


def user_vectors(p: Tensor, history: Tensor, heard: Tensor, size: Tensor, own: Tensor) -> Tensor:
    """~p_u for each scored row without that row: p, history (..., d), heard (..., N, d), size (...), own (..., N)."""
    left = (size[..., None] - own)[..., None]
    mean = (history[..., None, :] - heard) / left.clamp(min=1)
    return torch.where(left > 0, (p[..., None, :] + mean) / 2, p[..., None, :])
