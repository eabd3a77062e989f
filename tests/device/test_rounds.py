"""Rounds on an accelerator: every backbone, selector, protection and fault, store and optimiser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fedlib import (
    Faults,
    FedMF,
    FedNCF,
    FedSelect,
    LocalDP,
    PFedRec,
    PlainNoise,
    RobustAggregation,
    SecureAggregation,
    UserLevelDP,
)
from fedlib.augment import AllOutside, RandomOutside
from fedlib.backbones import FCF, FCFALS, Backbone, FedAvg, FedNGCF, FedPerGNN, FedRAP
from fedlib.commands.models import MODELS
from fedlib.data.interactions import Split
from fedlib.data.log import Stores
from fedlib.data.partition import share_edges
from fedlib.places import Place
from fedlib.protect.robust import RULES
from fedlib.run.faults import ATTACKS
from fedlib.server.optimizers import ServerAdam, ServerOptimizer, ServerSGD, ServerYogi
from tests.device.agree import ADAM, LOCAL, check
from tests.items.fusion import BACKBONES as FUSED
from tests.items.fusion import EncodedFusion, fusion
from tests.small import BACKBONES, selectors, small_split

NGCF = FedNGCF(6, layers=(6, 4), dropout=0.2, max_steps=3)
# Each backbone of the package in the forms that take different ways through the code, small.
SMALL: dict[str, Backbone] = {name: backbone for name, (backbone, _) in BACKBONES.items()} | {
    "fcf-als": FCFALS(8),
    "fcf-l2": FCF(8),
    "fedpergnn": FedPerGNN(8, refresh=1),
    "fedpergnn-item": FedPerGNN(8, neighbours="item"),
    "fedpergnn-own": FedPerGNN(8, neighbours=None),
}
VARIANTS = [(key, name) for key, model in MODELS.items() for name in model.variants if key != "fedngcf"]
PROTECTIONS: dict[str, Place] = {
    "user-level dp": UserLevelDP(clip=0.5, noise_multiplier=0.1),
    "local dp": LocalDP(clip=0.1, scale=0.01, pseudo_items=5),
    "plain noise": PlainNoise(variance=0.01),
    "secure aggregation": SecureAggregation(clip=2.0),
} | {f"robust {rule}": RobustAggregation(rule=rule) for rule in RULES}  # fmt: skip
FAULTS: dict[str, Faults] = {
    "clients that fail": Faults(before=0.2, during=0.2, after=0.2, norm=100.0),
    "late and broken": Faults(deadline=0.1, broken=0.4),
    "stale": Faults(stale=0.6, age=1),
    "too few": Faults(after=0.9, least=10),
} | {attack: Faults(hostile=0.4, attack=attack) for attack in ATTACKS}
LOCALS = {
    "momentless": replace(LOCAL, weight_decay=0.01, epochs=2, lr_decay=0.9),
    "shrinking": replace(LOCAL, step_decay=0.9),
    "stopping": replace(ADAM, stop=0.5, epochs=3, step_decay=0.9),
    "spared": replace(ADAM, negatives_from="untouched"),
}  # fmt: skip


@pytest.fixture(scope="module")
def split() -> Split:
    return small_split(m=9, longest=6)


@pytest.fixture(scope="module")
def stores(split: Split) -> Split:
    """Three stores, one of which has a single user."""
    return split.with_stores(Stores(torch.tensor([0, 1, 0, 0, 1, 2, 0, 0, 1]), 3))


@pytest.mark.parametrize("name", SMALL)
def test_backbones(name: str, split: Split) -> None:
    check(split, SMALL[name], ADAM if name in ("fedncf", "pfedrec", "fedpergnn") else LOCAL)


@pytest.mark.parametrize(("key", "variant"), VARIANTS)
def test_what_the_command_line_builds(key: str, variant: str, split: Split) -> None:
    found = MODELS[key].variants[variant]
    check(split, MODELS[key].load()(**found.arguments), replace(LOCAL, optimizer=found.optimizer, lr=0.01), rounds=1)


@pytest.mark.parametrize("name", ["fedmf", "neumf", "pfedrec", "fedrap", "fedpergnn-own"])
def test_clients_that_share_nothing(name: str, split: Split) -> None:
    check(split, SMALL[name].alone(), clients_per_round=0.6)


@pytest.mark.parametrize("name", selectors())
def test_selectors(name: str, split: Split) -> None:
    check(split, FedMF(8), select=selectors()[name])


@pytest.mark.parametrize("backbone", [FedNCF(8, hidden=(12, 6), gmf=0, dropout=0.5), PFedRec(8), FedRAP(8),
                                      FedPerGNN(8)], ids=lambda b: type(b).__name__)  # fmt: skip
def test_the_meta_model_learns_through_every_kind_of_gradient(backbone: Backbone, split: Split) -> None:
    check(split, backbone, ADAM, select=FedSelect(0.5, over="positives", warm_up=0))


@pytest.mark.parametrize("name", PROTECTIONS)
def test_protection(name: str, split: Split) -> None:
    check(split, FedNCF(8, hidden=(12, 6)), protect=PROTECTIONS[name], clients_per_round=0.8)


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, split: Split) -> None:
    check(split, FedMF(8), faults=FAULTS[name], rounds=3)


@pytest.mark.parametrize("name", LOCALS)
def test_ways_of_local_training(name: str, split: Split) -> None:
    check(split, FedAvg(8), LOCALS[name], sampling="poisson", clients_per_round=0.7, chunk=1)


STORES: dict[str, tuple[Backbone, dict[str, Any]]] = {
    "ngcf": (NGCF, {"local": ADAM}),
    "ngcf, sgd": (FedNGCF(6, layers=(6,), variant="paper", dropout=0.0, max_steps=2), {"clients_per_round": 0.7}),
    "ngcf alone": (NGCF.alone(), {"local": ADAM}),
    "ngcf with faults": (NGCF, {"faults": Faults(before=0.2, after=0.3, broken=0.3), "rounds": 3}),
    "ngcf, hostile": (NGCF, {"faults": Faults(hostile=0.6, attack="promote")}),
    "ngcf protected": (NGCF, {"protect": UserLevelDP(clip=0.5, noise_multiplier=0.1)}),
    "ngcf summed": (NGCF, {"protect": SecureAggregation(clip=2.0)}),
    "users": (PFedRec(8), {"local": ADAM}),
    "users with faults": (FedMF(8), {"faults": Faults(hostile=0.6, attack="label-flip"), "rounds": 3}),
    "users of a graph": (FedPerGNN(8), {}),
    "users of a network": (FedNCF(8, hidden=(12, 6), dropout=0.5), {"local": ADAM, "protect": PlainNoise()}),
    "users of a least-squares model": (FCF(8), {}),
}


@pytest.mark.parametrize("name", STORES)
def test_stores(name: str, stores: Split) -> None:
    backbone, how = STORES[name]
    how = {"local": LOCAL, **how}
    how["local"] = replace(how["local"], batch=24)  # whoever trains for several users has more samples
    if isinstance(backbone, FedNGCF):
        how["local"] = replace(how["local"], weight_decay=0.0)
    check(stores, backbone, **how)


@pytest.mark.parametrize("kind", FUSED)
def test_fusions_and_the_part_that_evaluation_takes_ahead(kind: str, split: Split) -> None:
    for fused in (fusion(), fusion(kind=EncodedFusion)):
        check(split, FUSED[kind], items=fused, best="NDCG@5")


@pytest.mark.parametrize("server", [ServerSGD(), ServerAdam(), ServerYogi()], ids=lambda rule: type(rule).__name__)
def test_server_optimisers(server: ServerOptimizer, split: Split) -> None:
    check(split, FedMF(8), server=server)


@pytest.mark.parametrize("augment", [AllOutside(), RandomOutside(0.5)], ids=lambda place: type(place).__name__)
@pytest.mark.parametrize("name", ["ngcf", "fedmf", "fedpergnn", "fusion"])
def test_stores_that_learn_from_outside(name: str, augment: Place, stores: Split) -> None:
    shared = share_edges(stores, share=0.5)
    backbone = {"ngcf": NGCF, "fedpergnn": FedPerGNN(8)}.get(name, FedMF(8))
    how: dict[str, Any] = {"augment": augment} | ({"items": fusion()} if name == "fusion" else {})
    check(shared, backbone, ADAM if name != "ngcf" else LOCAL, **how)


@pytest.mark.parametrize(
    "name", [name for name, place in selectors().items() if name != "FedSelect" and place.over == "positives"]
)
def test_selectors_in_stores(name: str, stores: Split) -> None:
    check(stores, FedMF(8), select=selectors()[name])
