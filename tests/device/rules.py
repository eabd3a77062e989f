"""What one operation of torch may not do on CUDA, and after which of them the host waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
INDICES = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
VALUES = "expected device cuda:0 but got device cpu for value tensor"
INDEXED = ("index", "_unsafe_index", "index_put", "_index_put_impl", "_unsafe_index_put")
ACROSS = ("copy", "_to_copy", "_copy_from", "lift_fresh")  # between two devices is what they are for
FILLS = ("masked_fill", "fill", "where", "index_fill")  # take a number on the CPU, as pointwise operations do
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot")  # on CUDA of floats alone
# The host needs a number, or the size of the result.
WAITS = {"_local_scalar_dense": "item", "_unique2": "unique", "unique_dim": "unique", "linalg_eigh": "linalg check"}
WAITS |= dict.fromkeys(("_linalg_check_errors", "_linalg_svd", "linalg_lstsq"), "linalg check")
WAITS |= {
    name: name
    for name in ("nonzero", "masked_select", "equal", "unique_consecutive", "bincount", "histc", "repeat_interleave")
}


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among an operation's arguments, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


@cache
def base(func: Any) -> str:
    """The operation's name without its overload, the same in place or not."""
    return func.overloadpacket.__name__.removesuffix("_")


def check_mixed(func: Any, args: Any, kwargs: dict[str, Any], host: list[Tensor]) -> bool:
    """Raise what CUDA raises for operands on two devices, ``host`` being those on the CPU; else, whether the result is
    on CUDA."""
    name, first_on_host = base(func), any(args[0] is t for t in host)
    if name in ACROSS:
        return not first_on_host
    if name in INDEXED:
        if first_on_host:
            raise RuntimeError(INDICES if len(host) < 1 + len([*tensors(args[1])]) else MIXED)
        if len(args) > 2 and args[2].dim() and any(args[2] is t for t in host):
            raise RuntimeError(VALUES)
        return True
    numbers = all(t.dim() == 0 for t in host) and not any(t is out for t in host for out in written(func, args, kwargs))
    alone = len(host) == 1 and (name in FILLS or torch.Tag.pointwise in func.tags)
    if numbers and (alone or name == "where"):
        return True
    raise RuntimeError(f"{MIXED} (in {func})")


def written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments an operation writes to."""
    named = enumerate(func._schema.arguments)
    out = [(i, a.name) for i, a in named if a.alias_info is not None and a.alias_info.is_write]
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in out]


def check_kind(func: Any, args: Any) -> None:
    """Raise where CUDA has no such product: that of whole numbers."""
    if base(func) in PRODUCTS and not args[0].is_floating_point():
        raise NotImplementedError(f'"{base(func)}_cuda" not implemented for {args[0].dtype}')


def wait(func: Any, args: Any, kwargs: dict[str, Any], host: list[Tensor]) -> str | None:
    """For what the host waits after an operation on CUDA, in a word."""
    name = base(func)
    if name == "repeat_interleave" and kwargs.get("output_size") is not None:
        return None
    if name in WAITS:
        return WAITS[name]
    if name == "copy" and any(args[0] is t for t in host) != any(args[1] is t for t in host):
        return "copy"
    if name in INDEXED:
        picks = [*tensors(args[1])]
        filled = "put" in name and len(picks) == 1 and args[2].numel() == 1 and any(args[2] is t for t in host)
        if any(t.dtype in (torch.bool, torch.uint8) for t in picks) and not filled:
            return "mask index"
        return "cpu index" if any(pick is t for pick in picks for t in host) else None
    return None
