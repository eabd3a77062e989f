"""What the book's notebooks need besides the package: how much to compute, numbers for the prose, answers to check."""

from __future__ import annotations

import math
import os
from typing import Any

from fedlib.data import names
from fedlib.errors import InputError

PROFILES = ("smoke", "cpu", "full")


def profile() -> str:
    """How much a chapter computes, from the environment variable ``FEDLIB_PROFILE``.

    "smoke": seconds, on the synthetic shop. "cpu": minutes, on real data. "full": real data and a graphics card.
    Where the variable is not set or empty, "cpu" if MovieLens 100K is at hand, else "smoke". Raises
    :class:`~fedlib.errors.InputError` for any other value.
    """
    asked = os.environ.get("FEDLIB_PROFILE")
    if not asked:
        at_hand = {name for name, _, place in names() if place != "not here"}
        return "cpu" if "ml-100k" in at_hand else "smoke"
    if asked not in PROFILES:
        raise InputError(f"FEDLIB_PROFILE is {asked!r}, but must be one of {', '.join(PROFILES)}.")
    return asked


def start() -> str:
    """Begin a chapter: set the figures' style, say in a line what it runs on, and return the profile."""
    import torch

    from fedlib import __version__
    from fedlib.book import plots

    plots.use_style()
    chosen = profile()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"fedlib {__version__}, profile {chosen}, {device}")
    if chosen == "smoke":
        print('made-up data; for real data set the environment variable FEDLIB_PROFILE to "cpu" or "full"')
    return chosen


def check(yours: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Compare an exercise's answer with the expected one and say so; None and ``...`` are answers still to come.

    Numbers, and lists or tuples of numbers, may differ by ``tolerance`` relative to the expected one (and absolutely
    below 1); everything else has to be equal.
    """
    if yours is None or yours is Ellipsis:
        print("not done yet")
        return
    verdict = "right" if _agree(yours, expected, tolerance) else "not yet"
    print(f"yours {_short(yours)}, expected {_short(expected)}: {verdict}")


def _agree(yours: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, list | tuple):
        return (
            isinstance(yours, list | tuple)
            and len(yours) == len(expected)
            and all(_agree(a, b, tolerance) for a, b in zip(yours, expected, strict=True))
        )
    if isinstance(expected, bool | str):
        return bool(yours == expected)
    try:
        return math.isclose(float(yours), float(expected), rel_tol=tolerance, abs_tol=tolerance)
    except (TypeError, ValueError):
        return bool(yours == expected)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def glue(name: str, value: Any) -> None:
    """Store ``value`` under ``name`` in the outputs of the running cell, unseen, for the prose to quote.

    A text cell then writes ``{glue:text}`name:.3f```. This is the message that ``myst_nb.glue(name, value,
    display=False)`` sends, so that a notebook can be run where MyST-NB is not installed.
    """
    from IPython.core.formatters import format_display_data
    from IPython.display import display

    prefix = "application/papermill.record/"
    shown, _ = format_display_data(value)
    hidden = {prefix + mime: data for mime, data in shown.items()}
    display(hidden, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})
