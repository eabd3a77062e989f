"""What a backbone is: the model of ONE client, and which of its parts stay at home."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedlib import rng
from fedlib.backbones.exchange import Exchange
from fedlib.backbones.layers import Dropout
from fedlib.backbones.losses import cross_entropy
from fedlib.backbones.meeting import Meeting, Replaces
from fedlib.data.log import UserItems
from fedlib.scatter import add_rows_
from fedlib.server.optimizers import ServerOptimizer
from fedlib.shapes import (
    Batch,
    Chunk,
    Descend,
    Gradients,
    Pairs,
    RowGradients,
    Rows,
    Table,
    Trained,
)


class Backbone(nn.Module):
    """A single client's recommender. A subclass says what it reads, what is private, and how it scores.

    =======================  ===========================================================================================
    ``tables``               the item tables it reads
    ``owners``               whose a parameter is, by its name or a prefix of it: ``"user"`` where every user has its
                             own, ``"client"`` where every client has, which may be a store of many users; both never
                             leave the client. What is not named is the ``"server"``'s, sent to all and averaged
    ``steps``                what one local step updates, in order; PFedRec has two entries, all others one
    ``aggregate_items``      how the server averages item tables: ``"uniform"``, ``"size"`` or ``"row"``
    ``aggregate_network``    how it averages the other shared parameters: ``"uniform"`` or ``"size"``
    ``meeting``              how a vector that was made of an item's stored rows and features meets ``tables``
                             (:mod:`~fedlib.backbones.meeting`)
    ``user_std``             standard deviation of the initial user vectors
    ``all_items``            True where a client trains on all n items instead of its own and sampled ones
    ``clients_are_stores``   True where a client is a store with the graph of its users, not a user
    ``may_train_in_stores``  True where stores may train it for their users: its loss is the mean cross-entropy of
                             ``forward``, and local training is gradient steps (:mod:`~fedlib.stores.users`)
    ``server``               how the server steps: None for the mean, or one of :mod:`~fedlib.server.optimizers`
    ``exchange``             what clients learn of each other through a third party: None, or an
                             :class:`~fedlib.backbones.exchange.Exchange`
    =======================  ===========================================================================================

    ``forward(rows)`` takes gathered item vectors ``{table: (N, d)}`` and returns logits ``(N,)``.

    The module holds shapes, not values (its parameters live on torch's ``meta`` device): the engine keeps the values of
    thousands of clients in stacked tensors and calls the module on them with ``torch.func.functional_call``.
    """

    tables: dict[str, Table]
    owners: ClassVar[Mapping[str, str]] = {}
    steps: tuple[tuple[str, ...], ...] = (("network", "items"),)
    aggregate_items: str = "uniform"
    aggregate_network: str = "uniform"
    user_std: float = 0.01
    all_items: bool = False
    clients_are_stores: bool = False
    may_train_in_stores: bool = False
    server: ServerOptimizer | None = None
    exchange: Exchange | None = None
    meeting: Meeting = Replaces()
    is_alone: bool = False

    def config(self) -> dict[str, Any]:
        """The class and the constructor's arguments; every constructor stores its arguments under their own names."""
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
        where = {"class": f"{type(self).__module__}.{type(self).__qualname__}", "alone": self.is_alone}
        return where | arguments

    def alone(self) -> Self:
        """The same model with nothing shared: every client trains its own, from the same start (the local-only row)."""
        other = copy.copy(self)
        other.tables = {name: replace(table, owner="client", keep=False) for name, table in self.tables.items()}
        other.exchange = None
        other.is_alone = True
        return other

    def owner(self, name: str) -> str:
        """Whose parameter ``name`` is: "server", "client" or "user"."""
        for part, owner in self.owners.items():
            if name == part or name.startswith(part + "."):
                return owner
        return "client" if self.is_alone else "server"

    def is_private(self, name: str) -> bool:
        """Whether parameter ``name`` never leaves the client."""
        return self.owner(name) != "server"

    def is_vector(self, name: str) -> bool:
        """Whether parameter ``name`` is no layer's: a vector that is drawn anew for each of its owners."""
        return not isinstance(self.get_submodule(name.rpartition(".")[0]), nn.Linear)

    def n_parameters(self, n_items: int, n_users: int = 1) -> int:
        """Learnable numbers of one client's model; FedMR's Table 5 counts the user vectors of all ``n_users``."""
        tables = sum(n_items * table.dim for table in self.tables.values())
        users = {
            name: n_users if self.is_vector(name) and self.owner(name) == "user" else 1
            for name, _ in self.named_parameters()
        }
        return tables + sum(p.numel() * users[name] for name, p in self.named_parameters())

    def group(self, name: str) -> str:
        """The group of parameters that ``name`` belongs to; each group has a rate of its own."""
        return "network"

    def dropouts(self) -> dict[str, Dropout]:
        """The dropout sites by module name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Dropout)}

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """The item learning rate used when none is given; ``n_clients`` take part in a round."""
        return lr

    def initial(self, name: str, seed: int, clients: Tensor | None = None) -> Tensor:
        """Initial value of parameter ``name`` in its own shape, or (K, shape) for the given ``clients``.

        Layers follow U(-1/sqrt(fan_in), 1/sqrt(fan_in)) and start alike on all clients;
        vectors are drawn for each of their owners from N(0, user_std^2).
        """
        shape = self.get_parameter(name).shape
        index = torch.arange(shape.numel())
        stream = rng.key(seed, "init " + name)
        if self.is_vector(name):
            who = torch.zeros(1, dtype=torch.int64) if clients is None else clients
            draw = rng.normal(stream, who[:, None], index[None, :]) * self.user_std
            return draw.reshape(shape if clients is None else (len(who), *shape))
        fan_in = self.get_parameter(name.rpartition(".")[0] + ".weight").shape[1]
        draw = ((rng.uniform(stream, index) * 2 - 1) / math.sqrt(fan_in)).reshape(shape)
        return draw if clients is None else draw.expand(len(clients), *shape)

    @property
    def reads(self) -> dict[str, Table]:
        """The tables ``forward`` sees rows of: those that are stored, unless items are read otherwise."""
        return self.tables

    mixes: bool = False  # whether what is read of an item is more than its row, and depends on the items of a client

    @property
    def prepares(self) -> bool:
        """Whether clients work anything out from their own items before they train or score."""
        return type(self).prepare is not Backbone.prepare

    def encode_rows(self, params: dict[str, Tensor], rows: Rows) -> Rows:
        """The part of :meth:`read` that depends on no private parameter, row by row; rows (K, R, ...)."""
        return rows

    def read(self, params: dict[str, Tensor], rows: Rows, own: Tensor | None, encoded: Rows | None = None) -> Rows:
        """What ``forward`` sees of the stored ``rows`` (K, R, ...)."""
        return rows

    def prepare(
        self, params: dict[str, Tensor], tables: dict[str, Tensor], positives: Tensor, count: Tensor, items: Tensor
    ) -> dict[str, Tensor]:
        """What K clients work out from the received ``tables`` and their own items before they train or score.

        params (K, ...), and (K, P, ...) for what they hold of each positive; tables (n, d), or (K, n, d) where each
        has its own; positives (K, P), the first ``count[k]`` real; ``items`` (K, R) those whose rows are about to be
        trained or scored. Returns what ``forward`` reads in the place of ``params``.
        """
        return params

    def in_store(self, params: dict[str, Tensor], edges: UserItems, n_rows: int) -> dict[str, Tensor]:
        """What a store works out from its U users' ``edges``, whose items are rows, before it trains or scores.

        params: (U, ...) where every user has its own. Returns what :meth:`pair_logits` reads in their place.
        """
        return params

    def pair_logits(self, params: dict[str, Tensor], rows: Rows, pairs: Pairs) -> Tensor:
        """Score pairs of a store's users and items by ``forward``, (B,).

        params: (U, ...) where every user has its own, else the store's one copy; rows (R, d).
        """
        of_user = {name: self.owner(name) == "user" for name in params}
        own = {name: p[pairs.user] if of_user[name] else p for name, p in params.items()}
        masks = {name: mask[:, None] for name, mask in pairs.masks.items()}  # one item a pair

        def one_pair(values: dict[str, Tensor], row: dict[str, Tensor]) -> Tensor:
            return functional_call(self, values, (row,))

        dims = {name: 0 if of_user[name] else None for name in params} | dict.fromkeys(masks, 0)
        one_item = {table: q[pairs.item][:, None] for table, q in rows.items()}
        return vmap(one_pair, in_dims=(dims, 0))(own | masks, one_item)[:, 0]

    def train_clients(
        self, params: dict[str, Tensor], rows: dict[str, Tensor], chunk: Chunk, descend: Descend
    ) -> Trained:
        """The local training of K clients: gradient steps, unless a method has a way of its own."""
        return descend(params, rows)

    def penalised(self, loss: Tensor, gradients: RowGradients, rows: Rows, batch: Batch) -> tuple[Tensor, RowGradients]:
        """The loss (K,) and the gradients of the stored ``rows`` (K, R, d) with what a method adds to the data's."""
        return loss, gradients

    def logits(self, params: dict[str, Tensor], rows: Rows, masks: dict[str, Tensor] | None = None) -> Tensor:
        """Score ``rows`` (K, N, d) with the stacked ``params`` (K, ...) of K clients: (K, N)."""

        def one_client(own: dict[str, Tensor], item_rows: Rows) -> Tensor:
            return functional_call(self, own, (item_rows,))

        return vmap(one_client)({**params, **(masks or {})}, rows)

    def gradients(
        self, params: dict[str, Tensor], rows: Rows, batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Gradients, RowGradients]:
        """Each client's mean loss on its batch and its gradients, by automatic differentiation.

        params (K, ...), rows (K, R, d); ``wanted`` names what is about to be updated, "network", "items" or both.
        Returns the loss (K,), gradients of the parameters (K, ...) and of the item rows (K, R, d).
        The loss is differentiated with respect to the *gathered* rows of the batch and then added up per row;
        a client's loss depends on its own parameters alone, so one backward pass of the sum serves all K.
        """
        k, r = next(iter(rows.values())).shape[:2]
        flat = batch.local + torch.arange(k, device=batch.local.device)[:, None] * r  # rows of all clients in one list
        gathered = {t: q.flatten(0, 1)[flat].requires_grad_("items" in wanted) for t, q in rows.items()}  # (K, B, d)
        leaves = {name: p.detach().requires_grad_("network" in wanted) for name, p in params.items()}
        with torch.enable_grad():
            z = self.logits(leaves, gathered, batch.masks)
            loss = cross_entropy(z, batch)
        asked = [leaf for leaf in (*leaves.values(), *gathered.values()) if leaf.requires_grad]
        grads = iter(torch.autograd.grad(loss.sum(), asked))
        network = {name: next(grads) for name, leaf in leaves.items() if leaf.requires_grad}
        items = {}
        for name, leaf in gathered.items():
            if leaf.requires_grad:
                summed = torch.zeros_like(rows[name]).flatten(0, 1)
                items[name] = add_rows_(summed, flat.flatten(), next(grads).flatten(0, 1)).view_as(rows[name])
        return loss.detach(), network, items
