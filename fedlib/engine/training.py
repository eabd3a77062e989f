"""Local training of a whole chunk of clients at once.

Every client has its own copy of the parameters and of the item rows it touches, its own order of samples, its own
optimiser and its own number of batches. They are stacked along a leading dimension K and step together; a client that
has run out of batches is left out of the step, so that neither weight decay nor momentum moves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedlib import rng
from fedlib.backbones.layers import Dropout
from fedlib.engine.optimizers import SGD, Adam
from fedlib.engine.pace import Pace
from fedlib.shapes import Batch, Chunk, RowGradients, Rows, Trained, real_of

T = TypeVar("T")


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains in a round.

    epochs over its samples, in batches of ``batch``, with ``negatives`` drawn anew for every positive in every round,
    uniformly from the items that are ``negatives_from``:

    - "unobserved": not among the client's training items. Nothing about the held-out items is used.
    - "untouched": not among the client's items of any split. The public code of the leave-one-out family (NCF, PFedRec,
      FedRAP) does this. A held-out item is then never trained down, which tells the model something about the future:
      on ML-100K PFedRec's HR@10 rises by more than a tenth. Published numbers of that family need it.
    - None: the convention of the split's protocol, "untouched" where candidates are sampled, else "unobserved";
      "unobserved" also for a backbone that shares nothing.

    ``lr`` for the network and user vectors (and for a server with an optimiser of its own), ``lr_items`` for item rows
    (None: the backbone's own rule), ``lr_fusion`` for what items learn beside their rows (None: ``lr``); all shrink by
    the factor ``lr_decay`` from round to round. ``step_decay`` shrinks them from one local step to the next, anew in
    every round, and a client leaves out the rest of its ``epochs`` when the relative change of its mean loss from one
    epoch to the next falls below ``stop`` (:class:`~fedlib.engine.pace.Pace`).
    ``optimizer`` is "sgd" or "adam", ``weight_decay`` an L2 term added to the gradient (as in ``torch.optim``).
    The optimiser is new for every client in every round and acts on the rows the client touches in that round.
    """

    epochs: int = 1
    batch: int = 256
    negatives: int = 4
    negatives_from: str | None = None
    lr: float = 0.1
    lr_items: float | None = None
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    lr_decay: float = 1.0
    step_decay: float = 1.0
    stop: float = 0.0
    lr_fusion: float | None = None

    def rates(self, round: int) -> dict[str, float]:
        """The learning rate of each group of parameters in a round."""
        given = {"network": self.lr, "items": self.lr_items, "fusion": self.lr_fusion}
        return {group: (self.lr if rate is None else rate) * self.lr_decay**round for group, rate in given.items()}


class Model(Protocol):
    """What local training needs of a :class:`~fedlib.backbones.base.Backbone`, or of a store's model."""

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def mixes(self) -> bool: ...
    def group(self, name: str) -> str: ...
    def dropouts(self) -> dict[str, Dropout]: ...
    def penalised(
        self, loss: Tensor, gradients: RowGradients, rows: Rows, batch: Batch
    ) -> tuple[Tensor, RowGradients]: ...
    def gradients(
        self, params: dict[str, Tensor], rows: dict[str, Tensor], batch: Batch, wanted: tuple[str, ...]
    ) -> tuple[Tensor, Mapping[str, Tensor], RowGradients]: ...


def train(
    model: Model, params: dict[str, Tensor], rows: dict[str, Tensor], chunk: Chunk, local: LocalTraining,
    *, seed: int, round: int, fixed: Rows | None = None,
) -> Trained:  # fmt: skip
    """Train K clients on their samples. params (K, ...) and rows (K, R, d) are updated in place.

    ``fixed`` (K, R, f) are features of the rows that nobody trains. The loss is the mean over a client's batches of the
    mean loss in the batch, measured before the batch's step.
    """
    rule: type[SGD] | type[Adam] = Adam if local.optimizer == "adam" else SGD
    like = next(iter(rows.values()))
    optimizer = rule({**by_group(model, params), "items": rows}, local.rates(round), local.weight_decay)
    pace = Pace(len(chunk.clients), local.step_decay, local.stop, like)
    weights = positive_rows(chunk, like.dtype) if model.mixes else None
    finished = finished_before(chunk, local.batch)
    for epoch in range(local.epochs):
        for first, batch in batches(model, chunk, local.batch, finished, like.dtype, seed, round, epoch):
            if fixed or weights is not None:
                features = {name: value[first:] for name, value in (fixed or {}).items()}
                batch = replace(batch, own=None if weights is None else weights[first:], fixed=features)
            left = {name: p[first:] for name, p in params.items()}, {name: q[first:] for name, q in rows.items()}
            factor = pace.factor(first)
            for step, wanted in enumerate(model.steps):
                step_loss, learnt, items = model.gradients(*left, batch, wanted)
                step_loss, items = model.penalised(step_loss, items, left[1], batch)
                optimizer.step({**by_group(model, learnt), "items": items}, wanted, first, factor)
                if step == 0:
                    pace.note(first, step_loss, (batch.weights > 0).sum(1))
        if local.stop and not pace.goes_on():
            break
    return Trained(params, rows, pace.mean_loss())


def by_group(model: Model, named: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """What is named by parameter, in groups that have a rate each."""
    groups: dict[str, dict[str, T]] = {"network": {}}
    for name, value in named.items():
        groups.setdefault(model.group(name), {})[name] = value
    return groups


def positive_rows(chunk: Chunk, dtype: torch.dtype) -> Tensor:
    """1 / (a client's positives) for the rows of its positives in this round, 0 for all others, (K, R)."""
    real = real_of(chunk.local, chunk.count)
    found = torch.zeros(chunk.ids.shape, dtype=dtype, device=chunk.ids.device)
    found.scatter_reduce_(1, chunk.local, (chunk.label * real).to(dtype), "amax")
    return found / found.sum(1, keepdim=True).clamp(min=1)


def finished_before(chunk: Chunk, size: int) -> list[int]:
    """How many clients have no samples left before each batch of ``size``: one wait for the device, for all epochs."""
    starts = torch.arange(0, chunk.sample.shape[1], size, device=chunk.count.device)
    return (chunk.count[:, None] <= starts).sum(0).tolist()


def batches(
    model: Model, chunk: Chunk, size: int, finished: list[int], dtype: torch.dtype, seed: int, round: int, epoch: int
) -> Iterator[tuple[int, Batch]]:
    """One epoch in batches of ``size``: the first client that still has samples, and the batch of it and all after it.

    Clients are sorted by their number of samples, so those that have ``finished`` are the first ones.
    """
    order = shuffled(chunk, rng.key(seed, "shuffle", round, epoch))
    local, label = chunk.local.gather(1, order), chunk.label.to(dtype).gather(1, order)
    sample = chunk.sample.gather(1, order)
    for first, start in zip(finished, range(0, order.shape[1], size), strict=True):
        part = slice(first, None), slice(start, start + size)
        left = (chunk.count[first:, None] - start).clamp(max=size)
        real = torch.arange(local[part].shape[1], device=left.device) < left
        masks = dropout_masks(model, chunk.clients[first:], sample[part], seed, round, epoch, dtype)
        yield first, Batch(local[part], label[part], real / left.to(dtype), masks, round)


def shuffled(chunk: Chunk, stream: int) -> Tensor:
    """The order in which each client visits its samples, (K, N); padding comes last.

    Samples are sorted by a random number of their own identity, so the order in which the data lists them is nothing.
    The sample's position is packed into the low bits of its number: one sort of integers then carries it along.
    """
    n = chunk.sample.shape[1]
    low = max(1, (n - 1).bit_length())
    high_bits = (1 << 63) - (1 << low)
    number = rng.bits(stream, chunk.clients[:, None], chunk.sample).bitwise_right_shift_(1).bitwise_and_(high_bits)
    position = torch.arange(n, device=number.device)
    packed = number.bitwise_or_(position).masked_fill_(position >= chunk.count[:, None], (1 << 63) - 1)
    packed = packed.sort(dim=1).values if packed.is_cuda else torch.from_numpy(np.sort(packed.numpy(), axis=1))
    return packed.bitwise_and_((1 << low) - 1).clamp_(max=n - 1)


def dropout_masks(
    model: Model, clients: Tensor, sample: Tensor, seed: int, round: int, epoch: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Masks (K, B, width) for every dropout site, from each sample's own draws."""
    return {
        f"{name}.mask": rng.dropout(
            site.p, site.width, dtype, rng.key(seed, "dropout:" + name, round, epoch), clients[:, None], sample
        )
        for name, site in model.dropouts().items()
    }
