"""The autoencoder between a language model's vectors and item vectors (FedSLLM, sections 4.1 and 4.5, appendix B.2).

Weights are dicts, ``linear0.weight``, ``linear0.bias``, ``linear1.weight`` and so on, so that a server can keep and
send them like any other tensors. Shape letters: n items, d_plm the width of the language model's vectors, d that of
the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib import rng
from fedlib.errors import DivergedError, InputError

Weights = dict[str, Tensor]


def encode(weights: Weights, x: Tensor) -> Tensor:
    """z = E_AE(x), FedSLLM's Eq. 3: (..., d_plm) -> (..., d).

    Linear layers with ReLU between them and none after the last: codes without negative numbers could not point away
    from each other, and their cosines would all be positive.
    """
    layers = len(weights) // 2
    for i in range(layers):
        x = F.linear(x, weights[f"linear{i}.weight"], weights[f"linear{i}.bias"])
        if i < layers - 1:
            x = F.relu(x)
    return x


def decode(weights: Weights, z: Tensor) -> Tensor:
    """x^ = D_AE(z), FedSLLM's Eq. 4: (..., d) -> (..., d_plm); the same layers in the reverse order."""
    return encode(weights, z)


def reconstruction_loss(x: Tensor, rebuilt: Tensor) -> Tensor:
    """L_AE = sum over items of ||x_i - x^_i||^2, FedSLLM's Eq. 5; both (n, d_plm).

    >>> reconstruction_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    tensor(5.)
    """
    return (x - rebuilt).square().sum()


def alignment_loss(z: Tensor, e: Tensor, touched: Tensor) -> Tensor:
    """L_E = sum over touched items of ||z_i - e_i||^2, FedSLLM's Eq. 16; z and e (n, d), touched (n,) 1 or 0.

    An item that no client has updated still has the vector it was given, which says nothing about interactions.

    >>> alignment_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2), torch.tensor([1.0, 0.0]))
    tensor(1.)
    """
    return ((z - e).square().sum(-1) * touched).sum()


def initial(sizes: Sequence[int], seed: int, purpose: str) -> Weights:
    """Layers of those widths, from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), biases too; float32."""
    weights = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        for name, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            stream = rng.key(seed, f"init {purpose} linear{i}.{name}")
            draw = (rng.uniform(stream, torch.arange(math.prod(shape))) * 2 - 1) / math.sqrt(fan_in)
            weights[f"linear{i}.{name}"] = draw.reshape(shape).float()
    return weights


def pretrain(
    x: Tensor, widths: Sequence[int] = (512, 256, 128, 32), steps: int = 1000, lr: float = 1e-3, seed: int = 0
) -> tuple[Weights, Weights, Tensor]:
    """Encoder, decoder, and the loss (steps,) before each of so many full-batch steps of Adam on Eq. 5; x (n, d_plm).

    The encoder's widths are d_plm and then ``widths``, whose last is d; the decoder is reversed. Adam divides each
    gradient by its own size, so a sum and a mean over items take the same steps but for its epsilon. A rounded sum can
    depend on the number of threads, so equal numbers need equal threads. Raises :class:`DivergedError` where the loss
    is no number any more, as after too large an ``lr``.
    """
    if min(widths, default=0) < 1 or steps < 1 or not 0 < lr < math.inf:
        raise InputError(
            f"an autoencoder needs widths and steps of at least 1 and a positive lr, not {tuple(widths)}, {steps}, {lr}"
        )
    sizes = (x.shape[1], *widths)
    encoder, decoder = initial(sizes, seed, "encoder"), initial(sizes[::-1], seed, "decoder")
    leaves = [leaf.requires_grad_() for leaf in (*encoder.values(), *decoder.values())]
    adam, losses = torch.optim.Adam(leaves, lr=lr), []
    with torch.enable_grad():
        for _ in range(steps):
            adam.zero_grad()
            loss = reconstruction_loss(x, decode(decoder, encode(encoder, x)))
            loss.backward()
            adam.step()
            losses.append(loss.detach())
    trace = torch.stack(losses)
    if not trace.isfinite().all():
        raise DivergedError(f"the autoencoder diverged with lr {lr:g}: choose a smaller one")
    return _plain(encoder), _plain(decoder), trace


def align(weights: Weights, x: Tensor, table: Tensor, touched: Tensor, steps: int = 50, lr: float = 1e-4) -> Weights:
    """The encoder after so many full-batch steps of Adam on Eq. 16, towards the trained item vectors ``table`` (n, d).

    x (n, d_plm); touched (n,) bool: whether any client has updated the item. Only the encoder moves; ``table`` is
    frozen. Adam is a new one each time, so where nothing is touched nothing moves. It computes where
    ``weights`` lie.
    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    x = x.to(leaves["linear0.weight"].device)
    goal, mask = table.detach().to(x), touched.to(x)
    adam = torch.optim.Adam(leaves.values(), lr=lr)
    with torch.enable_grad():
        for _ in range(steps):
            adam.zero_grad()
            alignment_loss(encode(leaves, x), goal, mask).backward()
            adam.step()
    return _plain(leaves)


def _plain(weights: Weights) -> Weights:
    return {name: value.detach() for name, value in weights.items()}
