"""The little that the book's notebooks need besides the package: how much to compute, and numbers for the prose."""

from __future__ import annotations

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
