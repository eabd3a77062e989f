"""The judge of stores that train a model of one user: one sample after the other, plain modules and ``torch.optim``.

Like :mod:`tests.oracle`, whose models, draws and means it uses. A store has one parameter a name: (U, ...) for what is
a user's, the received values for what is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from tests import oracle

Values = dict[str, Tensor]
Logit = Callable[[Mapping[str, Tensor], int, int, Tensor, int], Tensor]  # values, user, item, masks' sample, epoch


@dataclass(frozen=True)
class Store:
    """A store's users, and their training items and the items that are never drawn, user by user."""

    users: list[int]
    positives: list[list[int]]
    excluded: list[list[int]]


def module_logit(model: oracle.Client, private: Sequence[str], store: int, seed: int, t: int) -> Logit:
    """The logit of one pair by a plain module, with the dropout masks of its sample; no masks without a sample."""

    def logit(values: Mapping[str, Tensor], user: int, item: int, sample: Tensor, epoch: int) -> Tensor:
        for _, module in model.named_modules():
            if isinstance(module, oracle.Dropout):
                module.mask = None
        if len(sample):
            oracle.set_masks(model, sample, store, seed, t, epoch)
        own = {oracle.state_name(model, name): v[user] if name in private else v for name, v in values.items()}
        return functional_call(model, own, (torch.tensor([item]),))[0]

    return logit


def pergnn_logit(store: Store, neighbours: str | None, before: Tensor) -> Logit:
    """FedPerGNN's by its formula; ``before`` (U, d) are the vectors its users know of each other."""

    def message(q: Tensor, u: int, j: int) -> Tensor:
        known = [before[v] for v in range(len(store.users)) if v != u and j in store.positives[v]]
        return (q[j] + torch.stack(known).mean(0)) / 2 if known and j in store.positives[u] else q[j]

    def logit(values: Mapping[str, Tensor], u: int, i: int, sample: Tensor, epoch: int) -> Tensor:
        p, q = values["user"][u], values["item"]
        heard = [message(q, u, j) if neighbours == "history" else q[j] for j in store.positives[u] if j != i]
        user = (p + torch.stack(heard).mean(0)) / 2 if heard else p
        return user @ (message(q, u, i) if neighbours == "item" else q[i])

    return logit


def train(
    store: Store, number: int, values: Values, logit: Logit, tables: Sequence[str], dual: bool, local: oracle.Local,
    n_items: int, negatives: int, t: int,
) -> tuple[float, Tensor, int]:  # fmt: skip
    """Local training of ``values``, in place; the mean of the batch losses, the rows touched, the number of samples."""
    who, drawn = [], []
    for u, user in enumerate(store.users):
        drawn.append(
            oracle.draw_samples(user, store.positives[u], store.excluded[u], n_items, negatives, local.seed, t)
        )
        who += [u] * len(drawn[-1].id)
    ids = torch.cat([s.id + user * n_items * (negatives + 1) for user, s in zip(store.users, drawn, strict=True)])
    item, label = torch.cat([s.item for s in drawn]), torch.cat([s.label for s in drawn])
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    groups = {
        "items": {"params": [leaves[name] for name in tables], "lr": local.lr_items},
        "others": {"params": [leaf for name, leaf in leaves.items() if name not in tables], "lr": local.lr},
    }
    make = oracle.OPTIMIZERS[local.optimizer]
    steps = [[groups["others"]], [groups["items"]]] if dual else [[groups["others"], groups["items"]]]
    optimizers = [make(step, weight_decay=local.weight_decay) for step in steps]
    losses = []
    for epoch in range(local.epochs):
        for chosen in oracle.batches(ids, local.batch, number, local.seed, t, epoch):
            for k, optimizer in enumerate(optimizers):
                for leaf in leaves.values():
                    leaf.grad = torch.zeros_like(leaf)  # a user who is not in the batch has a gradient of zero
                z = torch.stack([logit(leaves, who[x], int(item[x]), ids[x : x + 1], epoch) for x in chosen.tolist()])
                loss = binary_cross_entropy_with_logits(z, label[chosen].to(z.dtype))
                loss.backward()
                optimizer.step()
                if k == 0:
                    losses.append(loss.item())
    touched = torch.unique(item)
    for name, leaf in leaves.items():
        if name in tables:  # of the rows, those of this round's samples are trained
            values[name] = values[name].index_copy(0, touched, leaf.detach()[touched])
        else:
            values[name] = leaf.detach()
    return sum(losses) / len(losses), touched, len(ids)
