"""The places that clip and add noise, in the loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedlib import Faults, FedMF, FedNCF, LocalTraining, Place, federate
from fedlib.errors import InputError
from fedlib.protect.accounting import epsilon
from fedlib.protect.noise import LocalDP, NoisySums, PlainNoise, UserLevelDP, within
from fedlib.server.sums import EqualWeights
from fedlib.shapes import Upload, Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)
HOW = {"local": LOCAL, "rounds": 2, "device": "cpu", "dtype": torch.float64}


def start_table(backbone: FedMF) -> Tensor:
    still = federate(small_split(), backbone, **HOW | {"local": LocalTraining(batch=8, lr=1e-30), "rounds": 1})
    return still.state.tables["item"]


def test_without_noise_and_with_a_wide_bound_it_is_the_uniform_mean() -> None:
    plain = federate(small_split(), FedMF(4), **HOW).state
    kept = federate(small_split(), FedMF(4), protect=UserLevelDP(clip=1e9, noise_multiplier=1e-15), **HOW).state
    for name, value in plain.tables.items():
        torch.testing.assert_close(kept.tables[name], value, rtol=0, atol=1e-5)


def test_no_client_moves_the_mean_by_more_than_the_bound() -> None:
    """13 clients of norm at most S, divided by the 13 expected, move all tables together by at most S."""
    protect = UserLevelDP(clip=0.01, noise_multiplier=1e-12)
    moved = federate(small_split(), FedNCF(4, hidden=(8,)), protect=protect, **HOW | {"rounds": 1}).state
    still = federate(
        small_split(), FedNCF(4, hidden=(8,)), **HOW | {"rounds": 1, "local": LocalTraining(lr=1e-30)}
    ).state
    now, before = ({**state.tables, **state.shared} for state in (moved, still))
    norm = math.sqrt(sum(float((now[name] - before[name]).square().sum()) for name in now))
    assert 0 < norm <= 0.01 * (1 + 1e-9)


@pytest.mark.parametrize("chunk", [1, None])
@pytest.mark.parametrize("attack", ["scale", "sign-flip"])
def test_a_liar_moves_the_table_no_more_than_an_honest_client_can(attack: str, chunk: int | None) -> None:
    """What h of 13 clients send may differ from what they should by 2 h S / 13 in all, however large they make it."""
    protect = UserLevelDP(clip=0.01, noise_multiplier=1e-12)
    how = HOW | {"rounds": 1, "chunk": chunk, "protect": protect}
    faults = Faults(hostile=0.2, attack=attack, strength=100.0)
    liars = int(faults.liars(0, torch.arange(13)).sum())
    assert 0 < liars <= 6
    honest, attacked = (
        federate(small_split(), FedNCF(4, hidden=(8,)), faults=f, **how).state for f in (Faults(), faults)
    )
    now, before = ({**state.tables, **state.shared} for state in (attacked, honest))
    moved = math.sqrt(sum(float((now[name] - before[name]).square().sum()) for name in now))
    if attack == "scale":  # a longer update of the same direction is clipped to what it was
        assert moved < 1e-9
    else:
        assert moved > 0.2 * liars * 0.01 / 13
        assert moved <= 2 * liars * 0.01 / 13 * (1 + 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_servers_check_changes_no_bit_of_honest_clients(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are clipped, so that their norms are the bound but for rounding, and none is clipped again."""
    protect = UserLevelDP(clip=0.01, noise_multiplier=1.0)
    how = HOW | {"dtype": dtype, "protect": protect}
    checked = federate(small_split(), FedNCF(4, hidden=(8,)), **how).state.tensors()
    monkeypatch.setattr(NoisySums, "add", EqualWeights.add)
    unchecked = federate(small_split(), FedNCF(4, hidden=(8,)), **how).state.tensors()
    assert all(torch.equal(value, unchecked[name]) for name, value in checked.items())


def test_the_server_scales_down_what_is_clearly_above_the_bound_and_leaves_the_rest_alone() -> None:
    """By hand: norms 5, 1.00005 and 0.5 against a bound of 1; padding counts in none of them."""
    rows = torch.tensor([[[3.0, 4.0], [9.0, 9.0]], [[0.0, 1.00005], [0.0, 0.0]], [[0.3, 0.4], [9.0, 9.0]]])
    real = torch.tensor([[True, False], [True, True], [True, False]])
    sent = Upload(0, 0, torch.arange(3), update={"item": rows}, ids=torch.zeros(3, 2, dtype=torch.long), real=real,
                  tables=("item",), n_items=2)  # fmt: skip
    believed = within(sent, 1.0).update["item"]
    torch.testing.assert_close(believed[0, 0], torch.tensor([0.6, 0.8]))
    assert torch.equal(believed[1:], rows[1:])


def test_the_noise_on_the_mean_has_the_promised_deviation() -> None:
    """z S / (q m) on every coordinate, touched or not: measured on a model that does not learn."""
    local = LocalTraining(batch=8, lr=1e-30)
    protect = UserLevelDP(clip=2.0, noise_multiplier=3.0)
    noisy = federate(small_split(), FedMF(64), protect=protect, **HOW | {"local": local, "rounds": 1})
    still = federate(small_split(), FedMF(64), **HOW | {"local": local, "rounds": 1})
    noise = noisy.state.tables["item"] - still.state.tables["item"]
    assert noise.std().item() == pytest.approx(3 * 2 / 13, rel=5 / math.sqrt(2 * noise.numel()))
    assert abs(noise.mean().item()) < 5 * 3 * 2 / 13 / math.sqrt(noise.numel())


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_what_has_been_spent_is_in_the_history(sampling: str) -> None:
    protect = UserLevelDP(clip=0.1, noise_multiplier=2.0)
    run = federate(small_split(), FedMF(4), protect=protect, clients_per_round=0.4, sampling=sampling, **HOW)
    rate = 0.4 if sampling == "poisson" else 5 / 13
    told = [epsilon(2.0, rate, t, 1e-5, sampling) for t in (1, 2)]
    assert run.history["epsilon"].tolist() == pytest.approx(told)
    everybody = federate(small_split(), FedMF(4), protect=protect, **HOW).history["epsilon"].iloc[-1]
    assert everybody == pytest.approx(epsilon(2.0, 1.0, 2, 1e-5, "all"))


def test_an_epsilon_calibrates_the_noise_and_is_not_exceeded() -> None:
    protect = UserLevelDP(clip=0.1, epsilon=3.0)
    run = federate(small_split(), FedMF(4), protect=protect, clients_per_round=0.4, sampling="poisson", **HOW)
    assert 2.97 <= run.history["epsilon"].iloc[-1] <= 3.0


def test_a_resumed_run_has_spent_what_an_uninterrupted_one_has(tmp_path: Path) -> None:
    protect = UserLevelDP(clip=0.1, noise_multiplier=2.0)
    whole = federate(small_split(), FedMF(4), protect=protect, **HOW | {"rounds": 4})
    for rounds in (2, 4):
        again = federate(small_split(), FedMF(4), protect=protect, checkpoint=tmp_path, resume=True,
                         **HOW | {"rounds": rounds})  # fmt: skip
    assert again.history["epsilon"].tolist() == whole.history["epsilon"].tolist()
    assert all(torch.equal(value, again.state.tensors()[name]) for name, value in whole.state.tensors().items())


def test_an_empty_poisson_round_still_gets_its_noise() -> None:
    """To leave it out would tell that nobody was drawn."""
    how = HOW | {"rounds": 12, "clients_per_round": 0.05, "sampling": "poisson"}
    run = federate(small_split(), FedMF(4), protect=UserLevelDP(clip=0.1, noise_multiplier=1.0), **how)
    empty = run.history[run.history["clients"] == 0]
    assert len(empty) and empty["loss"].isna().all() and len(run.history["epsilon"].unique()) == 12
    plain = federate(small_split(), FedMF(4), **how)
    assert plain.history["clients"].tolist() == run.history["clients"].tolist()


def test_weights_are_equal_whatever_the_backbone_asks_for() -> None:
    class BySize(FedMF):
        aggregate_items = "size"

    class ByRow(FedMF):
        aggregate_items = "row"

    protect = UserLevelDP(clip=0.05, noise_multiplier=1e-9)
    tables = [federate(small_split(), kind(4), protect=protect, **HOW).state.tables["item"]
              for kind in (FedMF, BySize, ByRow)]  # fmt: skip
    torch.testing.assert_close(tables[1], tables[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(tables[2], tables[0], rtol=0, atol=1e-9)


def test_what_another_place_sends_is_not_passed_over() -> None:
    class Telling(Place):
        def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"count": work.count}

    with pytest.raises(InputError, match="select/count is sent beside the update"):
        federate(small_split(), FedMF(4), select=Telling(), protect=UserLevelDP(clip=1, noise_multiplier=1), **HOW)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"clip": 1.0}, "one of the two"),
        ({"clip": 1.0, "epsilon": 1.0, "noise_multiplier": 1.0}, "one of the two"),
        ({"clip": 0.0, "epsilon": 1.0}, "clip"),
        ({"clip": 1.0, "noise_multiplier": 0.0}, "noise multiplier"),
        ({"clip": 1.0, "noise_multiplier": 1.0, "delta": 1.0}, "delta"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(arguments: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        federate(small_split(), FedMF(4), protect=UserLevelDP(**arguments), **HOW)


def test_local_dp_hides_which_rows_are_real_and_bounds_every_number() -> None:
    seen: list[Work] = []

    class Looking(LocalDP):
        def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
            before = work.real.sum(1)
            super().client(work, message)
            assert torch.equal(work.real.sum(1), (before + 10).clamp(max=work.n_items))
            seen.append(work)
            return {}

    how = HOW | {"rounds": 1, "local": LocalTraining(batch=8, lr=1.0)}
    federate(small_split(), FedNCF(4, hidden=(8,)), protect=Looking(clip=1e-6, scale=1.0, pseudo_items=10), **how)
    tables, others = [], []
    for work in seen:
        for name, value in work.update.items():
            tables.append(value[work.real]) if name in work.tables else others.append(value)
    for values in (torch.cat([v.flatten() for v in tables]), torch.cat([v.flatten() for v in others])):
        scale = values.abs().mean().item()  # of Lap(0, b) it is b
        assert scale == pytest.approx(1.0, rel=6 / math.sqrt(values.numel()))


def test_plain_noise_reaches_every_row_and_has_its_variance() -> None:
    still = HOW | {"rounds": 1, "local": LocalTraining(batch=8, lr=1e-30)}
    quiet = federate(small_split(), FedMF(64), **still).state.tables["item"]
    noisy = federate(small_split(), FedMF(64), protect=PlainNoise(variance=0.1), **still).state.tables["item"]
    noise = noisy - quiet
    assert (noise != 0).all()
    assert noise.var().item() == pytest.approx(0.1 / 13, rel=5 * math.sqrt(2 / noise.numel()))  # the mean of 13 clients


def test_noise_does_not_depend_on_the_executor_or_the_chunk() -> None:
    for protect in (PlainNoise(), LocalDP(pseudo_items=5), UserLevelDP(clip=0.1, noise_multiplier=1.0)):
        runs = [federate(small_split(), FedNCF(4, hidden=(8,)), protect=protect, chunk=chunk, **HOW)
                for chunk in (1, 4, 13)]  # fmt: skip
        for other in runs[1:]:
            for name, value in runs[0].state.tensors().items():
                torch.testing.assert_close(other.state.tensors()[name], value, rtol=0, atol=1e-10)
