"""Small inputs shared by tests of the loop, and the oracle's words for the package's parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedlib import (
    FALE,
    Entropy,
    FedMF,
    FedNCF,
    FedSelect,
    HardestNegativeMargin,
    LabelConfidence,
    LeastConfidence,
    Margin,
    PFedRec,
    Place,
    PrototypeSelection,
    RandomSelection,
    SoftmaxEntropy,
    rng,
)
from fedlib.backbones import FCF, Backbone, FedAvg, FedRAP
from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems
from fedlib.select import Selection
from fedlib.shapes import Work
from tests import oracle
from tests.select.fakes import Fake


def small_split(*, m: int = 13, n: int = 40, longest: int = 12, seed: int = 0, negatives: int = 5) -> Split:
    """m users with 3 to ``longest`` of n items (so the shortest trains on one), leave-one-out."""
    lists = [rng.permutation(n, rng.key(seed, "test items", u))[: 3 + (7 * u) % (longest - 2)] for u in range(m)]
    log = UserItems.from_pairs(
        torch.repeat_interleave(torch.arange(m), torch.tensor([len(x) for x in lists])), torch.cat(lists), m
    )
    catalogue = pd.DataFrame(
        {"title": [f"Item {i}" for i in range(n)], "description": "", "categories": "", "image": ""}
    )
    data = Dataset(
        "small", m, n, log, [f"u{u}" for u in range(m)], [f"i{i}" for i in range(n)], catalogue, "", log.sha256
    )
    return data.leave_one_out(seed=seed, negatives=negatives)


BACKBONES: dict[str, tuple[Backbone, object]] = {
    "fedmf": (FedMF(8), partial(oracle.FedMF, dim=8)),
    "fedncf": (
        FedNCF(8, hidden=(12, 6), gmf=0, dropout=0.5, std=0.3),
        partial(oracle.FedNCF, dim=8, hidden=(12, 6), dropout=0.5),
    ),
    "neumf": (FedNCF(8, hidden=(12, 6), gmf=4, std=0.3), partial(oracle.NeuMF, dim=4, dim_mlp=8, hidden=(12, 6))),
    "pfedrec": (PFedRec(8), partial(oracle.PFedRec, dim=8)),
    "fedavg": (FedAvg(8), partial(oracle.FedAvg, dim=8)),
    "fcf": (FCF(8), partial(oracle.FedAvg, dim=8)),
    "fedrap": (FedRAP(8, lam=0.3, mu=0.2), partial(oracle.FedRAP, dim=8, lam=0.3, mu=0.2)),
    "fedrap-constant": (
        FedRAP(8, lam=0.01, mu=0.2, ramp="constant"),
        partial(oracle.FedRAP, dim=8, lam=0.01, mu=0.2, ramp=False),
    ),
    "pfedrec-mlp": (
        PFedRec(8, hidden=(10, 6), dropout=0.3),
        partial(oracle.PFedRec, dim=8, hidden=(10, 6), dropout=0.3),
    ),
}


def selectors(ratio: float = 0.4, *, n: int = 40, dim: int = 8) -> dict[str, Selection]:
    """Every selector of the package, for n items of vectors ``dim`` wide; FedSelect without a warm-up."""
    plain: tuple[type[Selection], ...] = (RandomSelection, Entropy, Margin, LeastConfidence, LabelConfidence)
    beside = (SoftmaxEntropy, HardestNegativeMargin)  # these have no rule for negatives
    fake, found = Fake(n, dim), {}
    for over, named in (("positives", ""), ("samples", " over samples")):
        made = {cls.__name__: cls(ratio, over=over) for cls in (*plain, *(beside if over == "positives" else ()))} | {
            "FALE": FALE(ratio, over=over),
            "FedSelect": FedSelect(ratio, over=over, warm_up=1),
        }
        forms: dict[str, dict[str, Any]] = {
            "static prototypes": {"reading": "intent"},
            "hard_min": {"reading": "hard_min", "update_every": 2},
            "literal_desc": {"reading": "literal_desc", "update_every": 1},
            "drawn": {"reading": "intent", "update_every": 2, "sampled": True},
        }
        made |= {name: PrototypeSelection(ratio, over=over, prototypes=fake, **how) for name, how in forms.items()}
        found |= {name + named: place for name, place in made.items()}
    return found | {"balanced": RandomSelection(ratio, over="samples", positive_share=0.5)}


class Telling(Place):
    """A place whose clients send something of their own beside the update: how many items they have."""

    def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"items": work.count.double()}


# Selectors that send nothing and differ in a score alone: RandomSelection stands for all of them.
ALIKE = ("Entropy", "Margin", "LeastConfidence", "SoftmaxEntropy", "HardestNegativeMargin", "LabelConfidence",
         "hard_min", "literal_desc", "balanced",
         *(f"{name} over samples" for name in ("Entropy", "Margin", "LeastConfidence", "LabelConfidence", "hard_min",
                                               "literal_desc", "static prototypes", "drawn", "FALE")))  # fmt: skip


def refuses(backbone: Backbone, places: dict[str, Place]) -> bool:
    """Whether a selector cannot go with a backbone: one that trains on all items, or has two vectors of an item."""
    place = places.get("select")
    if not isinstance(place, Selection):
        return False
    return backbone.all_items or (isinstance(place, FALE | PrototypeSelection) and len(backbone.tables) > 1)


# What may come before training, as arguments of federate. Every augmenter, selector and item table of the package
# belongs here: each backbone is run with each of them under protection (tests/backbones/test_protected.py).
BEFORE_TRAINING: dict[str, dict[str, Place]] = {"nothing": {}, "a telling place": {"select": Telling()}} | {
    name: {"select": place} for name, place in selectors(n=60).items() if name not in ALIKE
}


def oracle_name(kind: str, name: str) -> str:
    """The oracle's name of a table or parameter."""
    if kind == "neumf":
        table = {"item": "mlp", "gmf": "gmf", "user": "user_mlp", "user_gmf": "user_gmf"}
        return table.get(name, name.replace("mlp.", "tower."))
    return name.replace("score.out", "score.linear2") if kind == "pfedrec-mlp" else name.replace("out.", "mlp.linear2.")


def run_oracle(
    kind: str, split: Split, start: dict[str, dict[str, Tensor]], *, local, rounds: int, clients_per_round: float = 1.0,
    dtype=torch.float32, seed: int = 0, items: str | None = None, network: str | None = None,
) -> tuple[dict[str, Tensor], oracle.OracleResult]:  # fmt: skip
    """Train the oracle from the package's starting values; returns its values under the package's names."""
    backbone, spec = BACKBONES[kind]
    names = {oracle_name(kind, name): name for group in start.values() for name in group}
    short = {group: {oracle_name(kind, name): value for name, value in named.items()} for group, named in start.items()}
    exclude = split.data.interactions if local.negatives_from != "unobserved" else split.train
    m = split.data.n_users
    result = oracle.run(
        spec, [split.train[u].tolist() for u in range(m)], split.data.n_items,
        shared=short["shared"], private=short["private"],
        rounds=rounds, epochs=local.epochs, batch=local.batch, lr=local.lr,
        lr_items=local.lr_items, weight_decay=local.weight_decay,
        optimizer=local.optimizer, negatives=local.negatives, clients_per_round=clients_per_round,
        aggregate_items=items or backbone.aggregate_items, aggregate_params=network or backbone.aggregate_network,
        seed=seed, dtype=dtype, exclude=[exclude[u].tolist() for u in range(m)],
        step_decay=local.step_decay, stop=local.stop,
    )  # fmt: skip
    return {names[name]: value for name, value in {**result.shared, **result.private}.items()}, result
