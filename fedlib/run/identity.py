"""What a thing is, as values that JSON can hold: equal for two runs only if it would do the same in both."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlib.errors import InputError


def identity(thing: Any) -> Any:
    """Numbers, words and what is made of them as they are; tensors and arrays by the SHA-256 of their bytes.

    An object is its class and its fields, unless it has an ``identity()`` of its own; a class or a function its name.
    InputError for something of which this cannot be told, such as an open file.
    """
    if isinstance(thing, bool | int | float | str | None):
        return thing
    if isinstance(thing, Tensor | np.ndarray):
        return digest(thing)
    if isinstance(thing, Path):
        return str(thing)
    if isinstance(thing, Mapping):
        return {str(key): identity(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [identity(value) for value in thing]
    if isinstance(thing, set | frozenset):
        return sorted((identity(value) for value in thing), key=json.dumps)
    if isinstance(thing, type) or inspect.isroutine(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    if callable(getattr(thing, "identity", None)):
        return identity(thing.identity())
    begin = type(thing).__init__
    written_in_python = inspect.isfunction(begin) or begin is object.__init__  # so that no field is hidden in C
    if isinstance(thing, SimpleNamespace) or (hasattr(thing, "__dict__") and written_in_python):
        return {"name": type(thing).__name__, **identity(vars(thing))}
    if isinstance(thing, torch.dtype | torch.device):
        return str(thing)
    raise InputError(f"A run cannot say what a {type(thing).__name__} is, so it could not be told from another: give "
                     "it a function identity() that returns words or numbers.")  # fmt: skip


def digest(values: Tensor | np.ndarray) -> str:
    """The SHA-256 of type, shape and bytes."""
    array = values.detach().cpu().contiguous().numpy() if isinstance(values, Tensor) else np.ascontiguousarray(values)
    about = json.dumps([str(array.dtype), *array.shape]).encode()
    return "sha256:" + hashlib.sha256(about + array.tobytes()).hexdigest()
