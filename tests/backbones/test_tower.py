"""Written-out gradients of towers against automatic differentiation of the module itself, client by client."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from fedlib import FedNCF, PFedRec, rng
from fedlib.backbones import Backbone, tower
from fedlib.engine.training import dropout_masks
from fedlib.shapes import Batch, Gradients, Rows, dense

K, R, B = 4, 7, 11
FORMS = {
    "fedncf": FedNCF(5, hidden=(9, 6, 4), gmf=3),
    "fedncf-fedsllm": FedNCF(5, hidden=(9, 6), gmf=0, dropout=0.5),
    "fedncf-both": FedNCF(5, hidden=(9,), gmf=3, dropout=0.3),
    "pfedrec-linear": PFedRec(5),
    "pfedrec-mlp": PFedRec(5, hidden=(9, 6), dropout=0.5),
    "pfedrec-plain": PFedRec(5, hidden=(9,)),
}
each_form = pytest.mark.parametrize("form", FORMS)


def problem(backbone: Backbone) -> tuple[Gradients, Gradients, Batch]:
    """K clients with float64 values and masks; client k has 2 k + 3 samples, some of the same row, the rest padding."""

    def draw(purpose: str, *shape: int) -> Tensor:
        return rng.normal(rng.key(0, purpose), torch.arange(torch.Size(shape).numel())).reshape(shape)

    params = {name: draw(name, K, *p.shape) for name, p in backbone.named_parameters()}
    rows = {name: draw(name, K, R, table.dim) for name, table in backbone.tables.items()}
    local = rng.integers(R, rng.key(0, "local"), torch.arange(K * B)).reshape(K, B)
    label = rng.integers(2, rng.key(0, "label"), torch.arange(K * B)).reshape(K, B).double()
    left = 2 * torch.arange(K)[:, None] + 3
    weights = (torch.arange(B) < left) / left.double()
    masks = dropout_masks(backbone, torch.arange(K), torch.arange(B).expand(K, -1), 0, 0, 0, torch.float64)
    return params, rows, Batch(local, label, weights, masks)


def by_autograd(backbone: Backbone, params: Gradients, rows: Gradients, batch: Batch) -> list[tuple[Tensor, ...]]:
    """For each client, its loss on its real samples and the gradients of all its parameters and rows, in order."""
    clients = []
    for k in range(K):
        own = {name: p[k].clone().requires_grad_() for name, p in params.items()}
        table = {name: q[k].clone().requires_grad_() for name, q in rows.items()}
        real = int((batch.weights[k] > 0).sum())
        masks = {name: mask[k, :real] for name, mask in batch.masks.items()}
        z = functional_call(backbone, own | masks, ({name: q[batch.local[k, :real]] for name, q in table.items()},))
        loss = binary_cross_entropy_with_logits(z, batch.labels[k, :real])
        clients.append((loss.detach(), *torch.autograd.grad(loss, [*own.values(), *table.values()])))
    return clients


@each_form
def test_gradients_are_those_of_automatic_differentiation(form: str) -> None:
    backbone = FORMS[form]
    params, rows, batch = problem(backbone)
    loss, network, items = backbone.gradients(params, rows, batch, ("network", "items"))
    assert network.keys() == params.keys() and items.keys() == rows.keys()
    ours = [loss, *(network[name] for name in params), *(dense(items[name]) for name in rows)]
    for mine, theirs in zip(ours, zip(*by_autograd(backbone, params, rows, batch), strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "pfedrec-linear"])
def test_what_is_not_wanted_is_not_worked_out(form: str) -> None:
    backbone = FORMS[form]
    params, rows, batch = problem(backbone)
    whole = backbone.gradients(params, rows, batch, ("network", "items"))
    for wanted in ("network", "items"):
        loss, network, items = backbone.gradients(params, rows, batch, (wanted,))
        assert torch.equal(loss, whole[0])
        assert (network.keys(), items.keys()) == (
            (params.keys(), set()) if wanted == "network" else (set(), rows.keys())
        )
        for name, gradient in {**network, **items}.items():
            assert torch.equal(dense(gradient), dense({**whole[1], **whole[2]}[name]))


@each_form
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_scores_are_those_of_the_module(form: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in groups of three clients, and where all hold one network as a view, as in evaluation."""
    monkeypatch.setattr(tower, "AT_ONCE", 3 * B)
    backbone = FORMS[form]
    params, rows, batch = problem(backbone)
    if shared:
        held = {name: name.startswith("user") for name in params}
        params = {name: p if held[name] else p[0].expand_as(p) for name, p in params.items()}
    at = {name: q[:, batch.local[0]] for name, q in rows.items()}  # (K, B, d)

    def one(k: int, masks: dict[str, Tensor]) -> Tensor:
        own: Rows = {name: q[k] for name, q in at.items()}
        return functional_call(backbone, {name: p[k] for name, p in {**params, **masks}.items()}, (own,))

    for masks in ({}, batch.masks):
        expected = torch.stack([one(k, masks) for k in range(K)])
        torch.testing.assert_close(backbone.logits(params, at, masks), expected, rtol=0, atol=1e-12)
