"""A tower of linear layers, ReLU and dropout for K clients at once, forwards and backwards, written out.

Every client has weights of its own, so a layer is one batched matrix product. Automatic differentiation, mapped over
the clients, comes to the same numbers and takes longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib.scatter import add_rows_

AT_ONCE = 8192  # samples whose scores are worked out together


@dataclass(frozen=True)
class Layer:
    """weight W (K, b, a), bias c (K, b) and dropout mask m (K, B, b), None where nothing is dropped, of K clients."""

    weight: Tensor
    bias: Tensor
    mask: Tensor | None = None


def named_layers(prefix: str, params: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> list[Layer]:
    """The layers that :func:`~fedlib.backbones.layers.hidden_layers` has given names in the module ``prefix``."""
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


def activation(x: Tensor, layer: Layer) -> Tensor:
    r""":math:`h_s = m_s \odot \max(0, W x_s + c)`, with m = 1 where there is no mask. x (K, B, a) -> (K, B, b)."""
    h = affine(x, layer.weight, layer.bias).relu_()
    return h if layer.mask is None else h * layer.mask


def activations(x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    """x itself (K, B, a) and the :func:`activation` of every layer on that of the one before, (K, B, width) each."""
    h = [x]
    for layer in layers:
        h.append(activation(h[-1], layer))
    return h


def last_activation(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The last of :func:`activations` alone, worked out for so few clients at a time that a layer fits a cache."""
    size, parts = max(1, AT_ONCE // max(1, x.shape[1])), []
    for start in range(0, len(x), size):
        few = slice(start, start + size)
        h = x[few]
        for layer in layers:
            mask = None if layer.mask is None else layer.mask[few]
            h = activation(h, Layer(layer.weight[few], layer.bias[few], mask))
        parts.append(h)
    return torch.cat(parts)


def before_relu_(g: Tensor, h: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\delta_s = g_s \odot m_s \odot [h_s > 0]`, the gradient in front of ReLU and dropout, in the place of g.

    g, the gradient behind them, h and mask (K, B, b). Where h is 0, ReLU or dropout let nothing through.
    """
    torch.ops.aten.threshold_backward.grad_input(g, h, 0, grad_input=g)  # what autograd calls for ReLU: one pass
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
        delta = before_relu_(g, h[i + 1], layers[i].mask)
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


def gather_rows(rows: Tensor, local: Tensor) -> Tensor:
    """The row of each sample, rows (K, R, d) and local (K, B) -> (K, B, d), as rows of one long list."""
    return F.embedding(_in_one_list(rows, local), rows.flatten(0, 1))


def sum_rows(g: Tensor, rows: Tensor, local: Tensor) -> Tensor:
    """The gradients g (K, B, d) of the samples' rows, added up for each of the ``rows`` (K, R, d)."""
    total = torch.zeros_like(rows)
    add_rows_(total.view(-1, g.shape[2]), _in_one_list(rows, local).flatten(), g.flatten(0, 1))
    return total


def _in_one_list(rows: Tensor, local: Tensor) -> Tensor:
    k, r = rows.shape[:2]
    return local + torch.arange(k, device=local.device)[:, None] * r
