"""Every attack on every protection: who finds out how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import softplus

from fedlib import rng
from fedlib.attacks.eavesdrop import Eavesdropper, Seen
from fedlib.attacks.measure import membership, success
from fedlib.attacks.models import best, from_counts, from_head
from fedlib.attacks.updates import from_fcf, intersect, ratings_from_two_rounds, rows_by_sign, touched_rows
from fedlib.backbones.base import Backbone
from fedlib.backbones.fcf import FCFALS
from fedlib.backbones.fedmf import FedMF
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.engine.reading import score, score_all
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.federation import federate
from fedlib.places import Place
from fedlib.protect.noise import UserLevelDP
from fedlib.run.result import Result
from fedlib.shapes import real_of

HEAD = "score.weight"
Row = dict[str, Any]


def attack_table(
    split: Split,
    backbone: Backbone,
    protections: Mapping[str, Place | None],
    *,
    local: LocalTraining | None = None,
    rounds: int = 8,
    victims: int = 50,
    table: str = "item",
    prototype: Tensor | None = None,
    seed: int = 0,
    **run: Any,
) -> pd.DataFrame:
    """Train once under each of the ``protections``, by name, and let each party try the attacks that suit the backbone.

    One row a protection, party and attack, with means over random ``victims``: how many items were ``found``, their
    ``precision`` and ``recall``, the share of victims whose items were found ``exact``, without one missing or too
    many, and the precision of guesses of as many items, by ``popularity`` among the others and at ``random``. Parties
    are those of :class:`~fedlib.attacks.eavesdrop.Eavesdropper`. Of a sum or mean all members get the same guess. The
    column ``victims`` counts those an attack could be tried on: it takes two rounds for ratings, for instance.

    ``table``: the item table that is attacked ("gmf" for the product branch of FedNCF, "common" for FedRAP). Attacks
    with "k told" are told how many items the victim has. With ``prototype`` (n,), the prototype of each item, the
    server is taken to get counts beside the update: noise on updates is not on them, secure aggregation covers them,
    and UserLevelDP does not let them be sent. The attack on a head is tried where ``score.weight`` is sent. The party
    "model" is whoever holds a victim's final model with its private parts, which no protection of uploads covers; its
    row on membership, of training against held-out items, has ``auc`` and ``advantage`` in the place of the rest.

    ``local`` draws negatives from "unobserved" items by default. ``run`` are further arguments of
    :func:`~fedlib.federation.federate`. Raises InputError where the clients are stores.
    """
    if split.stores is not None:
        raise InputError("The attacks are on users: use a split whose clients are not stores.")
    local = local or LocalTraining(lr=1.0, negatives_from="unobserved")
    able = split.train.counts.nonzero()[:, 0]
    users = able[rng.permutation(len(able), rng.key(seed, "victims"))[:victims]]
    rows: list[Row] = []
    for name, protect in protections.items():
        tap = Eavesdropper(protect or Place())
        result = federate(split, backbone, protect=tap, local=local, rounds=rounds, seed=seed, evaluate_every=rounds,
                          **run)  # fmt: skip
        counted = None if isinstance(protect, UserLevelDP) else prototype
        for party in ("server", "outside"):
            known = Known(result, table, counted if party == "server" else None)
            rows += [{"protection": name, "party": party, **row} for row in successes(tap, party, known, users)]
        rows += [{"protection": name, "party": "model", **row} for row in on_model(result, users)]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Known:
    """What an attacker knows beside what it sees: the method with its settings, and which ``table`` it looks at."""

    result: Result
    table: str
    prototype: Tensor | None

    def guesses(self, seen: list[Seen], truth: set[int], popularity: Tensor) -> Iterator[tuple[str, set[int]]]:
        """The items each attack finds in what was ``seen`` of a client; the ``truth`` gives its k away, and counts."""
        if not seen:
            return
        k, last = len(truth), seen[-1]
        changes = [one.change(self.table) for one in seen]
        yield "touched rows", touched_rows(changes[-1])
        yield "touched in every round", intersect(changes)
        yield "sides of rows", rows_by_sign(changes[-1])
        yield "sides over all rounds, k told", rows_by_sign(torch.stack(changes).sum(0), k)
        backbone, local = self.result.backbone, LocalTraining(**self.result.config["local"])
        if isinstance(backbone, FCFALS):
            tables = [one.received[self.table] for one in seen]
            found = [from_fcf(change, q, backbone.l2) for change, q in zip(changes, tables, strict=True)]
            yield "FCF's residual", found[-1]
            yield "FCF's residual in every round", set.intersection(*found)
            yield "FCF's residual, k told", from_fcf(changes[-1], tables[-1], backbone.l2, k)
        if isinstance(backbone, FedMF) and local.optimizer == "sgd" and len(seen) > 1:
            assert local.lr_items is not None  # the configuration of a run leaves nothing open
            rates = {"lr": local.lr, "lr_items": local.lr_items}
            stolen = ratings_from_two_rounds(changes[-2], changes[-1], seen[-2].received[self.table], **rates)
            yield "ratings from two rounds", set((stolen.ratings > 0.5).nonzero()[:, 0].tolist())
        if HEAD in last.parameters:
            yield "change of the head, k told", best(from_head(last.parameters[HEAD][0], last.received[self.table]), k)
        if self.prototype is not None:
            counts = mean_counts(self.result.data.train, last.clients, self.prototype)
            yield "counts", best(from_counts(counts, self.prototype, popularity + 1), int(counts.sum() + 0.5))


def mean_counts(log: UserItems, clients: tuple[int, ...], prototype: Tensor) -> Tensor:
    """The counts by prototype, (J,), of one client, or the mean of those whose sum the server gets."""
    items = torch.cat([log[client] for client in clients])
    return torch.bincount(prototype[items], minlength=int(prototype.max()) + 1) / len(clients)


def successes(tap: Eavesdropper, party: str, known: Known, users: Tensor) -> list[Row]:
    """One row an attack: means over the ``users`` (K,) of whom the ``party`` saw something."""
    rows = []
    for truth, others, user in histories(known.result.data, users):
        seen = tap.of(user, party)
        rows += [measured(attack, found, truth, others) for attack, found in known.guesses(seen, truth, others)]
    return means(rows)


def on_model(result: Result, users: Tensor) -> list[Row]:
    """What the final models of ``users`` (K,) tell: their best scores, and membership of training against held-out."""
    split, rows, device = result.data, [], result.state.device
    scores = score_all(result.state, result.backbone, users.to(device), split.train.to(device)).cpu()
    for one, (truth, others, _) in zip(scores, histories(split, users), strict=True):
        rows.append(measured("best scores, k told", best(one, len(truth)), truth, others))
    trained, held_out = (losses(result, users, logs) for logs in ([split.train], [split.valid, split.test]))
    return [*means(rows), {"attack": "membership", **membership(trained, held_out)._asdict()}]


def histories(split: Split, users: Tensor) -> Iterator[tuple[set[int], Tensor, int]]:
    """Each user's training items, how often the *others* have each item (n,), and the user."""
    everybody = torch.bincount(split.train.items, minlength=split.data.n_items)
    for user in users.tolist():
        own = split.train[user]
        yield set(own.tolist()), everybody.index_add(0, own, -torch.ones_like(own)), user


def measured(attack: str, found: set[int], truth: set[int], others: Tensor) -> Row:
    """One attack on one user."""
    exact = float(found == truth)
    return {"attack": attack, "found": len(found), "exact": exact, **success(found, truth, others)._asdict()}


def means(rows: list[Row]) -> list[Row]:
    """The mean of each attack's rows, in the order of the attacks."""
    if not rows:
        return []
    groups = pd.DataFrame(rows).groupby("attack", sort=False)
    table = groups.mean().assign(victims=groups.size())
    return [{"attack": attack, **{str(key): value for key, value in row.items()}} for attack, row in table.iterrows()]


def losses(result: Result, users: Tensor, logs: list[UserItems]) -> Tensor:
    r"""The losses :math:`-\ln\sigma(z_{ui})` of the users' pairs in ``logs``, one after the other."""
    parts = []
    device = result.state.device
    for items, count in (log.padded(users) for log in logs):
        z = score(result.state, result.backbone, users.to(device), items.to(device), result.data.train.to(device)).cpu()
        parts.append(softplus(-z)[real_of(items, count)])
    return torch.cat(parts)
