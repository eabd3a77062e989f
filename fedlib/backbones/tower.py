"""A tower of linear layers, ReLU and dropout for K clients at once, forwards and backwards, written out.

Every client has weights of its own, so a layer is one batched matrix product. Automatic differentiation comes to the
same numbers, but mapped over the clients it takes three times as long and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib.backbones.base import Batch
from fedlib.scatter import add_rows_


@dataclass(frozen=True)
class Layer:
    """weight W (K, b, a), bias c (K, b) and dropout mask m (K, B, b), None where nothing is dropped, of K clients."""

    weight: Tensor
    bias: Tensor
    mask: Tensor | None = None


def named_layers(prefix: str, params: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> list[Layer]:
    """The layers that :func:`~fedlib.backbones.base.hidden_layers` has given names in the module ``prefix``."""
    depth = sum(name.startswith(f"{prefix}.linear") and name.endswith(".weight") for name in params)
    return [
        Layer(
            params[f"{prefix}.linear{i}.weight"],
            params[f"{prefix}.linear{i}.bias"],
            (masks or {}).get(f"{prefix}.dropout{i}.mask"),
        )
        for i in range(depth)
    ]


def named_gradients(prefix: str, layered: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What :func:`backwards` returns for the layers of the module ``prefix``, by the names of the parameters."""
    weights = {f"{prefix}.linear{i}.weight": weight for i, (weight, _) in enumerate(layered)}
    return weights | {f"{prefix}.linear{i}.bias": bias for i, (_, bias) in enumerate(layered)}


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y_s = W x_s + c. x (K, B, a), weight (K, b, a), bias (K, b) -> (K, B, b)."""
    if weight.stride(0) == 0:  # all clients share one W: a single product
        return F.linear(x, weight[0]).add_(bias[:, None])
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def activations(x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    r"""x itself and what every layer makes of it, :math:`h^{(l)} = m \odot \max(0, W h^{(l-1)} + c)`.

    x (K, B, a) -> one (K, B, width) a layer. Without a mask, m = 1.
    """
    h = [x]
    for layer in layers:
        above = affine(h[-1], layer.weight, layer.bias).relu_()
        h.append(above if layer.mask is None else above * layer.mask)
    return h


def last_activation(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The last of :func:`activations` alone, (K, B, width)."""
    return activations(x, layers)[-1]


def before_relu(g: Tensor, h: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\delta_s = g_s \odot m_s \odot [h_s > 0]`, the gradient in front of ReLU and dropout; all (K, B, b).

    ``g``, the gradient behind them, is overwritten. h is never negative, so its sign is 0 or 1.
    """
    g.mul_(h.sign())
    return g if mask is None else g.mul_(mask)


def weight_gradients(delta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\partial L/\partial W = \sum_s \delta_s x_s^\top` and :math:`\partial L/\partial c = \sum_s \delta_s`.

    delta (K, B, b), x (K, B, a) -> (K, b, a) and (K, b).
    """
    return torch.bmm(delta.transpose(1, 2), x), delta.sum(1)


def backwards(
    g: Tensor, layers: Sequence[Layer], h: Sequence[Tensor], *, network: bool, inputs: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    r"""The gradients of a tower from ``g`` (K, B, b), that of its last activation; ``g`` is overwritten.

    :math:`g^{(l-1)}_s = W^\top \delta^{(l)}_s`. Returns those of each layer's weight and bias, if the ``network`` is
    asked for, and that of x (K, B, a), if the ``inputs`` are.
    """
    layered: list[tuple[Tensor, Tensor]] = []
    for i in reversed(range(len(layers))):
        delta = before_relu(g, h[i + 1], layers[i].mask)
        if network:
            layered.insert(0, weight_gradients(delta, h[i]))
        if i or inputs:
            g = torch.bmm(delta, layers[i].weight)
    return layered, g if inputs else None


def score(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
    r""":math:`z_s = w^\top h_s + b`. h (K, B, b), w (K, b), b (K, 1) -> (K, B).

    As a product and a sum, which is faster than a matrix product with a single column.
    """
    return (h * w[:, None]).sum(2) + b


def errors(z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    r"""Loss (K,) and :math:`e_s = \partial L/\partial z_s = \omega_s(\sigma(z_s) - r_s)` (K, B) of logits z (K, B)."""
    loss = (F.binary_cross_entropy_with_logits(z, batch.labels, reduction="none") * batch.weights).sum(1)
    return loss, (torch.sigmoid(z) - batch.labels) * batch.weights


def gather_rows(rows: Tensor, local: Tensor) -> Tensor:
    """The row of each sample, rows (K, R, d) and local (K, B) -> (K, B, d)."""
    return F.embedding(_in_one_list(rows, local), rows.flatten(0, 1))


def sum_rows(g: Tensor, rows: Tensor, local: Tensor) -> Tensor:
    """The gradients g (K, B, d) of the samples' rows, added up for each of the ``rows`` (K, R, d)."""
    total = torch.zeros_like(rows)
    add_rows_(total.view(-1, g.shape[2]), _in_one_list(rows, local).flatten(), g.flatten(0, 1))
    return total


def _in_one_list(rows: Tensor, local: Tensor) -> Tensor:
    k, r = rows.shape[:2]
    return local + torch.arange(k, device=local.device)[:, None] * r
