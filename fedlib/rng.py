"""Random numbers by counting: a draw is a pure function of what it is for.

A generator that is advanced draw by draw gives different numbers as soon as the work is cut differently: other
chunks, another order of clients, a run that was resumed. Here nothing is advanced. A draw is the hash of
*(seed, purpose, counters...)*, for instance *(0, "negatives", round 3, client 17, sample 5)*, so every executor, device
and resumed run sees the same numbers, and no global seed is read or set.

The hash is SplitMix64, the n-th output of a 64-bit counter stepped by the golden ratio
(Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
It is fast and well mixed; it is not a cryptographic generator.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torch.nn.functional import embedding

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX1, _MIX2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(x: int) -> int:
    """The 64-bit pattern ``x`` as torch's signed integer."""
    x &= _MASK
    return x - (1 << 64) if x >> 63 else x


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MIX1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX2) & _MASK
    return z ^ (z >> 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's ``>>`` on int64 would copy the sign bit."""
    return (z >> by).bitwise_and_((1 << (64 - by)) - 1)


def _mix_(z: Tensor) -> Tensor:
    """SplitMix64's output function, in place."""
    z.bitwise_xor_(_shift(z, 30)).mul_(_signed(_MIX1))
    z.bitwise_xor_(_shift(z, 27)).mul_(_signed(_MIX2))
    return z.bitwise_xor_(_shift(z, 31))


def key(seed: int, purpose: str, *counters: int) -> int:
    """Name a stream of draws: ``key(seed, "negatives", round)``.

    Returns a 64-bit integer to hand to :func:`bits`, :func:`uniform`, :func:`integers` or :func:`normal`.
    """
    word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    state = _mix_int((seed * _GOLDEN + word) & _MASK)
    for counter in counters:
        state = _mix_int((state + (counter + 1) * _GOLDEN) & _MASK)
    return state


def bits(stream: int, *counters: Tensor) -> Tensor:
    """64 random bits for every element of the broadcast ``counters`` (int64, non-negative).

    ``bits(key(0, "x"), users[:, None], index[None, :])`` is a (users, index) matrix of draws in which each entry
    depends on its own user and index alone.
    """
    state: Tensor | None = None
    for counter in counters:
        step = (counter + 1) * _signed(_GOLDEN)
        state = _mix_(step.add_(_signed(stream)) if state is None else step + state)
    if state is None:
        raise TypeError("bits() needs at least one counter tensor")
    return state


def uniform(stream: int, *counters: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), float64 with 53 random bits."""
    return _shift(bits(stream, *counters), 11).to(torch.float64).mul_(2.0**-53)


def integers(bound: Tensor | int, stream: int, *counters: Tensor) -> Tensor:
    """Integers in [0, bound), int64; ``bound`` (at most 2^31) may be a tensor that broadcasts.

    Multiply-shift on 31 bits: a value's probability is off by at most ``bound / 2^31`` of itself.
    """
    return (_shift(bits(stream, *counters), 33) * bound) >> 31


def normal(stream: int, *counters: Tensor) -> Tensor:
    """Standard normal numbers, float64 (Box and Muller 1958)."""
    first = bits(stream, *counters)
    second = _mix_(first + _signed(_GOLDEN))
    radius = torch.sqrt(-2.0 * torch.log1p(-_shift(first, 11).to(torch.float64) * 2.0**-53))
    return radius * torch.cos(_shift(second, 11).to(torch.float64) * (2.0**-53 * 2.0 * math.pi))


def dropout(p: float, width: int, dtype: torch.dtype, stream: int, *counters: Tensor) -> Tensor:
    """Dropout masks of ``width`` units: 0 with probability ``p``, else 1 / (1 - p), which keeps the mean.

    counters (...) -> (..., width). At p = 1/2 a unit takes one bit, the lowest first, so 64 units share a draw;
    otherwise it takes 16 bits, which four share.
    """
    units = 64 if p == 0.5 else 4
    words = -(-width // units)
    *others, last = counters
    index = last[..., None] * words + torch.arange(words, device=last.device)
    draw = bits(stream, *(counter[..., None] for counter in others), index)
    if p == 0.5:
        return _unpack(draw.view(torch.uint8)[..., : -(-width // 8)], 2.0, dtype)[..., :width]
    # A field is read as a signed number; the unit is kept where its unsigned value is at least p 2^16.
    field = draw.view(torch.int16)[..., :width]
    threshold = int(p * 65536 + 0.5)
    kept = (field >= threshold) | (field < 0) if threshold < 32768 else (field < 0) & (field >= threshold - 65536)
    return kept.to(dtype).div_(1 - p)


def _unpack(byte: Tensor, one: float, dtype: torch.dtype) -> Tensor:
    """The bits of bytes (..., n), the lowest first, as 0 or ``one``, (..., 8 n).

    Looked up eight at a time: shifting would make eight bytes of every bit on the way.
    """
    number, place = torch.arange(256, device=byte.device), torch.arange(8, device=byte.device)
    table = ((number[:, None] >> place) & 1).to(dtype) * one
    return embedding(byte.int(), table).flatten(-2)


def permutation(n: int, stream: int) -> Tensor:
    """A random order of ``0 .. n-1``, int64."""
    return torch.argsort(bits(stream, torch.arange(n)), stable=True)
