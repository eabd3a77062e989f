"""Tensors of the CPU under the label cuda:0, and how the label passes from operands to results."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.device import rules

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
OWN = ("tests/device/labels.py", "tests/device/pretended.py")
TO_NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."


class CudaTensor(Tensor):
    """A tensor of the CPU under the label cuda:0."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device, is_cuda, is_cpu = (property(lambda self, said=said: said) for said in (CUDA, True, False))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return operate(func, args, kwargs or {}, None)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{copied(self, False)!r} on cuda:0"

    def get_device(self) -> int:
        return 0

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(TO_NUMPY)
        return self.detach().cpu().numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(TO_NUMPY)


def labelled(plain: Tensor) -> Tensor:
    return Tensor._make_subclass(CudaTensor, plain)


def on_cuda(x: Tensor) -> bool:
    """Whether x says so, inside vmap too."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return isinstance(x, CudaTensor)


def device_of(x: Tensor) -> torch.device:
    return CUDA if on_cuda(x) else x.device


class Moved(torch.autograd.Function):
    """A copy on the other device, whose gradient goes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cuda: bool) -> Tensor:
        ctx.cuda = not cuda
        return copied(x, cuda)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return copied(g, ctx.cuda), None


def copied(x: Tensor, cuda: bool) -> Tensor:
    with torch._C._DisableTorchDispatch():
        plain = x.detach().clone()
        return labelled(plain) if cuda else plain.as_subclass(Tensor)


def operate(func: Any, args: Any, kwargs: dict[str, Any], count: Callable[[str], None] | None) -> Any:
    """One operation: refuse what a GPU refuses, compute on the CPU, label the result."""
    given = [*rules.tensors(args), *rules.tensors(kwargs.values())]
    host = [t for t in given if not isinstance(t, CudaTensor)]
    wanted = kwargs.get("device")  # the CPU, beside a pretended tensor, is what C++ takes to be that one's device
    if wanted is not None and wanted.type == "cuda":
        cuda, kwargs = True, kwargs | {"device": CPU}
    else:
        cuda = len(host) < len(given) or (not given and wanted in (None, CPU) and made_by_cpp())
    if len(host) < len(given):
        cuda = rules.check_mixed(func, args, kwargs, host) if host else cuda
        rules.check_kind(func, args)
        if count is not None and (what := rules.wait(func, args, kwargs, host)):
            count(what)
    with torch._C._DisableTorchDispatch():
        out = func(*args, **kwargs)
    if not cuda:
        return out

    def label(x: Any) -> Any:
        fresh = isinstance(x, Tensor) and not isinstance(x, CudaTensor) and not any(x is t for t in given)
        return labelled(x) if fresh else x

    return type(out)(map(label, out)) if type(out) in (list, tuple) else label(out)


def made_by_cpp() -> bool:
    """Whether a new tensor is one that an operation on CUDA makes for itself, and not one that Python asked for.

    Python's requests pass through ``Calls`` of :mod:`tests.device.pretended`. Where the way from there leads through
    torch alone, C++ has asked, and would have named the device of the operands.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname == "Calls.__torch_function__":
            given = rules.tensors([*frame.f_locals["args"], *(frame.f_locals["kwargs"] or {}).values()])
            return any(on_cuda(t) for t in given)
        if "/torch/" not in frame.f_code.co_filename and not frame.f_code.co_filename.endswith(OWN):
            return False
        frame = frame.f_back
    return False
