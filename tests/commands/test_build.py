"""What the options become: the objects that a program would have made."""

from __future__ import annotations

from typing import Any

import pytest

from fedlib import FedMF, LocalDP, PlainNoise, SecureAggregation, UserLevelDP, load
from fedlib.commands.build import build, build_augment, build_server
from fedlib.commands.models import MODELS
from fedlib.commands.options import RunOptions, TuneOptions
from fedlib.data.partition import at_random, by_degree, share_edges
from fedlib.shapes import Rates
from tests.command_line import RUN, refusal, report
from tests.command_line import here as here

pytestmark = pytest.mark.usefixtures("here")


def options(**more: Any) -> RunOptions:
    return RunOptions(**{"dataset": "synthetic", "backbone": "fedmf"} | more)


def test_rates_replace_one_another_and_the_backbones_rule_stands_in() -> None:
    made = build(options(clients_per_round=0.5, lr=2.0, lr_items=3.0))
    assert (made.settings, made.rates) == ("given", Rates(2.0, 3.0))
    assert made.at(Rates(0.5, 7.0)).rates == Rates(0.5, 7.0)
    assert made.at(Rates(0.5)).rates == Rates(0.5, 100 * 0.5)  # FedMF's: times the clients of a round
    assert made.at(Rates(0.5)).local.negatives_from == made.local.negatives_from == "untouched"


def test_a_split_at_hand_is_not_read_again() -> None:
    split = load("synthetic").full_ranking()
    assert build(options(dataset="nowhere"), split).split is split


@pytest.mark.parametrize("partition", ["random", "uniform", "beta"])
def test_stores_share_a_part_of_what_they_hold_with_a_global_log(partition: str) -> None:
    how = {"stores": 4, "partition": partition, "split_seed": 5, "protocol": "ratio80"}
    made = build(options(**how, global_share=0.25))
    plain = load("synthetic").ratio_split(seed=5)
    stores = (
        at_random(plain.data.n_users, 4, seed=5)
        if partition == "random"
        else by_degree(plain.train.counts, 4, law=partition, seed=5)
    )
    expected = share_edges(plain.with_stores(stores), share=0.25, seed=5)
    assert made.split.stores is not None and made.split.stores.sha256 == stores.sha256
    assert made.split.train.sha256 == expected.train.sha256 != plain.train.sha256
    assert made.split.global_log is not None and expected.global_log is not None
    assert made.split.global_log.sha256 == expected.global_log.sha256
    assert build(options(**how)).split.global_log is None


@pytest.mark.parametrize(
    ("protect", "place"),
    [({}, None), ({"protect": "noise"}, PlainNoise()), ({"protect": "secagg"}, SecureAggregation()),
     ({"protect": "secagg", "clip": 2.0}, SecureAggregation(clip=2.0)), ({"protect": "local-dp"}, LocalDP()),
     ({"protect": "local-dp", "dp_epsilon": 4.0}, LocalDP(scale=LocalDP.clip / 2)),
     ({"protect": "local-dp", "clip": 3.0, "dp_epsilon": 4.0}, LocalDP(clip=3.0, scale=1.5)),
     ({"protect": "user-dp", "clip": 3.0, "dp_epsilon": 4.0}, UserLevelDP(clip=3.0, epsilon=4.0))],
)  # fmt: skip
def test_a_protection_is_the_packages(protect: dict[str, Any], place: Any) -> None:
    made = build(options(**protect)).protect
    assert type(made) is type(place)
    assert place is None or vars(made) == vars(place)


def test_the_mean_is_no_optimiser_and_no_outside_data_no_place() -> None:
    made = build(TuneOptions(dataset="synthetic", backbone="fedmf", table="t.json", grid="1"))  # type: ignore[arg-type]
    assert (made.server, made.augment, made.select, made.items, made.protect) == (None,) * 5
    assert isinstance(made.backbone, FedMF) and made.how["ks"] == (10,)


@pytest.mark.parametrize(("name", "cls"), [("sgd", "ServerSGD"), ("adam", "ServerAdam"), ("yogi", "ServerYogi")])
def test_a_server_optimiser_has_the_given_rate_or_its_own(name: str, cls: str) -> None:
    import fedlib.server.optimizers as optimizers

    assert build_server(options(server_optimizer=name)) == getattr(optimizers, cls)()
    assert build_server(options(server_optimizer=name, server_lr=0.3)) == getattr(optimizers, cls)(lr=0.3)


def test_a_server_optimiser_changes_the_run() -> None:
    fedmf = [*RUN, "--backbone", "fedmf", "--rounds", "2", "--lr", "1"]
    mean, momentum = report(*fedmf), report(*fedmf, "--server-optimizer", "sgd", "--server-lr", "0.5")
    assert mean["history"][1]["loss"] != momentum["history"][1]["loss"]


def test_outside_interactions_are_a_place() -> None:
    from fedlib.augment import AllOutside, RandomOutside

    assert isinstance(build_augment(options(augment="all")), AllOutside)
    some = build_augment(options(augment="random", augment_share=0.25))
    assert isinstance(some, RandomOutside) and vars(some) == vars(RandomOutside(0.25))


@pytest.mark.parametrize("augment", [["all"], ["random", "--augment-share", "0.5"]])
def test_a_run_of_stores_takes_outside_interactions(augment: list[str]) -> None:
    stores = [*RUN, "--backbone", "fedngcf", "--stores", "4", "--protocol", "ratio80", "--rounds", "1", "--dim", "8"]
    alone, joined = (report(*stores, "--global-share", "0.5", "--augment", *how) for how in (["none"], augment))
    assert joined["config"]["global_share"] == alone["config"]["global_share"] == 0.5
    assert joined["config"]["places"].keys() == alone["config"]["places"].keys() | {"augment"}
    assert joined["history"][0]["loss"] != alone["history"][0]["loss"]


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.variants])
def test_stores_are_for_the_models_whose_class_says_so(capsys: pytest.CaptureFixture[str], name: str) -> None:
    cls = MODELS[name].load()
    told = refusal(capsys, ["run", "--dataset", "nowhere", "--backbone", name])
    assert ("needs --stores N" in told) == cls.clients_are_stores
    told = refusal(capsys, ["run", "--dataset", "nowhere", "--backbone", name, "--stores", "2"])
    assert ("leave out --stores" in told) != (cls.clients_are_stores or cls.may_train_in_stores)
