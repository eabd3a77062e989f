"""Clients that fail or lie, and a server that says what it did about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fedlib import FedMF, FedNCF, LocalTraining, PFedRec, federate, load
from fedlib.errors import InputError
from fedlib.evaluation.rankings import exposure
from fedlib.protect.robust import RobustAggregation
from fedlib.protect.secure import SecureAggregation
from fedlib.run.faults import Faults
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)
HOW: dict[str, Any] = {"local": LOCAL, "rounds": 3, "device": "cpu", "dtype": torch.float64}


def run(faults: Faults | None, backbone: Any = None, **how: Any) -> Any:
    return federate(small_split(), backbone or FedNCF(4, hidden=(8,)), faults=faults, **HOW | how)


def test_faults_that_befall_nobody_change_nothing() -> None:
    plain, watched = run(None), run(Faults())
    for name, value in plain.state.tensors().items():
        assert torch.equal(value, watched.state.tensors()[name])
    assert watched.history["refused"].tolist() == [0, 0, 0] and not watched.history["skipped"].any()
    assert watched.ledger.equals(plain.ledger)


@pytest.mark.parametrize("chunk", [1, None])
def test_everybody_is_counted_once(chunk: int | None) -> None:
    faults = Faults(before=0.2, during=0.2, after=0.2, broken=0.2)
    history = run(faults, rounds=6, chunk=chunk).history
    lost = history[["lost before", "lost during", "lost after", "refused", "clients"]].sum(axis=1)
    assert (lost == 13).all() and (history[["lost before", "lost during", "lost after", "refused"]].sum() > 0).all()


def test_chunks_agree_on_who_fails() -> None:
    faults = Faults(before=0.2, during=0.1, after=0.2, broken=0.2, stale=0.3, age=1, hostile=0.2, attack="scale")
    loop, fast = (run(faults, chunk=chunk) for chunk in (1, 5))
    for name, value in fast.state.tensors().items():
        torch.testing.assert_close(value, loop.state.tensors()[name], rtol=0, atol=1e-11)


def test_who_fails_while_training_keeps_nothing_and_who_loses_the_upload_keeps_all() -> None:
    start = run(None, local=LocalTraining(batch=8, lr=1e-30), rounds=1).state.private["user"]
    changed = {}
    for when in ("before", "during", "after"):
        result = run(Faults(**{when: 0.5}), rounds=1)  # type: ignore[arg-type]
        lost = int(result.history[f"lost {when}"][0])
        assert 0 < lost < 13
        changed[when] = 13 - int((result.state.private["user"] != start).any(1).sum()) == lost
    assert changed == {"before": True, "during": True, "after": False}


def test_lost_uploads_are_not_in_the_mean_and_not_in_the_ledger() -> None:
    result = run(Faults(after=0.5), rounds=1)
    got = int(result.history["clients"][0])
    up, down = (result.ledger[result.ledger["direction"] == way]["clients"] for way in ("up", "down"))
    assert (up == got).all() and (down == 13).all() and got < 13


def test_broken_uploads_are_refused_with_client_and_reason() -> None:
    result = run(Faults(broken=0.5), rounds=6)
    reasons = " ".join(result.history["reasons"])
    assert "not finite" in reasons and "has the shape" in reasons and "Client " in reasons
    assert (result.history["refused"] > 0).all()
    assert all(bool(value.isfinite().all()) for value in result.state.tensors().values())


def test_an_update_of_an_unbelievable_norm_is_refused() -> None:
    believed = run(Faults(hostile=0.3, attack="scale", strength=1e6, norm=100.0), rounds=1).history
    assert believed["refused"][0] > 0 and "above 100" in believed["reasons"][0]


def test_a_round_with_too_few_is_skipped_and_says_so() -> None:
    skipped = run(Faults(after=0.5, least=14))
    assert skipped.history["skipped"].all()
    start = run(None, local=LocalTraining(batch=8, lr=1e-30), rounds=1)
    torch.testing.assert_close(skipped.state.tables["item"], start.state.tables["item"], rtol=0, atol=1e-20)
    nobody = run(Faults(before=1.0))
    assert nobody.history["clients"].tolist() == [0, 0, 0] and nobody.history["loss"].isna().all()


def test_stragglers_are_those_with_much_to_do_on_slow_devices() -> None:
    all_in_time = run(Faults(deadline=1e9)).history["late"]
    assert all_in_time.tolist() == [0, 0, 0]
    sizes = small_split().train.counts * 5
    limit = float(sizes.median()) * 0.01
    late = run(Faults(deadline=limit, spread=0.0)).history["late"]
    assert late.tolist() == [int((sizes * 0.01 > limit).sum())] * 3


def test_stale_clients_train_on_an_older_model(tmp_path: Path) -> None:
    faults = Faults(stale=1.0, age=2)
    stale = run(faults, rounds=6)
    fresh = run(None, rounds=6)
    for name in ("item", "gmf"):
        assert not torch.equal(stale.state.tables[name], fresh.state.tables[name])
    for rounds in (3, 6):
        again = run(faults, rounds=rounds, checkpoint=tmp_path, resume=True)
    for name, value in stale.state.tensors().items():
        assert torch.equal(value, again.state.tensors()[name]), name


def test_a_sign_flip_of_everybody_takes_the_opposite_step() -> None:
    backbone = FedMF(4)
    start = run(None, backbone, local=LocalTraining(batch=8, lr=1e-30), rounds=1).state.tables["item"]
    honest, liars = (run(f, backbone, rounds=1).state.tables["item"] for f in (None, Faults(hostile=1.0)))
    torch.testing.assert_close(start - liars, honest - start, rtol=0, atol=1e-12)


def test_promotion_lifts_its_item_and_a_median_lets_it_down() -> None:
    split, target = small_split(m=60), 3
    how = {"rounds": 5, "device": "cpu", "local": LocalTraining(lr=1.0, lr_items=20.0)}
    faults = Faults(hostile=0.2, attack="promote", target=target, strength=20.0)

    def length(**more: Any) -> float:
        return float(federate(split, FedMF(4), **how | more).state.tables["item"][target].norm())

    clean, attacked = length(), length(faults=faults)
    defended = length(faults=faults, protect=RobustAggregation(rule="median", touched=False))
    assert attacked > 2 * clean
    assert defended < attacked / 2


def test_a_promoted_item_gets_onto_lists_and_an_item_of_few_raters_is_theirs_even_under_a_median() -> None:
    """Liars send the row in every round; of the honest, only raters and those who drew it as a negative touch it."""
    shop = load("synthetic").leave_one_out(seed=0)
    target = int(shop.train.items.bincount(minlength=shop.data.n_items).argmin())
    local = LocalTraining(lr=1.0, lr_items=20.0, negatives_from="unobserved")
    shown = {}
    for hostile in (0.0, 0.2):
        faults = Faults(hostile=hostile, attack="promote", target=target)
        result = federate(shop, FedMF(16), local=local, rounds=30, evaluate_every=30, device="cpu", faults=faults,
                          protect=RobustAggregation(rule="median"))  # fmt: skip
        shown[hostile] = int(exposure(result.state, result.backbone, shop, k=10)[target])
    assert shown[0.0] == 0
    assert shown[0.2] > shop.data.n_users / 2


def test_label_flips_teach_the_opposite() -> None:
    backbone, lr = FedMF(4), {"local": LocalTraining(lr=1.0, lr_items=50.0), "rounds": 30}
    split = small_split()
    scores = []
    for faults in (None, Faults(hostile=1.0, attack="label-flip")):
        state = federate(split, backbone, faults=faults, device="cpu", **lr).state
        users, table = state.private["user"], state.tables["item"]
        scores.append(float((users[split.train.users] * table[split.train.items]).sum(1).mean()))
    assert scores[0] > 0 > scores[1]


@pytest.mark.parametrize("rule", ["median", "trimmed", "norm", "krum", "multi-krum"])
def test_robust_rules_run_in_the_loop_and_withstand_a_liar(rule: str) -> None:
    """Some clients send a million times their update; the model stays where the honest ones put it."""
    split, faults = small_split(m=60), Faults(hostile=0.1, attack="scale", strength=1e6)
    assert 1 <= int(faults.liars(1, torch.arange(60)).sum()) <= 12  # multi-krum withstands 12 of 60
    how = HOW | {"faults": faults, "rounds": 1, "seed": 1}
    robust = federate(split, FedMF(4), protect=RobustAggregation(rule=rule, share=0.2, touched=False), **how)
    assert float(robust.state.tables["item"].abs().max()) < 1
    assert float(federate(split, FedMF(4), **how).state.tables["item"].abs().max()) > 10


def test_trimming_nothing_is_the_plain_mean() -> None:
    plain = run(None, FedMF(4)).state.tables["item"]
    robust = RobustAggregation(rule="trimmed", share=0.0, touched=False)
    torch.testing.assert_close(run(None, FedMF(4), protect=robust).state.tables["item"], plain, rtol=0, atol=1e-12)


def test_faults_and_secure_aggregation_together() -> None:
    """Who is lost before the masks is not in the sum, and the rest is what it would have been without masks."""
    result = run(Faults(before=0.2, after=0.2), protect=SecureAggregation(bits=24))
    assert not result.history["skipped"].any()
    plain = run(Faults(before=0.2, after=0.2))
    torch.testing.assert_close(result.state.tables["item"], plain.state.tables["item"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(before=1.5), r"before is a share"),
        (Faults(attack="bribe"), "attack must be one of"),
        (Faults(target=99), "target must be an item from 0 to 39"),
        (Faults(age=0), "age and least"),
    ],
)
def test_faults_that_make_no_sense_are_refused(faults: Faults, told: str) -> None:
    with pytest.raises(InputError, match=told):
        run(faults)


def test_stale_clients_are_refused_where_a_tuned_copy_is_kept() -> None:
    with pytest.raises(InputError, match="keeps its tuned copy"):
        run(Faults(stale=0.1), PFedRec(4))
