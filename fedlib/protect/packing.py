"""Named tensors as one vector of words, and back.

One vector for all that a client sends means one mask, and one list of those whose numbers are in the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from fedlib.errors import InputError
from fedlib.protect.quantize import Words, word


def pack(codes: Mapping[str, Tensor], *, n_max: int, largest: int) -> Words:
    """The vectors (K, D) of K clients, from whole numbers (K, ...) of any integer type, in the order of the names.

    The word follows from public bounds alone, ``n_max`` clients and numbers from 0 to ``largest``, because all clients
    must use the same. Raises InputError for numbers outside, which would wrap around in the sum, and for fractions.

    >>> import torch
    >>> vectors = pack({"a": torch.tensor([[1, 2], [3, 4]]), "b": torch.tensor([5, 6])}, n_max=2, largest=6)
    >>> vectors
    array([[1, 2, 5],
           [3, 4, 6]], dtype=uint8)
    >>> unpack(vectors.sum(0, dtype=vectors.dtype), {"a": (2,), "b": ()})
    {'a': tensor([4, 6]), 'b': tensor(11)}
    """
    for name, value in codes.items():
        if value.is_floating_point() or value.is_complex():
            raise InputError(f'"{name}" holds {value.dtype}, but only whole numbers are packed: quantize it first.')
        if value.numel() and not 0 <= int(value.min()) <= int(value.max()) <= largest:
            found = f"{int(value.min())} to {int(value.max())}"
            raise InputError(f'"{name}" holds numbers from {found}, but all must be from 0 to {largest}.')
    parts = [value.reshape(len(value), prod(value.shape[1:])).cpu().numpy() for value in codes.values()]
    return np.concatenate(parts, axis=1, dtype=word(n_max, largest), casting="unsafe")


def unpack(total: Words, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The named sums, int64, in a summed vector (D,); ``shapes`` are one client's, in the order of packing."""
    sizes = [prod(shape) for shape in shapes.values()]
    if sum(sizes) != len(total):
        raise InputError(
            f"The shapes hold {sum(sizes)} numbers, but the vector has {len(total)}: they are not its shapes."
        )
    pieces = torch.from_numpy(total.astype(np.int64)).split(sizes)
    return {name: piece.view(tuple(shape)) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
