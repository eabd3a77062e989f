"""Clipping, noise and cohorts: what differential privacy takes for granted about them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedlib import InputError, rng
from fedlib.protect.mechanisms import clip_update, gaussian_sum_noise, plain_noise, update_norms


def draws(*shape: int, stream: int = 0) -> Tensor:
    return rng.normal(rng.key(stream, "test"), torch.arange(math.prod(shape))).view(shape)


def test_clipping_by_hand() -> None:
    """A client with the rows (3, 0), (0, 4) and the number 12 has the norm 13; its third row is padding."""
    rows = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [99.0, 99.0]], [[0.3, 0.0], [0.0, 0.4], [0.0, 0.0]]])
    update = {"item": rows, "bias": torch.tensor([12.0, 1.2])}
    real = {"item": torch.tensor([[True, True, False], [True, True, True]])}
    clipped, norms, share = clip_update(update, 6.5, real)
    assert norms.tolist() == pytest.approx([13.0, 1.3])
    assert share == 0.5
    torch.testing.assert_close(clipped["item"][0, :2], rows[0, :2] / 2)
    assert clipped["bias"].tolist() == pytest.approx([6.0, 1.2])
    assert torch.equal(clipped["item"][1], rows[1]), "an update below the bound is not touched"


@settings(deadline=None, max_examples=50)
@given(st.floats(-6, 6), st.floats(-6, 6), st.integers(0, 10**6))
def test_clipping_never_increases_a_norm_and_keeps_the_direction(scale: float, bound: float, stream: int) -> None:
    update = {"item": 10**scale * draws(4, 3, 5, stream=stream), "w": 10**scale * draws(4, 2, stream=stream + 1)}
    real = {"item": torch.arange(3) < torch.tensor([0, 1, 2, 3])[:, None]}
    clipped, before, share = clip_update(update, 10**bound, real)
    after = update_norms(clipped, real)
    assert (after <= before * (1 + 1e-12)).all() and (after <= 10**bound * (1 + 1e-12)).all()
    assert share == (before > 10**bound).double().mean()
    for name, value in update.items():
        cosine = torch.nn.functional.cosine_similarity(value.flatten(1), clipped[name].flatten(1))
        torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_the_norm_is_that_of_all_tensors_together() -> None:
    update = {"a": draws(3, 4, 2), "b": draws(3, 7, stream=1), "c": draws(3, stream=2)}
    flat = torch.cat([value.reshape(3, -1) for value in update.values()], dim=1)
    torch.testing.assert_close(update_norms(update), flat.norm(dim=1))


def test_a_client_that_sends_nothing_stays_zero() -> None:
    clipped, norms, share = clip_update({"w": torch.zeros(2, 3)}, 1.0)
    assert torch.equal(clipped["w"], torch.zeros(2, 3)) and norms.tolist() == [0, 0] and share == 0


def test_one_client_changes_a_clipped_sum_by_the_bound_at_most() -> None:
    """The sensitivity that the accounting rests on, at its worst: a client far above the bound."""
    clipped, _, _ = clip_update({"w": 1000 * draws(20, 6)}, 0.7)
    total = clipped["w"].sum(0)
    changes = [(total - (total - row)).norm().item() for row in clipped["w"]]
    assert max(changes) == pytest.approx(0.7) and max(changes) <= 0.7 * (1 + 1e-12)


@pytest.mark.parametrize("std", [0.01, 1.0, 30.0])
def test_the_noise_on_the_sum_has_the_standard_deviation_asked_for(std: float) -> None:
    """Within five standard errors, which are std / sqrt(2 n) and std / sqrt(n)."""
    noise = gaussian_sum_noise((400, 500), std, rng.key(0, "noise", 3))
    n = noise.numel()
    assert noise.shape == (400, 500)
    assert abs(noise.std().item() - std) < 5 * std / math.sqrt(2 * n)
    assert abs(noise.mean().item()) < 5 * std / math.sqrt(n)
    beyond = (noise.abs() > 1.959964 * std).double().mean().item()
    assert abs(beyond - 0.05) < 5 * math.sqrt(0.05 * 0.95 / n)


def test_noise_is_a_function_of_its_stream() -> None:
    first, again = (gaussian_sum_noise((3, 2), 1.0, 5) for _ in range(2))
    assert torch.equal(first, again)
    assert not (first == gaussian_sum_noise((3, 2), 1.0, 6)).any()
    assert gaussian_sum_noise((), 1.0, 5).shape == ()


def test_plain_noise_has_its_variance_and_is_each_clients_own() -> None:
    update = {"item": torch.zeros(50, 40, 16).double(), "w": torch.zeros(50, 100).double()}
    clients = torch.arange(50) * 3
    noisy = plain_noise(update, 0.1, 7, clients)
    every = torch.cat([value.flatten() for value in noisy.values()])
    assert abs(every.var().item() - 0.1) < 5 * 0.1 * math.sqrt(2 / every.numel())
    assert abs(every.mean().item()) < 5 * math.sqrt(0.1 / every.numel())
    assert len(every.unique()) == every.numel(), "no coordinate shares its noise with another"
    part = plain_noise({name: value[7:9] for name, value in update.items()}, 0.1, 7, clients[7:9])
    assert all(torch.equal(part[name], noisy[name][7:9]) for name in update)


def test_plain_noise_does_not_depend_on_how_far_the_rows_are_padded() -> None:
    narrow = plain_noise({"item": torch.zeros(2, 3, 4)}, 1.0, 0, torch.arange(2))["item"]
    wide = plain_noise({"item": torch.zeros(2, 9, 4)}, 1.0, 0, torch.arange(2))["item"]
    assert torch.equal(wide[:, :3], narrow)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        clip_update({"w": torch.ones(1, 1)}, bound)


def test_other_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"variance -0\.1"):
        plain_noise({}, -0.1, 0, torch.arange(1))
