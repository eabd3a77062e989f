"""What a selector picks, against a truth that was planted: the synthetic shop knows which interactions are hard."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from fedlib import rng
from fedlib.data.interactions import Split
from fedlib.data.negatives import NegativeSampler
from fedlib.data.truth import KINDS
from fedlib.engine.clients import UserClients
from fedlib.engine.cohort import LocalRows, chunks
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.places import Plan
from fedlib.run.result import Result
from fedlib.select.base import Selection
from fedlib.shapes import Work


def choice(result: Result, select: Selection) -> Tensor:
    """Which training positives (nnz,) ``select`` would keep if all clients of ``result`` began another round with it.

    Nothing is trained: the question is what the selector sees in this model. Its own state is that of a first round.
    """
    memory = {name: value.to(result.state.device) for name, value in select.memory(result.data).items()}
    for work, message in before_training(result, select):
        work.memory = memory
        select.client(work, message)
    return memory["used"].cpu()


def before_training(result: Result, select: Selection, size: int = 64) -> Iterator[tuple[Work, dict[str, Tensor]]]:
    """What ``select`` would be given in another round of ``result``: the work of ``size`` clients at a time, and the
    message of a server in its first round."""
    split, state, backbone = result.data, result.state, result.backbone
    local, seed = LocalTraining(**result.config["local"]), int(result.config["seed"])
    n, train, length = split.data.n_items, split.train.to(state.device), split.client_sizes.to(state.device)
    touched = split.data.interactions.to(state.device) if local.negatives_from == "untouched" else train
    clients = UserClients(backbone, local, train, length, NegativeSampler(touched, n), LocalRows(n, state.device), seed)
    everybody = length.nonzero().squeeze(1)
    plan = Plan(backbone, len(everybody), float(len(everybody)), "all", state.round + 1)
    own = {name: value.to(state.device) for name, value in (select.init(split, seed) | select.plan(plan)).items()}
    message = select.broadcast(own, state, everybody)
    for group in chunks(everybody, length, size):
        yield clients.receive(state, group, state.round), message


def kinds(split: Split) -> Tensor:
    """The planted kind of each training positive (nnz,), an index into ``fedlib.data.truth.KINDS``.

    Raises InputError for data without planted kinds.
    """
    truth = split.data.truth
    if truth is None:
        raise InputError(f'{split.data.name} has no planted truth: load("synthetic") has.')
    known, n = split.data.interactions, split.data.n_items
    pairs = known.users * n + known.items
    order = pairs.argsort()
    wanted = split.train.users * n + split.train.items
    return truth.kind[order[torch.searchsorted(pairs[order], wanted)]]


def composition(chosen: Tensor, split: Split, *, draws: int = 200) -> pd.DataFrame:
    """What the ``chosen`` training positives (nnz,) are made of, beside what there is to choose from.

    One row a planted kind: its share among the chosen and in the population, their ratio, and the share's standard
    error: that of as many positives of each client, chosen by chance ``draws`` times.
    """
    kind, counts = kinds(split), torch.bincount(split.train.users[chosen], minlength=split.train.n_users)
    one_hot = torch.nn.functional.one_hot(kind, len(KINDS)).double()
    found, population = one_hot[chosen].mean(0), one_hot.mean(0)
    by_chance = torch.stack([one_hot[at_random(split, counts, draw)].mean(0) for draw in range(draws)])
    return pd.DataFrame(
        {"chosen": found, "population": population, "ratio": found / population, "error": by_chance.std(0)},
        index=pd.Index(KINDS, name="kind"),
    )


def at_random(split: Split, counts: Tensor, draw: int) -> Tensor:
    """``counts`` (m,) training positives of each user by chance, (nnz,) bool."""
    number = rng.uniform(rng.key(0, "planted", draw), torch.arange(len(split.train.items)))
    order = (split.train.users + number).argsort()  # users stay together, their items are mixed
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return rank - split.train.indptr[split.train.users] < counts[split.train.users]
