"""Local training's parts: closed-form gradients, optimisers, dropout masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedlib import FedMF, PFedRec, rng
from fedlib.backbones.base import Backbone
from fedlib.engine.optimizers import SGD, Adam
from fedlib.engine.training import dropout_masks
from fedlib.shapes import Batch, dense
from tests.small import BACKBONES


def random_problem(
    backbone: Backbone, k: int = 3, r: int = 6, b: int = 9
) -> tuple[dict[str, Tensor], dict[str, Tensor], Batch]:
    def normal(purpose: str, *shape: int) -> Tensor:
        return rng.normal(rng.key(0, purpose), torch.arange(torch.Size(shape).numel())).reshape(shape)

    params = {name: normal(name, k, *p.shape) for name, p in backbone.named_parameters()}
    rows = {name: normal(name, k, r, table.dim) for name, table in backbone.tables.items()}
    local = rng.integers(r, rng.key(0, "local"), torch.arange(k * b)).reshape(
        k, b
    )  # nine samples on six rows: some repeat
    label = rng.integers(2, rng.key(0, "label"), torch.arange(k * b)).reshape(k, b).double()
    return params, rows, Batch(local, label, rng.uniform(rng.key(0, "weight"), torch.arange(k * b)).reshape(k, b))


@pytest.mark.parametrize("backbone", [FedMF(5), PFedRec(5)], ids=["fedmf", "pfedrec"])
def test_closed_form_gradients_equal_autograd(backbone: Backbone) -> None:
    params, rows, batch = random_problem(backbone)
    loss, network, items = backbone.gradients(params, rows, batch, ("network", "items"))
    theirs = Backbone.gradients(backbone, params, rows, batch, ("network", "items"))
    written_out = {name: dense(gradient) for name, gradient in items.items()}
    torch.testing.assert_close((loss, network, written_out), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", BACKBONES)
def test_autograd_gradients_equal_finite_differences(kind: str) -> None:
    backbone = BACKBONES[kind][0]
    params, rows, batch = random_problem(backbone)
    _, network, items = backbone.gradients(params, rows, batch, ("network", "items"))

    def loss() -> Tensor:
        return backbone.gradients(params, rows, batch, ("items",))[0]

    for leaf, gradient in [(params[n], network[n]) for n in params] + [(rows[t], dense(items[t])) for t in rows]:
        at = (1, *[0] * (leaf.dim() - 1))
        was = float(leaf[at])
        leaf[at] = was + 1e-6
        above = loss()
        leaf[at] = was - 1e-6
        slope = (above - loss()) / 2e-6
        leaf[at] = was
        assert float(slope[1]) == pytest.approx(float(gradient[at]), abs=1e-7)
        assert float(slope[0]) == float(slope[2]) == 0  # a client's loss depends on its own values alone


@pytest.mark.parametrize(("ours", "theirs"), [(SGD, torch.optim.SGD), (Adam, torch.optim.Adam)])
def test_optimisers_equal_torch(ours: type, theirs: type) -> None:
    """Three clients of whom the first stops after two steps; torch steps each on its own."""
    start = rng.normal(rng.key(0, "start"), torch.arange(12)).reshape(3, 4)
    gradient = rng.normal(rng.key(0, "gradient"), torch.arange(60)).reshape(5, 3, 4)
    stacked = start.clone()
    optimizer = ours({"network": {"w": stacked}}, {"network": 0.1}, 0.03)
    for s in range(5):
        first = int(s >= 2)
        optimizer.step({"network": {"w": gradient[s, first:].clone()}}, ("network",), first)
    for k in range(3):
        alone = start[k].clone().requires_grad_()
        reference = theirs([alone], lr=0.1, weight_decay=0.03)
        for s in range(2 if k == 0 else 5):
            alone.grad = gradient[s, k].clone()
            reference.step()
        torch.testing.assert_close(stacked[k], alone.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_dropout_keeps_a_share_and_the_mean(p: float) -> None:
    """Also for p = 1/2 and above, where the 16-bit threshold no longer fits a signed number."""
    backbone = PFedRec(8, hidden=(30, 7), dropout=p)
    masks = dropout_masks(backbone, torch.arange(20), torch.arange(300).expand(20, -1), 0, 0, 0, torch.float64)
    assert {name: mask.shape[2] for name, mask in masks.items()} == {
        "score.dropout0.mask": 30,
        "score.dropout1.mask": 7,
    }
    for mask in masks.values():
        assert sorted(mask.unique().tolist()) == pytest.approx([0, 1 / (1 - p)])
        spread = (p * (1 - p) / mask.numel()) ** 0.5
        assert abs(float((mask > 0).double().mean()) - (1 - p)) < 5 * spread
