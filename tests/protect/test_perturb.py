"""Perturbed uploads: clipping, the size of the noise, and rows that cannot be told apart by their place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fedlib import rng
from fedlib.protect.perturb import Perturbation, perturb

N, D = 50, 6


def upload(k: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of k clients with 5, 7, 9, ... rows: update (K, R, d), ids (K, R), n_rows (K,)."""
    n_rows = 5 + 2 * torch.arange(k)
    ids = torch.stack([rng.permutation(N, rng.key(u, "ids"))[: int(n_rows[-1])] for u in range(k)])
    real = torch.arange(ids.shape[1]) < n_rows[:, None]
    update = rng.normal(
        rng.key(0, "update"), torch.arange(k)[:, None, None], torch.arange(ids.numel() // k * D).view(-1, D)
    )
    return (0.5 + update) * real[:, :, None], ids * real, n_rows


def perturbed(how: Perturbation, stream: int = 0, k: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    update, ids, n_rows = upload(k)
    return perturb(update, ids, n_rows, how, clients=torch.arange(k), n_items=N, stream=stream)


def test_without_noise_real_rows_are_clipped_and_nothing_else() -> None:
    update, before, n_before = upload()
    ids, n_rows, rows = perturbed(Perturbation(0.3, 0.0, 0))
    for k in range(3):
        for r in range(int(n_before[k])):
            here = ids[k, : n_rows[k]] == before[k, r]
            assert torch.equal(rows[k, : n_rows[k]][here][0], update[k, r].clamp(-0.3, 0.3))
    assert n_rows.tolist() == n_before.tolist() and rows.abs().max() <= 0.3


def test_the_noise_is_laplaces_and_new_for_every_stream() -> None:
    """Lap(0, b) has standard deviation sqrt(2) b and mean absolute value b."""
    more = [perturbed(Perturbation(1e-9, 0.7, 10), stream) for stream in range(60)]
    noise = torch.cat([rows[k, : n[k]].flatten() for _, n, rows in more for k in range(3)])
    assert noise.std().item() == pytest.approx(0.7 * math.sqrt(2), rel=0.03)
    assert noise.abs().mean().item() == pytest.approx(0.7, rel=0.03)
    assert abs(noise.mean().item()) < 0.03
    assert not torch.equal(more[0][2], more[1][2])


def test_pseudo_items_join_the_rows_and_look_like_them() -> None:
    update, before, n_before = upload()
    ids, n_rows, rows = perturbed(Perturbation(1e9, 0.0, 20))
    assert n_rows.tolist() == [25, 27, 29]
    for k in range(3):
        mine, real = ids[k, : n_rows[k]], before[k, : n_before[k]]
        assert mine.tolist() == sorted(set(mine.tolist())), "each item once, in an order that says nothing"
        assert set(real.tolist()) <= set(mine.tolist())
        pseudo = rows[k, : n_rows[k]][~torch.isin(mine, real)]
        own = update[k, : n_before[k]]
        assert pseudo.shape == (20, D)
        z = (pseudo - own.mean(0)) / own.std(0, correction=0)
        assert abs(z.mean().item()) < 0.3 and z.std().item() == pytest.approx(1, abs=0.2)


def test_pseudo_items_are_drawn_evenly() -> None:
    """Over many streams every item that client 0 did not train is as likely as another: 20 of 45."""
    _, before, n_before = upload(1)
    free = sorted(set(range(N)) - set(before[0, : n_before[0]].tolist()))
    times = torch.zeros(N)
    for stream in range(400):
        ids, n_rows, _ = perturbed(Perturbation(1.0, 0.0, 20), stream, 1)
        times[ids[0, : n_rows[0]]] += 1
    assert (times[free] / 400 - 20 / 45).abs().max() < 0.1  # four standard errors


def test_a_client_with_too_few_untouched_items_takes_them_all() -> None:
    ids, n_rows, _ = perturbed(Perturbation(1.0, 0.1, 1000))
    assert n_rows.tolist() == [N, N, N] and torch.equal(ids[:, :N], torch.arange(N).expand(3, -1))


def test_a_clients_draws_are_its_own() -> None:
    """Whoever shares the chunk: the same rows with and without the other clients."""
    update, ids, n_rows = upload()
    together = perturb(update, ids, n_rows, Perturbation(1.0, 0.2, 9), clients=torch.arange(3), n_items=N, stream=4)
    for k in range(3):
        own = slice(k, k + 1), slice(int(n_rows[k]))
        alone = perturb(
            update[own], ids[own], n_rows[k : k + 1], Perturbation(1.0, 0.2, 9), clients=torch.tensor([k]), n_items=N,
            stream=4,
        )  # fmt: skip
        size = int(alone[1])
        assert int(together[1][k]) == size and torch.equal(together[0][k, :size], alone[0][0, :size])
        torch.testing.assert_close(together[2][k, :size], alone[2][0, :size])
