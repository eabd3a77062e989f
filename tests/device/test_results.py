"""What comes before, between and after the rounds on an accelerator: other protocols, checkpoints, results, attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from fedlib import FALE, Faults, FedMF, FedSelect, PFedRec, UserLevelDP, load_result
from fedlib.attacks import attack_table
from fedlib.backbones import FCFALS, Backbone, FedNGCF, FedPerGNN, FedRAP
from fedlib.centralized import BPR, NGCF, Chance, ItemKNN, Popularity, evaluate
from fedlib.data import synthetic
from fedlib.data.interactions import Split
from fedlib.data.partition import at_random, share_edges
from fedlib.evaluation.rankings import exposure
from fedlib.select.planted import choice
from tests.device.agree import ADAM, LOCAL, Numbers, agree, check, numbers, rounds
from tests.small import selectors, small_split

NGCF_MODEL = FedNGCF(6, layers=(6, 4), max_steps=2)


@pytest.fixture(scope="module")
def split() -> Split:
    return small_split(m=9, longest=6)


@pytest.fixture(scope="module")
def ratio() -> Split:
    """Several test items a user, all items ranked, and part of the training items in the global log."""
    return share_edges(synthetic(n_users=14, n_items=48, interactions=(6, 12)).ratio_split())


FULL: dict[str, Backbone] = {"a table": FedMF(8), "kept rows": PFedRec(8), "own tables": FedRAP(8),
                             "neighbours": FedPerGNN(8), "stores": NGCF_MODEL, "users in stores": FedMF(8)}  # fmt: skip


@pytest.mark.parametrize("name", FULL)
def test_ranking_all_items(name: str, ratio: Split) -> None:
    split = ratio.with_stores(at_random(14, 3, seed=1)) if "stores" in name else ratio

    def program(device: str) -> Numbers:
        result = rounds(split, FULL[name], device, rounds=1)
        shown = exposure(result.state, result.backbone, split, 3)
        return numbers(result) | {"shown": shown, "each": result.per_user(), "best": result.recommend("user-5", k=3)}

    agree(program)


@pytest.mark.parametrize("protocol", ["full", "loo"])
def test_leaving_one_out_and_looking_for_the_best_round(protocol: str, split: Split) -> None:
    split = split if protocol == "loo" else split.data.full_ranking()
    check(split, PFedRec(8), best="HR@5", rounds=3, evaluate_every=1)


RESUMED: dict[str, tuple[Backbone, dict[str, Any]]] = {
    "kept rows": (PFedRec(8), {"select": FedSelect(0.5, over="positives", warm_up=0)}),
    "a sum of the server": (FedMF(8), {"select": FALE(0.5, over="positives"), "faults": Faults(stale=0.5, age=1)}),
    "prototypes": (FedMF(8), {"select": selectors()["drawn"], "protect": None}),
    "own tables": (FedRAP(8), {"protect": UserLevelDP(clip=0.5, noise_multiplier=0.1)}),
    "a third party": (FedPerGNN(8, refresh=1), {}),
    "the server's optimiser": (FCFALS(8), {}),
    "stores": (NGCF_MODEL, {}),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_went_on_from_a_checkpoint(name: str, split: Split, tmp_path: Path) -> None:
    backbone, how = RESUMED[name]
    split = split.with_stores(at_random(9, 3, seed=1)) if name == "stores" else split

    def program(device: str) -> Numbers:
        folder = {"checkpoint": tmp_path / device, "checkpoint_every": 1}
        rounds(split, backbone, device, rounds=1, **folder, **how)
        return numbers(rounds(split, backbone, device, rounds=2, resume=True, **folder, **how))

    agree(program)


@pytest.mark.parametrize("name", ["kept rows", "stores"])
def test_a_result_that_was_saved(name: str, split: Split, tmp_path: Path) -> None:
    split = split.with_stores(at_random(9, 3, seed=1)) if name == "stores" else split

    def program(device: str) -> Numbers:
        result = rounds(split, RESUMED[name][0], device, rounds=1)
        again = load_result(result.save(tmp_path / device))
        pd.testing.assert_frame_equal(again.recommend("u3", k=4), result.recommend("u3", k=4))
        return numbers(again) | {"valid": again.per_user("valid"), "best": again.recommend("u3", k=4)}

    agree(program)


@pytest.mark.parametrize("model", [Chance(seed=0), Popularity(), ItemKNN(), BPR(dim=4, epochs=2)],
                         ids=lambda m: type(m).__name__)  # fmt: skip
def test_central_models_beside_an_accelerator(model: Any, ratio: Split) -> None:
    agree(lambda device: evaluate(model.fit(ratio), ratio).metrics((3,)))


def test_central_ngcf(ratio: Split) -> None:
    def program(device: str) -> Numbers:
        model = NGCF(dim=4, layers=(4,), epochs=2, batch=32, device=device, patience=1, check_every=1).fit(ratio)
        assert model.item_vectors.device.type == device
        return {"items": model.item_vectors, "users": model.user_vectors} | evaluate(model, ratio).metrics((3,))

    agree(program)


@pytest.mark.parametrize("name", ["RandomSelection", "LabelConfidence", "FALE", "FedSelect", "static prototypes"])
def test_what_a_selector_would_choose(name: str, split: Split) -> None:
    def program(device: str) -> Numbers:
        return {"used": choice(rounds(split, FedMF(8), device, ADAM, rounds=1), selectors()[name])}

    agree(program)


@pytest.mark.parametrize("backbone", [FedMF(8), FCFALS(8), PFedRec(8), FedRAP(8)], ids=lambda b: type(b).__name__)
def test_attacks(backbone: Backbone, split: Split) -> None:
    table = "common" if isinstance(backbone, FedRAP) else "item"
    protections = {"none": None, "dp": UserLevelDP(clip=0.5, noise_multiplier=0.1)}
    prototype = torch.arange(40) % 3

    def program(device: str) -> Numbers:
        return {"rows": attack_table(split, backbone, protections, rounds=2, victims=4, table=table, local=LOCAL,
                                     prototype=prototype, device=device)}  # fmt: skip

    agree(program)
