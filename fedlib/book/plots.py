"""The figures of the book: one style, and the few shapes the chapters need.

The colours are those of Okabe and Ito (*Color Universal Design*, 2008), which people with any common colour vision tell
apart; every curve has its own marker as well, so that a figure also works in grey. Figures have a white face of their
own and are therefore the same on a light and on a dark page.

Alternative text and caption belong to the cell that shows the figure, in its metadata. In the .py pair of a chapter::

    # %% mystnb={"image": {"alt": "Two curves ..."}, "figure": {"caption": "More data wins.", "name": "fig-hr"}}
    ax = plots.axes("round", "HR@10")
    plots.curve(ax, result.history, "HR@10", "FedMF")

The alternative text says what is to be seen, the caption what follows from it, and {numref}`fig-hr` refers to the
figure. A cell with a caption shows one figure and no other output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

# The palette's colours with a contrast of at least 3 : 1 to white; the others are too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v")
INK, FAINT = "#222222", "#767676"
PALE = "#f3f6f9"  # behind the parts of a diagram

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS, marker=MARKERS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "font.size": 12,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def use_style() -> None:
    """Draw every later figure of this process in the book's style."""
    plt.rcParams.update(STYLE)


def axes(xlabel: str, ylabel: str, width: float = 7.0, height: float = 4.0) -> Axes:
    """One empty pair of axes on a new figure; width and height in inches."""
    _, ax = plt.subplots(figsize=(width, height))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def curve(ax: Axes, history: pd.DataFrame, column: str, label: str, x: str = "round") -> None:
    """Draw ``history[column]`` over ``history[x]``, with about ten markers.

    Where rows share an x, as the rows of several seeds put one below the other do, the curve is their mean and a band
    reaches from the smallest to the largest. Rows without a value (rounds that were not evaluated) are left out.
    """
    values = history.dropna(subset=[column]).groupby(x)[column].agg(["mean", "min", "max"])
    every = max(1, round(len(values) / 10))
    (line,) = ax.plot(values.index, values["mean"], label=label, markevery=every)
    if (values["max"] > values["min"]).any():
        ax.fill_between(values.index, values["min"], values["max"], color=line.get_color(), alpha=0.2, linewidth=0)


def level(ax: Axes, value: float, label: str) -> None:
    """A dashed horizontal line to compare with, such as the popularity ranker's score; its label sits on the line."""
    ax.axhline(value, color=FAINT, linestyle="--", linewidth=1.5, marker="")
    ax.annotate(label, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=FAINT)


def matrix(
    ax: Axes, values: ArrayLike, rows: Sequence[str] = (), columns: Sequence[str] = (), form: str = ".2f"
) -> None:
    """A small matrix as shaded cells with their numbers in them; row and column names where given.

    Shades run from white, the smallest value, to dark blue, the largest; missing values (NaN) stay empty.
    """
    table = np.asarray(values, dtype=float)
    ax.imshow(table, cmap="Blues", aspect="auto")
    middle = np.nanmin(table) + 0.6 * (np.nanmax(table) - np.nanmin(table))
    for (i, j), value in np.ndenumerate(table):
        if not np.isnan(value):
            ax.text(j, i, f"{value:{form}}", ha="center", va="center", color="white" if value > middle else INK)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(visible=False)
