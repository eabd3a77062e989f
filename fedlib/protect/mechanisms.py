r"""Clipping, noise and the draw of a round's clients, from which user-level differential privacy is made.

A round of DP-FedAvg (McMahan et al., *Learning Differentially Private Recurrent Language Models*, ICLR 2018):

1. the server draws the cohort (:func:`fedlib.engine.cohort.sample_clients`);
2. each client scales its whole update down to the norm S with :func:`clip_update`;
3. the server sums with equal weights, adds :func:`gaussian_sum_noise` of standard deviation :math:`zS` and divides by
   the cohort it expected, q m: how many there were is itself private, and dividing by that number would let one client
   change the mean by more than S / (q m).

:mod:`fedlib.protect.accounting` says what this is worth. The numbers here come from :mod:`fedlib.rng`, so that a run
can be repeated. Where there is something to protect, they have to be secret and from a cryptographic generator, and
noise in floating-point numbers has weaknesses of its own (Mironov, CCS 2012).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError


def update_norms(update: Mapping[str, Tensor], real: Mapping[str, Tensor] | None = None) -> Tensor:
    r"""The norm of each client's whole update, :math:`\lVert\Delta_u\rVert_2` over all tensors together, (K,).

    update: tensors (K, ...). ``real`` names those that are rows of a table, (K, R, d), and says with (K, R) which rows
    are not padding; padding does not count.
    """
    squares = []
    for name, value in update.items():
        if real is not None and name in real:
            squares.append((torch.linalg.vector_norm(value, dim=2).square() * real[name]).sum(dim=1))
        else:
            squares.append(torch.linalg.vector_norm(value.reshape(len(value), -1), dim=1).square())
    return torch.stack(squares).sum(dim=0).sqrt()


def clip_update(
    update: Mapping[str, Tensor], bound: float, real: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Tensor, float]:
    r"""Scale down the whole update of each client whose norm is above ``bound`` S.

    .. math:: \Delta_u \leftarrow \Delta_u \min(1, S / \lVert\Delta_u\rVert_2)

    Returns the update, the norms before (K,), and the share of clients that were above. ``update`` and ``real`` are
    those of :func:`update_norms`; the numbers have to be finite, see :func:`fedlib.protect.robust.refuse`. Clipping
    bounds what one client adds to a sum only if all weights are equal. InputError for a bound that is not above 0.
    """
    if not bound > 0:
        raise InputError(f"An update cannot be clipped to a norm of {bound}: the bound has to be above 0.")
    norms = update_norms(update, real)
    factor = (bound / norms).clamp(max=1)  # a norm of 0 gives infinity and so 1
    clipped = {name: value * factor.view(-1, *(1,) * (value.dim() - 1)) for name, value in update.items()}
    return clipped, norms, float((norms > bound).float().mean())


def gaussian_sum_noise(shape: tuple[int, ...], std: float, stream: int, device: torch.device | str = "cpu") -> Tensor:
    r"""Noise for a sum over clients, :math:`\mathcal N(0, \sigma^2)` in each coordinate, float64.

    For user-level differential privacy ``std`` is :math:`zS`, noise multiplier times clipping bound, whatever the
    number of clients. ``stream`` is an :func:`fedlib.rng.key` of seed, round and tensor; none may be used twice.
    """
    number = torch.arange(torch.Size(shape).numel(), device=device)
    return (std * rng.normal(stream, number)).view(shape)


def plain_noise(update: Mapping[str, Tensor], variance: float, stream: int, clients: Tensor) -> dict[str, Tensor]:
    r"""Noise :math:`\mathcal N(0, \mathrm{variance})` on every coordinate a client uploads, and no clipping.

    This is the noise of FedMR's Table 4 (variance .1, a standard deviation of .316). It has NO privacy guarantee:
    nothing bounds how much an update may say, so there is no epsilon. ``variance`` is that of what is uploaded; noise
    of variance v on gradients is noise of :math:`\eta^2 v` on a difference made with the learning rate :math:`\eta`.

    update: tensors (K, ...) of the ``clients`` (K,), whose draws are their own, whoever else shares the chunk.
    """
    if not variance >= 0:
        raise InputError(f"There is no noise of variance {variance}: it has to be 0 or above.")
    noisy = {}
    for name, value in update.items():
        number = torch.arange(value[0].numel(), device=value.device)
        noise = rng.normal(rng.key(stream, name), clients[:, None], number).view(value.shape)
        noisy[name] = value + (variance**0.5 * noise).to(value.dtype)
    return noisy
