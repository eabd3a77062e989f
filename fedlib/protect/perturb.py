"""What an upload of item rows looks like when neither its numbers nor its choice of rows may be believed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedlib import rng
from fedlib.scatter import take_rows
from fedlib.shapes import real_of


class Perturbation(NamedTuple):
    r"""Clip every number of an upload to [-clip, clip], add Laplace noise, and hide the rows among pseudo items.

    For *one* number this is :math:`\epsilon`-locally differentially private with :math:`\epsilon = 2\,clip/scale`,
    in each round anew: .1 and .2 give 1. A row has d numbers and a client many rows, and their budgets add up.
    ``pseudo_items`` rows join those the client trained.
    """

    clip: float = 0.1
    scale: float = 0.2
    pseudo_items: int = 1000


def perturb(
    update: Tensor, ids: Tensor, n_rows: Tensor, how: Perturbation, *, clients: Tensor, n_items: int, stream: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The item rows K clients upload in the place of their own.

    .. math:: \tilde g = \mathrm{clip}(g, \delta) + \mathrm{Lap}(0, \lambda)

    The rows of M pseudo items, drawn from those a client did not train, come from a Gaussian with the mean and the
    standard deviation, per coordinate, of its real rows, and are then perturbed alike. A client that left fewer than M
    items untouched takes all of them.

    update (K, R, d); ids (K, R), the first ``n_rows`` (K,) real; clients (K,) their indices. Returns ids (K, R + M),
    the number of real ones, and the rows (K, R + M, d); what lies beyond that number is padding.
    Source: Wu et al., Nature Communications 13:3091, 2022, section "Privacy-preserving model learning".
    """
    d, m = update.shape[2], min(how.pseudo_items, n_items)
    who = clients[:, None]
    real = real_of(ids, n_rows)
    pseudo = untouched(ids, real, n_items, rng.key(stream, "pseudo items"), clients)[:, :m]  # (K, M), then n_items
    every = torch.cat([torch.where(real, ids, n_items), pseudo], dim=1)
    weight = real[:, :, None] / n_rows[:, None, None].to(update.dtype)
    mean = (update * weight).sum(1, keepdim=True)
    std = ((update - mean).square() * weight).sum(1, keepdim=True).sqrt()
    number = pseudo[:, :, None] * d + torch.arange(d, device=ids.device)
    gaussian = rng.normal(rng.key(stream, "pseudo rows"), who[:, :, None], number).to(update.dtype)
    rows = torch.cat([update, mean + std * gaussian], dim=1).clamp(-how.clip, how.clip)
    number = every[:, :, None] * d + torch.arange(d, device=ids.device)
    rows = rows + how.scale * laplace(rng.key(stream, "laplace"), who[:, :, None], number).to(update.dtype)
    order = every.argsort(dim=1, stable=True)  # by item: pseudo rows mixed with real ones, padding last
    every = every.gather(1, order)
    n_real = (every < n_items).sum(1)
    return every.clamp(max=n_items - 1), n_real, take_rows(rows, order)


def untouched(ids: Tensor, real: Tensor, n_items: int, stream: int, clients: Tensor) -> Tensor:
    """The items not among the real ``ids`` (K, R) of each client in a random order, (K, n), filled up with n."""
    draw = rng.bits(stream, clients[:, None], torch.arange(n_items, device=ids.device))
    order = draw.argsort(dim=1, stable=True)
    touched = torch.zeros(len(ids), n_items + 1, dtype=torch.bool, device=ids.device)
    touched.scatter_(1, torch.where(real, ids, n_items), True)
    free = ~touched.gather(1, order)
    return torch.where(free, order, n_items).gather(1, (~free).to(torch.int8).argsort(dim=1, stable=True))


def laplace(stream: int, *counters: Tensor) -> Tensor:
    """Draws from Lap(0, 1), float64: the difference of two unit exponentials."""
    first, second = (rng.uniform(rng.key(stream, part), *counters) for part in ("plus", "minus"))
    return torch.log1p(-second) - torch.log1p(-first)
