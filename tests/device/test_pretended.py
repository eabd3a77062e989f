"""The pretended device itself: it finds planted faults of every kind, and leaves right programs their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import embedding, embedding_bag

from tests.device.labels import CudaTensor
from tests.device.pretended import Pretended


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, device="cuda")


def index(*places: int) -> Tensor:
    return torch.tensor(places, device="cuda")


class Doubled(torch.autograd.Function):
    """2 x, with a tensor of the CPU in its gradient."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return g * torch.full((3,), 2.0)


def into(target: Tensor, places: Tensor, values: Tensor) -> None:
    target[places] = values


NOWHERE = torch.tensor([0])  # an index that has stayed on the CPU
TWO = "at least two devices"
FAULTS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "operand on the CPU": (lambda: zeros(3) + torch.ones(3), RuntimeError, TWO),
    "tensor of the CPU times a number on CUDA": (lambda: torch.ones(3) * zeros(()), RuntimeError, TWO),
    "in place on a number of the CPU": (lambda: torch.tensor(1.0).add_(zeros(())), RuntimeError, TWO),
    "result on the CPU": (lambda: torch.sub(zeros(3), zeros(3), out=torch.empty(3)), RuntimeError, TWO),
    "product": (lambda: zeros(2, 2) @ torch.ones(2, 2), RuntimeError, TWO),
    "gather": (lambda: zeros(2).gather(0, NOWHERE), RuntimeError, TWO),
    "scatter_": (lambda: zeros(2).scatter_(0, NOWHERE, zeros(1)), RuntimeError, TWO),
    "scatter_reduce_": (lambda: zeros(2).scatter_reduce_(0, NOWHERE, zeros(1), "amax"), RuntimeError, TWO),
    "index_add_": (lambda: zeros(2).index_add_(0, NOWHERE, zeros(1)), RuntimeError, TWO),
    "embedding": (lambda: embedding(NOWHERE, zeros(2, 2)), RuntimeError, TWO),
    "embedding_bag": (lambda: embedding_bag(index(0, 1), zeros(2, 2), NOWHERE), RuntimeError, TWO),
    "cat": (lambda: torch.cat([zeros(2), torch.ones(2)]), RuntimeError, TWO),
    "searchsorted": (lambda: torch.searchsorted(torch.arange(3.0), zeros(2)), RuntimeError, TWO),
    "isin": (lambda: torch.isin(index(1), NOWHERE), RuntimeError, TWO),
    "two numbers of the CPU": (
        lambda: torch.addcmul(zeros(2), torch.tensor(1.0), torch.tensor(1.0)), RuntimeError, TWO),
    "new tensor on the CPU": (lambda: zeros(3)[None] * torch.arange(3), RuntimeError, TWO),
    "inside vmap": (lambda: vmap(lambda x: x + torch.ones(2))(zeros(3, 2)), RuntimeError, TWO),
    "in a gradient": (lambda: Doubled.apply(zeros(3).requires_grad_()).sum().backward(), RuntimeError, TWO),
    "CUDA index into the CPU": (lambda: torch.ones(3)[index(0, 1)], RuntimeError, "indices should be either on cpu"),
    "CUDA mask of the CPU": (lambda: torch.ones(2)[index(0, 1) > 0], RuntimeError, "indices should be either on cpu"),
    "values of the CPU": (lambda: into(zeros(3), index(0, 1), torch.ones(2)), RuntimeError, "cpu for value"),
    "numpy": (lambda: zeros(3).numpy(), TypeError, r"Use Tensor.cpu\(\)"),
    "np.asarray": (lambda: np.asarray(zeros(3)), TypeError, r"Use Tensor.cpu\(\)"),
    "np.sort": (lambda: np.sort(zeros(3)), TypeError, r"Use Tensor.cpu\(\)"),
    "generator of the CPU": (
        lambda: torch.randn(3, device="cuda", generator=torch.Generator()), RuntimeError, "found 'cpu'"),
    "generator of the CPU, in place": (
        lambda: zeros(3).normal_(generator=torch.Generator()), RuntimeError, "found 'cpu'"),
    "generator of CUDA": (lambda: torch.randperm(3, generator=torch.Generator("cuda")), RuntimeError, "found 'cuda'"),
    "product of whole numbers": (
        lambda: index(1, 2)[None] @ index(1, 2)[:, None], NotImplementedError, "_cuda"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    program, error, message = FAULTS[name]
    with Pretended(), pytest.raises(error, match=message):
        program()


def picking(d: str) -> list[Tensor]:
    """What may lie on the CPU beside a tensor on CUDA: numbers, and indices."""
    x = torch.arange(6.0, device=d).view(2, 3)
    mask = x > 2
    x[mask] = 7.0
    x[0, 1] = torch.tensor(9.0)
    x[NOWHERE] += 1
    x[1] = torch.ones(3)
    return [x + torch.tensor(2.0), torch.where(mask, x, 0.0), x.masked_fill(mask, torch.tensor(1.0)), x[[0, 1]],
            x[torch.tensor([True, False])], x.new_tensor([1.0]), x[torch.tensor(1)], 2 / (x + 1)]  # fmt: skip


def learning(d: str) -> list[Tensor]:
    """Gradients, also of gradients and across devices, and what C++ makes for itself on the way."""
    rows = torch.eye(3, device=d).requires_grad_()
    parts = rows.unbind()[0].sum() + rows.chunk(3)[1].prod() + torch.stack([rows, rows]).amax() + rows.var(0).sum()
    parts = parts + rows[torch.tensor([0, 2, 2], device=d)].square().sum() + rows.flatten().quantile(0.5)
    parts = parts + rows.gather(1, torch.tensor([[0], [0], [1]], device=d)).exp().sum()
    (slope,) = torch.autograd.grad(parts + torch.linalg.inv(rows + 2).trace(), [rows], create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), [rows])
    moved = torch.ones(3, requires_grad=True)
    moved.to(d).square().sum().cpu().backward()
    assert moved.grad is not None and moved.grad.device.type == "cpu"
    weight = torch.full((2, 3), 0.5, device=d).requires_grad_()
    rule = torch.optim.Adam([weight], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        rule.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(weight, torch.ones(2, 3, device=d)).backward()
        rule.step()
    return [slope.detach(), again, weight.detach()]


def mapped(d: str) -> list[Tensor]:
    """Inside vmap a tensor knows its device too."""

    def one(x: Tensor) -> Tensor:
        assert x.device.type == d and x.is_cuda == (d == "cuda")
        return x * torch.arange(3, device=x.device) + x.new_ones(3) + torch.zeros_like(x) + torch.tensor(1.0).to(x)

    x = torch.arange(6.0, device=d).view(2, 3)
    return [vmap(one)(x), vmap(grad(lambda row: (row.relu() ** 2).sum()))(x)]


def counting(d: str) -> list[Tensor]:
    """Whole numbers: sorted, counted, searched, cut into bytes."""
    heard, e = torch.tensor([1, 0, 2, 1], device=d), torch.arange(6.0, device=d).view(3, 2)
    sums = torch.empty(4, dtype=torch.int64, device=d)
    torch.cumsum(heard, 0, out=sums)
    last = torch.zeros(2, 4, dtype=torch.int64, device=d)
    last.scatter_reduce_(1, heard.expand(2, 4), torch.arange(4, device=d).expand(2, 4), "amax", include_self=False)
    put = torch.zeros(3, 2, device=d).index_put_((heard,), torch.ones(4, 2, device=d), accumulate=True)
    bag = embedding_bag(heard, e, heard[:1] - 1, mode="sum", per_sample_weights=torch.ones(4, device=d))
    return [sums, last, put, bag, heard.unique(), torch.bincount(heard, minlength=5), heard.repeat_interleave(heard),
            torch.searchsorted(sums, heard), heard.view(torch.uint8)[:2], heard.argsort(stable=True), heard.diff(),
            torch.isin(heard, heard[:1]), nn.functional.one_hot(heard), heard.to(torch.int8)]  # fmt: skip


@pytest.mark.parametrize("program", [picking, learning, mapped, counting])
def test_a_right_program_has_the_numbers_of_the_cpu(program: Callable[[str], list[Tensor]]) -> None:
    expected = program("cpu")
    with Pretended():
        found = program("cuda")
        assert all(x.device == torch.device("cuda", 0) for x in found)
        found = [x.cpu() for x in found]
    assert all(type(x) is Tensor for x in found)
    assert all(torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(found, expected, strict=True))


def test_waits_are_counted_where_they_happen() -> None:
    with Pretended(watch=Path(__file__).parent) as gpu:
        x = zeros(4)
        bool((x > 0).any()), x.tolist(), x.cpu(), torch.ones(2).to("cuda")
        x[x > 0], x[x > 0] == 1, x.nonzero(), x[NOWHERE]
        x[x > 0] = 1.0  # a fill, for which nobody waits
        index(1, 2).repeat_interleave(index(1, 2)), index(1, 2).repeat_interleave(index(1, 2), output_size=3)
    whats = {what: sum(n for (_, other), n in gpu.waits.items() if other == what) for _, what in gpu.waits}
    assert whats == {
        "item": 1, "to cpu": 2, "to cuda": 5, "mask index": 2, "nonzero": 1, "cpu index": 1, "repeat_interleave": 1,
    }  # fmt: skip
    assert all(place.startswith("device/test_pretended.py:") for place, _ in gpu.waits)


def test_nothing_stays_behind() -> None:
    before = torch.cuda.is_available(), torch.Generator, torch.zeros(1).device
    with Pretended():
        assert torch.cuda.is_available() and isinstance(zeros(1), CudaTensor)
        assert torch.zeros(1, device="meta").device.type == "meta"
    assert (torch.cuda.is_available(), torch.Generator, torch.zeros(1).device) == before
