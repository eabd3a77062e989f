"""A pretended accelerator: tensors in the CPU's memory that say they are on CUDA, and raise what a GPU would raise.

    with Pretended() as gpu:
        x = torch.zeros(3, device="cuda")  # x.device is cuda:0
        x + torch.ones(3)                  # RuntimeError, as on a GPU
        x.tolist()                         # right, and counted: the host has to wait for the device
    gpu.waits                              # Counter by (file:line, what)

For C++ such a tensor is on the CPU, so every kernel, autograd and vmap work as they do there. Its label is looked after
in the two places through which all of torch passes: :class:`Calls` sees what Python asks for (moves, devices, new
tensors), :class:`Labels` every operation that comes of it (:mod:`tests.device.labels`; what is
refused says :mod:`tests.device.rules`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fedlib
from tests.device import labels, rules
from tests.device.labels import CPU, CUDA, Moved, copied, device_of, on_cuda, operate

PACKAGE = Path(fedlib.__file__).parent
# What asks the machine, and its answers.
ANSWERS: dict[str, Any] = {"is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0,
                           "mem_get_info": (8 << 30, 8 << 30), "get_device_name": "pretended", "synchronize": None,
                           "_lazy_init": None}  # fmt: skip
FROM_HOST = (torch.tensor, torch.as_tensor, torch.asarray)  # their numbers come from Python


class Generator(torch._C.Generator):
    """A generator that may say it is on CUDA."""

    said = CPU
    device = property(lambda self: self.said)

    def __new__(cls, device: Any = "cpu") -> Generator:
        self = super().__new__(cls, device="cpu")
        self.said = torch.device(device)
        return self


class Labels(TorchDispatchMode):
    """Sees every operation."""

    def __init__(self, gpu: Pretended) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return operate(func, args, kwargs or {}, self.gpu.count)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or every operation would pass through torch's compiler


class Calls(TorchFunctionMode):
    """Sees everything that Python asks of torch."""

    def __init__(self, gpu: Pretended) -> None:
        super().__init__()
        self.gpu = gpu
        self.ours: dict[Any, Callable[..., Any]] = {
            Tensor.to: self.to, Tensor.cpu: lambda x: self.moved(x, CPU), Tensor.cuda: lambda x: self.moved(x, CUDA),
            Tensor.type_as: self.to, Tensor.new_tensor: self.new_tensor, Tensor.device.__get__: device_of,
            Tensor.is_cuda.__get__: on_cuda, Tensor.is_cpu.__get__: lambda x: device_of(x).type == "cpu",
        }  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.ours:
            return self.ours[func](*args, **(kwargs or {}))
        if not kwargs:
            return func(*args)
        self.check_generator(args, kwargs)
        device = kwargs.get("device")
        if device is None or torch.device(device).type not in ("cpu", "cuda"):
            return func(*args, **kwargs)
        made = func(
            *args,
            **{name: value for name, value in kwargs.items() if name not in ("device", "generator", "pin_memory")},
        )
        return self.moved(made, device, waits=func in FROM_HOST)

    def to(self, x: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        """x.to(...), all of its forms."""
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        if args and isinstance(args[0], Tensor):
            device = device_of(args[0])
        there = self.moved(x, device)
        return there.to(dtype=dtype, non_blocking=non_blocking, copy=copy and there is x, memory_format=layout)

    def new_tensor(self, x: Tensor, data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        """x.new_tensor(data), whose numbers come from Python, on the device of x."""
        return self.moved(x.new_tensor(data, **kwargs), device or device_of(x))

    def moved(self, x: Tensor, device: Any, *, waits: bool = True) -> Tensor:
        """x on a device, of the same type; between the two, ``waits`` of the host are counted."""
        kind, here = None if device is None else torch.device(device).type, device_of(x).type
        if kind in (None, here):
            return x
        if {kind, here} != {"cpu", "cuda"}:
            return x.to(device)
        if torch._C._functorch.is_functorch_wrapped_tensor(x):
            raise NotImplementedError("the pretended device cannot move a tensor inside vmap")
        if waits:
            self.gpu.count(f"to {kind}")
        return Moved.apply(x, kind == "cuda") if x.requires_grad else copied(x, kind == "cuda")

    def check_generator(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Raise where numbers for one device are asked of a generator of the other."""
        generator, device = kwargs.get("generator"), kwargs.get("device")
        if generator is None:
            return
        first = next(rules.tensors([*args, kwargs.get("out")]), None)
        cuda = torch.device(device).type == "cuda" if device else first is not None and on_cuda(first)
        if cuda != (generator.device.type == "cuda"):
            right, wrong = ("cuda", "cpu") if cuda else ("cpu", "cuda")
            raise RuntimeError(f"Expected a '{right}' device type for generator but found '{wrong}'")


class Pretended(ExitStack):
    """The context in which there is a pretended CUDA device. ``waits`` counts by (place, what), the place being the
    innermost line of a file in the folder ``watch``, whose waits alone are counted."""

    def __init__(self, watch: Path = PACKAGE) -> None:
        super().__init__()
        self.watch = watch
        self.waits: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Pretended:
        import torch._dynamo  # optimisers import it, and it must not see what is pretended here

        super().__enter__()
        for name, answer in ANSWERS.items():
            self.enter_context(patch.object(torch.cuda, name, lambda *args, _answer=answer, **kwargs: _answer))
        self.enter_context(patch.object(torch, "Generator", Generator))
        self.enter_context(Labels(self))
        self.enter_context(Calls(self))
        return self

    def count(self, what: str) -> None:
        """Note a wait of the host for the device."""
        frame: Any = sys._getframe(1)
        folder = f"{self.watch}/"
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(folder) and file not in (__file__, labels.__file__, rules.__file__):
                self.waits[f"{Path(file).relative_to(self.watch.parent)}:{frame.f_lineno}", what] += 1
                return
            frame = frame.f_back
