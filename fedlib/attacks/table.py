"""Every attack on every protection: who finds out how much.

A row is a protection, a party and an attack, with means over random victims: how many items were ``found``, their
``precision`` and ``recall``, the share of victims whose items were found ``exact``, without one missing or too many,
and the precision of guesses of as many items, by ``popularity`` among the others and at ``random``. ``victims`` counts
those an attack could be tried on: it takes two rounds for ratings, for instance. Of a sum or mean all members get the
same guess. Attacks with "k told" are told how many items the victim has.

Parties are those of :class:`~fedlib.attacks.eavesdrop.Eavesdropper`, and "model", whoever holds a victim's final model
with its private parts, which no protection of uploads covers; its row on membership, of training against held-out
items, has ``auc`` and ``advantage`` in the place of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import softplus

from fedlib import rng
from fedlib.attacks.cases import ATTACKS, Attack, Case, Known
from fedlib.attacks.eavesdrop import Eavesdropper
from fedlib.attacks.measure import membership, success
from fedlib.attacks.models import best
from fedlib.backbones.base import Backbone
from fedlib.data.interactions import Split
from fedlib.data.log import UserItems
from fedlib.engine.reading import score, score_all
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.federation import federate
from fedlib.places import Place
from fedlib.run.result import Result
from fedlib.shapes import real_of

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
    attacks: Sequence[Attack] = ATTACKS,
    seed: int = 0,
    **run: Any,
) -> pd.DataFrame:
    """Train once under each of the ``protections``, by name, and let each party try the ``attacks``.

    ``table``: the item table that is attacked ("gmf" for the product branch of FedNCF, "common" for FedRAP). With
    ``prototype`` (n,), the prototype of each item, the server is taken to get counts beside the update: noise on
    updates is not on them, secure aggregation covers them, and UserLevelDP does not let them be sent. ``local`` draws
    negatives from "unobserved" items by default. ``run`` are further arguments of
    :func:`~fedlib.federation.federate`. Raises InputError where the clients are stores.
    """
    if split.stores is not None:
        raise InputError("The attacks are on users: use a split whose clients are not stores.")
    run |= {"local": local or LocalTraining(lr=1.0, negatives_from="unobserved"), "rounds": rounds, "seed": seed}
    able = split.train.counts.nonzero()[:, 0]
    users = able[rng.permutation(len(able), rng.key(seed, "victims"))[:victims]]
    rows: list[Row] = []
    for name, protect in protections.items():
        tap = Eavesdropper(protect or Place())
        result = federate(split, backbone, protect=tap, evaluate_every=rounds, **run)
        for party in ("server", "outside"):
            known = Known(result, table, prototype if party == "server" and tap.takes_uploads() else None)
            told = successes(tap, party, known, users, attacks)
            rows += [{"protection": name, "party": party, **row} for row in told]
        rows += [{"protection": name, "party": "model", **row} for row in on_model(result, users)]
    return pd.DataFrame(rows)


def successes(tap: Eavesdropper, party: str, known: Known, users: Tensor, attacks: Sequence[Attack]) -> list[Row]:
    """One row an attack: means over the ``users`` (K,) of whom the ``party`` saw something."""
    rows = []
    for truth, others, user in histories(known.result.data, users):
        if seen := tap.of(user, party):
            case = Case(known, seen, len(truth), others)
            rows += [measured(name, found, truth, others) for attack in attacks for name, found in attack(case)]
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
