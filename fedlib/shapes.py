"""The plain shapes that the parts of the package hand to one another. This file imports no other of the package.

Shape letters, here and everywhere: m users, n items, K clients in a chunk, P the positives of each, N their samples,
R their item rows, B the samples of a batch, d the width of a vector, U the users of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]  # the item vectors a client looks at, one entry a table: name -> (..., d)
Gradients = dict[str, Tensor]
EMPTY = torch.empty(0)


@dataclass(frozen=True)
class RankOne:
    """K outer products, (K, R) by (K, d), kept as their factors: what the item gradient of a linear score is."""

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The products written out, (K, R, d)."""
        return self.left[:, :, None] * self.right[:, None, :]


RowGradients = Mapping[str, Tensor | RankOne]


def dense(gradient: Tensor | RankOne) -> Tensor:
    """A gradient as one tensor, (K, ...)."""
    return gradient.dense() if isinstance(gradient, RankOne) else gradient


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
class Samples:
    """Samples of K clients: (K, N) items, labels 1 or 0, and numbers that name each wherever it stands, i (c+1) for
    positive i and i (c+1) + 1 + j for its j-th of c negatives; the first ``count[k]`` of row k are real."""

    number: Tensor
    items: Tensor
    label: Tensor
    count: Tensor

    def take(self, columns: Tensor, count: Tensor) -> Samples:
        """Those in ``columns`` (K, M), the first ``count`` (K,) of each row."""
        n, i, label = self.number.gather(1, columns), self.items.gather(1, columns), self.label.gather(1, columns)
        return Samples(n, i, label, count)

    def of(self, place: Tensor) -> Samples:
        """Those of the clients in these places."""
        return Samples(*[part[place] for part in vars(self).values()])


@dataclass(frozen=True)
class Chunk:
    """The training samples of K clients in one round, shortest client first.

    clients (K,) their indices. count (K,) real samples of each; the rest of a row is padding.
    sample (K, N) the numbers of :class:`Samples`, label (K, N) 1 or 0, local (K, N) the local row of the sample's item.
    ids (K, R) the item behind each local row, and n_rows (K,) how many of them are real.
    """

    clients: Tensor
    count: Tensor
    sample: Tensor
    label: Tensor
    local: Tensor
    ids: Tensor
    n_rows: Tensor

    @property
    def real_rows(self) -> Tensor:
        """(K, R) True where a local row is real and not padding."""
        return real_of(self.ids, self.n_rows)


@dataclass(frozen=True)
class Batch:
    """One local step's samples of K clients, padded to the longest.

    local (K, B): the local row of each sample's item. labels (K, B): 1 or 0. weights (K, B): 1 / (the client's
    samples in this batch), and 0 in padding, so that a weighted sum is a mean over real samples.
    masks: dropout masks by buffer name, (K, B, width). round: of the federation, counted from 0.
    Where what is read of an item is more than its rows: own (K, R), 1 / (a client's positives) for the rows of these,
    and 0 for all others; fixed: features of the rows, (K, R, f).
    """

    local: Tensor
    labels: Tensor
    weights: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)
    round: int = 0
    own: Tensor | None = None
    fixed: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class Pairs:
    """B pairs of a store's users and items.

    user (B,) is the user's number among the store's U, item (B,) the item's row. masks: dropout masks by buffer name,
    (B, width).
    """

    user: Tensor
    item: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What K clients hold after local training: params (K, ...), rows (K, R, d) and their mean loss (K,)."""

    params: dict[str, Tensor]
    rows: dict[str, Tensor]
    loss: Tensor


@dataclass(frozen=True)
class Rates:
    """The learning rates of a run. None: of items the backbone's rule, and of a fusion that there is none."""

    network: float
    items: float | None = None
    fusion: float | None = None


@dataclass
class Upload:
    """What clients (K,) have before them in a round and, after local training, are about to send.

    ``update`` holds what each client sends, ``{"item": (K, R, d), "mlp.linear0.weight": (K, ...)}``, differences to
    what it received. Its rows of an item table are those of items ``ids`` (K, R) where ``real`` (K, R); ``size`` (K,)
    is its number of samples, ``loss`` (K,) its mean loss. ``tables`` names the parts of it that are item rows,
    ``n_items`` is n. ``flipped`` clients train with likes and dislikes exchanged; ``memory`` is what a place remembers.
    """

    round: int
    seed: int
    clients: Tensor
    _: KW_ONLY
    update: dict[str, Tensor] = field(default_factory=dict)
    ids: Tensor = EMPTY
    real: Tensor = EMPTY
    size: Tensor = EMPTY
    loss: Tensor = EMPTY
    tables: tuple[str, ...] = ()
    n_items: int = 0
    flipped: Tensor = EMPTY
    memory: dict[str, Tensor] = field(default_factory=dict)


Descend = Callable[[dict[str, Tensor], dict[str, Tensor]], Trained]  # gradient steps from params (K, ...) and rows


class SentModel(Protocol):
    """What a client can see of the model it was sent: :class:`~fedlib.engine.received.Received`."""

    @property
    def own(self) -> Any: ...
    def of(self, clients: Tensor) -> SentModel: ...
    def score(self, items: Tensor) -> Tensor: ...
    def vectors(self, items: Tensor) -> Tensor: ...
    def score_vectors(self, vectors: Tensor) -> Tensor: ...
    def features(self, items: Tensor) -> Tensor: ...
    def samples(self, positives: Tensor, count: Tensor) -> Samples: ...
    def values(self) -> dict[str, Tensor]: ...
    def logits(self, values: dict[str, Tensor], items: Tensor) -> Tensor: ...
    def score_trained(self, chunk: Chunk, trained: Trained, items: Tensor) -> Tensor: ...


@dataclass
class Work(Upload):
    """What K clients have before them while a round passes through the places.

    positives (K, P), the first ``count[k]`` real, which a selector may make fewer, are trained on with negatives drawn
    for them; or ``samples`` are, where a selector chose among both. ``score(items)``: the received model's logits for
    items (K, C), without dropout; ``trained(items)``, after local training, the trained model's. ``model`` shows more
    of what was received, a part of the state ``given``.

    owned (K, Q), the first ``owned_count[k]`` real, are all the training items of the clients, whatever is selected.
    positions (K, Q) say where they stand in the training log, which is how a place finds its entries in ``memory``:
    tensors (nnz, ...) with one for each training interaction, or (m, ...) with one for each client. The simulation
    hands over everybody's; a client reads and writes, in place, no entries but its own.
    """

    positives: Tensor
    count: Tensor
    score: Callable[[Tensor], Tensor]
    model: SentModel | None = None
    owned: Tensor = EMPTY
    owned_count: Tensor = EMPTY
    positions: Tensor = EMPTY
    samples: Samples | None = None
    trained: Callable[[Tensor], Tensor] | None = None
    given: Any = None

    def as_seen_by(self, place: str) -> Work:
        """What a place works on: this."""
        return self

    def as_sent(self, work: Work, uploads: Tensor) -> tuple[Tensor, Tensor]:
        """Who sends the ``uploads`` (K, ...) that a place made of ``work``, and what: each client its own."""
        return self.clients, uploads

    def score_vectors(self, vectors: Tensor) -> Tensor:
        """The received model's logits (K, J) for J vectors (J, d) in the place of item vectors."""
        return self.received.score_vectors(vectors)

    @property
    def received(self) -> SentModel:
        """``model``, which is there in every run."""
        assert self.model is not None
        return self.model

    def reorder(self, order: Tensor) -> None:
        """Put the K clients into the ``order`` (K,)."""
        for name in ("clients", "positives", "count", "owned", "owned_count", "positions"):
            setattr(self, name, getattr(self, name)[order])
        self.samples = self.samples and self.samples.of(order)
        self.model = self.received.of(self.clients)


def real_of(columns: Tensor, count: Tensor) -> Tensor:
    """(K, P) True in the first ``count[k]`` columns of row k."""
    return torch.arange(columns.shape[1], device=count.device) < count[:, None]
