r"""The scores of FedSLLM, one function an equation (Eqs. 8 to 14), and the three ways to read them together.

K clients, P positives of each, J prototypes, d the width of an item vector. What the text says about Eqs. 11 to 13 is
contradictory, see the ambiguity log, "FedSLLM: which samples are hard": ``READINGS`` are what it can mean, and
:func:`score_by` puts the equations together as each of them says.

Source: *FedSLLM: LLM-Derived Semantic Prototypes for Sample Selection in Federated Recommendation*, anonymous ACL
submission, sections 4.2 to 4.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib.choices import READINGS
from fedlib.errors import InputError

EPS = 1e-6


def cosine(e: Tensor, prototypes: Tensor) -> Tensor:
    r"""Eq. 8: :math:`\mathrm{sim}(i, p_j) = e_i^\top e^p_j / (\lVert e_i\rVert\,\lVert e^p_j\rVert)`.

    e (..., d), prototypes (J, d) -> (..., J) in [-1, 1]; 0 where a vector is zero.
    """
    return torch.nn.functional.normalize(e, dim=-1) @ torch.nn.functional.normalize(prototypes, dim=-1).T


def similarity(cos: Tensor) -> Tensor:
    r"""Eq. 8 moved to [0, 1]: :math:`(1 + \cos)/2`.

    A negative cosine divided by a small discrepancy is a huge negative number in Eq. 11: an item that has nothing to do
    with a prototype, and is predicted like it, would come first or last of all.
    """
    return (1 + cos.clamp(-1, 1)) / 2


def discrepancy(r_item: Tensor, r_prototype: Tensor) -> Tensor:
    r"""Eq. 10: :math:`\mathrm{div}(i, p_j) = |\hat r_{u,i} - \hat r_{u,p_j}|`, both probabilities (Eq. 9).

    r_item (K, P), r_prototype (K, J) -> (K, P, J).
    """
    return (r_item[:, :, None] - r_prototype[:, None, :]).abs()


def ratio(sim: Tensor, div: Tensor, eps: float = EPS) -> Tensor:
    r"""Eq. 11 as printed: :math:`s(i, p_j) = \mathrm{sim} / (\mathrm{div} + \epsilon)`. It *falls* with div."""
    return sim / (div + eps)


def product(sim: Tensor, div: Tensor) -> Tensor:
    r"""What Eq. 11 is said to do: :math:`s^+(i, p_j) = \mathrm{sim}\cdot\mathrm{div}`, large where both are."""
    return sim * div


def smallest(s: Tensor) -> Tensor:
    r"""Eq. 12: :math:`\mathrm{Score}(i) = \min_j s(i, p_j)`, (..., J) -> (...)."""
    return s.amin(-1)


def closest(s: Tensor) -> Tensor:
    r"""Eq. 13: :math:`j^*(i) = \arg\min_j s(i, p_j)`, the first of equals; (..., J) -> (...)."""
    return s.argmin(-1)


def counts(nearest: Tensor, real: Tensor, number: int) -> Tensor:
    r"""Eq. 14: :math:`c_u[j] = \sum_{i \in D_u} I(j^*(i) = j)`.

    nearest (K, P) in 0 .. J-1, counted where ``real`` (K, P) -> (K, J) int64.

    Eq. 15, :math:`c_t = \sum_{u \in U_t} c_u`, is how every upload is added up:
    :meth:`~fedlib.server.sums.Sums.add_upload`.
    """
    c = torch.zeros(len(nearest), number, dtype=torch.int64, device=nearest.device)
    return c.scatter_add_(1, nearest, real.to(torch.int64))


def score_by(reading: str, sim: Tensor, div: Tensor) -> tuple[Tensor, Tensor]:
    """What is ranked, the largest kept, and the prototype each sample is counted for: (..., J) -> (...), (...).

    ==================  ==============================================  =============================
    reading             kept                                            counted for
    ==================  ==============================================  =============================
    ``"hard_min"``      the smallest Score of Eqs. 11 and 12            Eq. 13
    ``"literal_desc"``  the largest Score of Eqs. 11 and 12             Eq. 13
    ``"intent"``        the largest of all sim div                      the prototype that gives it
    ==================  ==============================================  =============================
    """
    if reading == "intent":
        s = product(sim, div)
        return s.amax(-1), s.argmax(-1)
    s = ratio(sim, div)
    return (-smallest(s) if reading == "hard_min" else smallest(s)), closest(s)


def log_weight(reading: str, ranked: Tensor) -> Tensor:
    """The logarithm of the weight a sample is drawn with, from what is ranked: Score, or 1 / Score for "hard_min"."""
    if reading == "hard_min":
        return -(EPS - ranked).log()
    return (ranked + EPS).log()


def check_reading(reading: str) -> None:
    """Raise InputError for a reading there is not."""
    if reading not in READINGS:
        raise InputError(f"reading must be one of {', '.join(READINGS)}, not {reading!r}: the paper allows all three.")
