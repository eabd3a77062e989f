"""The readings of FedSLLM's rule: what it scores a sample by, and which prototype it counts the sample for."""

from __future__ import annotations

from torch import Tensor

from fedlib.errors import InputError
from fedlib.select.scores import EPS, closest, product, ratio, smallest

READINGS = ("hard_min", "literal_desc", "intent")


def rate(reading: str, sim: Tensor, div: Tensor) -> tuple[Tensor, Tensor]:
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


def check(reading: str) -> None:
    """Raise InputError for a reading there is not."""
    if reading not in READINGS:
        raise InputError(f"reading must be one of {', '.join(READINGS)}, not {reading!r}: the paper allows all three.")
