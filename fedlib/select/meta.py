"""FedSelect's meta model: from a sample's loss to its weight, and the step that teaches it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib import rng
from fedlib.server.optimizers import adam
from fedlib.shapes import SentModel

HIDDEN = 100
SIZE = 3 * HIDDEN + 1  # 1 -> 100 -> 1 with biases


def initial_meta(seed: int) -> Tensor:
    """The meta model before the first round, (301,) float64: U(-1/sqrt(fan in), 1/sqrt(fan in)), as layers begin."""
    draw = rng.uniform(rng.key(seed, "fedselect meta"), torch.arange(SIZE)) * 2 - 1
    return draw * torch.cat([torch.ones(2 * HIDDEN), torch.full((HIDDEN + 1,), HIDDEN**-0.5)]).double()


def weigh(meta: Tensor, loss: Tensor) -> Tensor:
    r""":math:`w(\ell) = \sigma\big(w_2^\top \mathrm{ReLU}(w_1 \ell + b_1) + b_2\big)`, loss (...) -> (...) in (0, 1).

    ``meta`` (301,) holds w_1, b_1, w_2 (100 each) and b_2.
    """
    w1, b1, w2, b2 = meta.split([HIDDEN, HIDDEN, HIDDEN, 1])
    return torch.sigmoid(F.relu(loss[..., None] * w1 + b1) @ w2 + b2)


def sample_losses(model: SentModel, values: dict[str, Tensor], items: Tensor) -> tuple[Tensor, Tensor]:
    """The BCE of each positive (1, C), and its mean with those of its negatives, which is what training on it costs."""
    drawn = model.samples(items, torch.full_like(items[:, 0], items.shape[1])).items
    z = model.logits(values, drawn).view(*items.shape, -1)  # (1, C, 1 + c)
    losses = torch.cat([F.softplus(-z[:, :, :1]), F.softplus(z[:, :, 1:])], dim=2)
    return losses[:, :, 0], losses.mean(2)


def meta_gradient(model: SentModel, meta: Tensor, batch: Tensor, proxy: Tensor, rate: float) -> Tensor:
    r"""The gradient (301,) of the loss on ``proxy`` (1, V) after one weighted step on ``batch`` (1, B).

    .. math:: \theta'(\phi) = \theta - \eta\,\nabla_\theta \frac1B \sum_{i} w_\phi(\ell_i)\,L_i(\theta),\qquad
       g = \nabla_\phi \frac1V \sum_{v} L_v(\theta'(\phi))

    for the one client of ``model``: all it trains, private and received, moves in the step. :math:`\ell` and :math:`L`
    are those of :func:`sample_losses`; the weights' input is a number, not a function of theta.
    """
    meta = meta.detach().to(next(iter(model.values().values()))).requires_grad_()
    theta = {name: value.detach().clone().requires_grad_() for name, value in model.values().items()}
    with torch.enable_grad():
        loss, trained = sample_losses(model, theta, batch)
        step = (weigh(meta, loss.detach()) * trained).mean()
        slopes = torch.autograd.grad(step, [*theta.values()], create_graph=True)
        moved = {name: theta[name] - rate * g for name, g in zip(theta, slopes, strict=True)}
        validation = sample_losses(model, moved, proxy)[1].mean()
        return torch.autograd.grad(validation, meta)[0].detach()


def adam_step(own: dict[str, Tensor], g: Tensor, *, decay: float, rate: float = 1e-3) -> dict[str, Tensor]:
    """The meta model after a step of Adam with an L2 term; its moments "m" and "v" are in ``own`` too."""
    g = g.to(own["meta"]) + decay * own["meta"]
    steps = own["steps"] + 1
    moved, m, v = adam(own["meta"], g, own["m"], own["v"], int(steps), lr=rate, beta1=0.9, beta2=0.999)
    return own | {"meta": moved, "m": m, "v": v, "steps": steps}
