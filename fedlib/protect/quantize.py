"""Numbers as whole numbers modulo R, which is what secure aggregation adds up.

A mask hides a number only if their sum can be anything with equal chance, and only whole numbers modulo R have that;
floating-point masks neither hide nor cancel exactly. So a client clips, rounds to a grid, and sends codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError

Words = npt.NDArray[np.unsignedinteger[Any]]
"""A vector of whole numbers modulo R = 2^8, 2^16, 2^32 or 2^64."""


class Encoded(NamedTuple):
    """The codes of some numbers, int64, and how many of the numbers had to be clipped."""

    codes: Tensor
    clipped: int


@dataclass(frozen=True)
class Quantizer:
    r"""A grid of :math:`2^k - 1` points on [-clip, clip] with :math:`k` = ``bits``, from 2 to 32.

    .. math:: q(x) = \frac{\mathrm{clip}(x, -c, c)}{s} + z \text{ rounded},\qquad z = 2^{k-1}-1,\quad s = c / z

    Of the :math:`2^k` codes the last stays unused, so that 0 has a code of its own, ``zero``: what a client did not
    touch comes out of the sum as exactly 0.
    """

    clip: float
    bits: int = 16

    @property
    def zero(self) -> int:
        """The code of 0."""
        return 2 ** (self.bits - 1) - 1

    @property
    def largest(self) -> int:
        """The code of ``clip``, the largest there is."""
        return 2 * self.zero

    @property
    def step(self) -> float:
        """The distance of two neighbouring points of the grid."""
        return self.clip / self.zero

    def encode(self, values: Tensor, stream: int, clients: Tensor, weight: Tensor | None = None) -> Encoded:
        r"""The codes that K clients send for their ``values`` (K, ...), each times the client's ``weight``.

        Rounding is up with the probability of the remainder, so the expected value of a code stands for the clipped
        value itself. weight: whole numbers, (K,) or with further dimensions of ``values`` (a weight for each row);
        the decoded sum is then :math:`\sum_u w_u x_u`. The draws are those of ``stream`` (:func:`fedlib.rng.key`) for
        ``clients`` (K,); they only round and hide nothing, so they need not be secret.
        Raises InputError for values that are not finite and for weights that are not whole numbers from 0 on.
        """
        check(self)
        if not torch.isfinite(values).all():
            raise InputError(
                "A value that is NaN or infinite has no code: look for the client whose training diverged."
            )
        real = values.to(torch.float64)
        index = torch.arange(real.shape[1:].numel(), device=real.device).view(real.shape[1:])
        who = clients.view(-1, *(1,) * (real.dim() - 1))
        exact = real.clamp(-self.clip, self.clip) * (self.zero / self.clip)
        below = exact.floor()
        up = rng.uniform(stream, who, index) < exact - below
        codes = (below + up).clamp(-self.zero, self.zero).to(torch.int64) + self.zero
        if weight is not None:
            codes *= whole(weight).view(*weight.shape, *(1,) * (codes.dim() - weight.dim()))
        return Encoded(codes, int((real.abs() > self.clip).sum()))

    def decode(self, total: Tensor, weight: Tensor | int) -> Tensor:
        """The sum of the values, float64, from the sum of their codes and of their weights (n without weights).

        A weight with fewer dimensions than ``total`` belongs to its first ones: (n,) to the rows of (n, d).
        """
        if isinstance(weight, Tensor):
            weight = weight.view(*weight.shape, *(1,) * (total.dim() - weight.dim()))
        return (total - self.zero * weight).to(torch.float64) * self.step


def check(quantizer: Quantizer) -> None:
    """Raise InputError unless the grid exists."""
    if not 0 < quantizer.clip < float("inf"):
        raise InputError(f"clip is {quantizer.clip}, but must be a number above 0.")
    if not 2 <= quantizer.bits <= 32:
        raise InputError(f"bits is {quantizer.bits}, but must be from 2 to 32.")


def whole(weight: Tensor) -> Tensor:
    """The weights as int64; raises InputError unless they are whole numbers from 0 on."""
    number = weight.to(torch.int64)
    if (number != weight).any() or (number < 0).any():
        raise InputError(
            "Weights must be whole numbers from 0 on, because the sum of codes times weights must be whole."
        )
    return number


def word(n_max: int, largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    r"""The smallest unsigned word whose modulus holds the sum of ``n_max`` numbers up to ``largest``.

    .. math:: R = 2^r \ge n_{max} \cdot \mathrm{largest} + 1, \qquad r \in \{8, 16, 32, 64\}

    A smaller power of two would do, but words wrap around by themselves, and bytes cannot be split over a network
    anyway. With weights, ``largest`` is the largest code times the largest weight. Of the 64-bit word 63 bits are
    used, so that sums fit torch's integers; raises InputError beyond that.
    """
    top = n_max * largest
    for bits in (8, 16, 32, 64):
        if top < 2 ** min(bits, 63):
            return np.dtype(f"<u{bits // 8}")
    raise InputError(
        f"A sum of {n_max} numbers up to {largest} needs more than 63 bits: use fewer bits or lower weights."
    )
