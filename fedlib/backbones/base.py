"""What a backbone is: the model of ONE client, and which of its parts stay at home."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedlib import rng
from fedlib.aggregate import ServerAdam
from fedlib.backbones.layers import Dropout
from fedlib.backbones.pairs import Pairs, pair_logits
from fedlib.scatter import add_rows_

if TYPE_CHECKING:
    from fedlib.backbones.expansion import GraphExpansion
    from fedlib.cohort import Chunk
    from fedlib.data.interactions import UserItems
    from fedlib.local import LocalTraining

Rows = Mapping[str, Tensor]  # the item vectors a client looks at, one entry a table: name -> (..., d)
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Outer:
    """K outer products, (K, R) by (K, d), kept as their factors: what the item gradient of a linear score is."""

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The products written out, (K, R, d)."""
        return self.left[:, :, None] * self.right[:, None, :]


RowGradients = Mapping[str, Tensor | Outer]


@dataclass(frozen=True)
class Table:
    """An item table a backbone reads: n rows of ``dim`` numbers, started from N(0, std^2).

    ``std=None``: Glorot's sqrt(2 / (n + dim)).
    ``owner="server"``: one table for all, trained on every client and averaged.
    ``owner="client"``: one table for each client that never leaves it.
    ``keep=True``: a server's table whose locally tuned copy the client keeps and recommends with
    (PFedRec's second personalisation).
    """

    dim: int
    std: float | None = 0.01
    owner: str = "server"
    keep: bool = False


@dataclass(frozen=True)
class Batch:
    """One local step's samples of K clients, padded to the longest.

    local (K, B): the local row of each sample's item. labels (K, B): 1 or 0. weights (K, B): 1 / (the client's
    samples in this batch), and 0 in padding, so that a weighted sum is a mean over real samples.
    masks: dropout masks by buffer name, (K, B, width). round: of the federation, counted from 0.
    """

    local: Tensor
    labels: Tensor
    weights: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)
    round: int = 0


@dataclass(frozen=True)
class Trained:
    """What K clients hold after local training: params (K, ...), rows (K, R, d) and their mean loss (K,)."""

    params: dict[str, Tensor]
    rows: dict[str, Tensor]
    loss: Tensor


class Backbone(nn.Module):
    """A single client's recommender. A subclass says what it reads, what is private, and how it scores.

    =====================  ===========================================================================================
    ``tables``             the item tables it reads
    ``private``            names (or prefixes) of the parameters that never leave the client; the rest is shared
    ``steps``              what one local step updates, in order; PFedRec has two entries, all others one
    ``aggregate_items``    how the server averages item tables: ``"uniform"``, ``"size"`` or ``"row"``
    ``aggregate_network``  how it averages the other shared parameters: ``"uniform"`` or ``"size"``
    ``user_std``           standard deviation of the initial user vectors
    ``all_items``          True where a client trains on all n items instead of its own and sampled ones
    ``has_stores``         True where a client is a store with the graph of its users, not a user
    ``joins_stores``       True where stores may train it for their users: its loss is the mean cross-entropy of
                           ``forward``, and local training is gradient steps (:mod:`~fedlib.storeusers`)
    ``server``             how the server steps: None for the mean, or a :class:`~fedlib.aggregate.ServerAdam`
    ``expansion``          what clients learn of each other through a third party: None, or a
                           :class:`~fedlib.backbones.expansion.GraphExpansion`
    =====================  ===========================================================================================

    ``forward(rows)`` takes gathered item vectors ``{table: (N, d)}`` and returns logits ``(N,)``.

    The module holds shapes, not values (its parameters live on torch's ``meta`` device): the engine keeps the values of
    thousands of clients in stacked tensors and calls the module on them with ``torch.func.functional_call``.
    """

    tables: dict[str, Table]
    private: tuple[str, ...] = ()
    steps: tuple[tuple[str, ...], ...] = (("network", "items"),)
    aggregate_items: str = "uniform"
    aggregate_network: str = "size"
    user_std: float = 0.01
    all_items: bool = False
    has_stores: bool = False
    joins_stores: bool = False
    server: ServerAdam | None = None
    expansion: GraphExpansion | None = None
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
        other.private = tuple(name for name, _ in self.named_parameters())
        other.expansion = None
        other.is_alone = True
        return other

    def is_private(self, name: str) -> bool:
        """Whether parameter ``name`` never leaves the client."""
        return any(name == part or name.startswith(part + ".") for part in self.private)

    def n_parameters(self, n_items: int, n_users: int = 1) -> int:
        """Learnable numbers of one client's model; FedMR's Table 5 counts the user vectors of all ``n_users``."""
        tables = sum(n_items * table.dim for table in self.tables.values())
        return tables + sum(
            p.numel() * (n_users if self.is_per_user(name) else 1) for name, p in self.named_parameters()
        )

    def is_per_user(self, name: str) -> bool:
        """Whether every user has a parameter ``name`` of its own, also where the clients are stores."""
        return name.startswith("user")

    def is_of_user(self, name: str) -> bool:
        """Whether each user of a store has a parameter ``name``: what is private, or was before all was."""
        parts = type(self).private if self.is_alone else self.private
        return any(name == part or name.startswith(part + ".") for part in parts)

    def dropouts(self) -> dict[str, Dropout]:
        """The dropout sites by module name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Dropout)}

    def default_lr_items(self, lr: float, *, n_items: int, n_clients: int, optimizer: str) -> float:
        """The item learning rate used when none is given; ``n_clients`` take part in a round."""
        return lr

    def initial(self, name: str, seed: int, clients: Tensor | None = None) -> Tensor:
        """Initial value of parameter ``name`` in its own shape, or (K, shape) for the given ``clients``.

        Layers follow U(-1/sqrt(fan_in), 1/sqrt(fan_in)) and start alike on all clients;
        user vectors are drawn for each client from N(0, user_std^2).
        """
        shape = self.get_parameter(name).shape
        index = torch.arange(shape.numel())
        stream = rng.key(seed, "init " + name)
        if self.is_per_user(name):
            who = torch.zeros(1, dtype=torch.int64) if clients is None else clients
            draw = rng.normal(stream, who[:, None], index[None, :]) * self.user_std
            return draw.reshape(shape if clients is None else (len(who), *shape))
        fan_in = self.get_parameter(name.rpartition(".")[0] + ".weight").shape[1]
        draw = ((rng.uniform(stream, index) * 2 - 1) / math.sqrt(fan_in)).reshape(shape)
        return draw if clients is None else draw.expand(len(clients), *shape)

    def adapt(
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
        """Score pairs of a store's users and items, (B,); see :func:`~fedlib.backbones.pairs.pair_logits`."""
        return pair_logits(self, params, rows, pairs)

    def train_clients(
        self, params: dict[str, Tensor], rows: dict[str, Tensor], chunk: Chunk, local: LocalTraining,
        *, seed: int, round: int,
    ) -> Trained:  # fmt: skip
        """The local training of K clients: gradient steps, unless a method has a way of its own."""
        from fedlib.local import train

        return train(self, params, rows, chunk, local, seed=seed, round=round)

    def disguise(
        self, chunk: Chunk, update: dict[str, Tensor], n_items: int, stream: int
    ) -> tuple[Chunk, dict[str, Tensor]]:
        """The item rows K clients upload: those they trained, unless a method hides which they are.

        ``update`` (K, ...); ``stream`` names the draws. Returns a chunk whose rows are those of the returned update.
        """
        return chunk, update

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
            loss = (F.binary_cross_entropy_with_logits(z, batch.labels, reduction="none") * batch.weights).sum(1)
        asked = [leaf for leaf in (*leaves.values(), *gathered.values()) if leaf.requires_grad]
        grads = iter(torch.autograd.grad(loss.sum(), asked))
        network = {name: next(grads) for name, leaf in leaves.items() if leaf.requires_grad}
        items = {}
        for name, leaf in gathered.items():
            if leaf.requires_grad:
                summed = torch.zeros_like(rows[name]).flatten(0, 1)
                items[name] = add_rows_(summed, flat.flatten(), next(grads).flatten(0, 1)).view_as(rows[name])
        return loss.detach(), network, items
