"""The book's figures: colours one can see, and curves that show what the data says."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from fedlib.book import plots


@pytest.fixture
def ax() -> Iterator[Axes]:
    with mpl.rc_context():
        mpl.use("Agg")
        plots.use_style()
        yield plots.axes("round", "HR@10")
        plt.close("all")


@pytest.mark.parametrize("colour", [*plots.COLOURS, plots.FAINT])
def test_a_line_stands_out_from_white(colour: str) -> None:
    # WCAG 2.1, success criterion 1.4.11: at least 3 : 1 for parts of a graphic.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    assert 1.05 / (luminance + 0.05) >= 3


def test_every_curve_has_its_own_colour_and_marker(ax: Axes) -> None:
    history = pd.DataFrame({"round": [1, 2], "HR@10": [0.1, 0.2]})
    for name in "abcde":
        plots.curve(ax, history, "HR@10", name)
    assert len({line.get_color() for line in ax.lines}) == len({line.get_marker() for line in ax.lines}) == 5


def test_seeds_become_a_mean_and_a_band_and_gaps_are_left_out(ax: Axes) -> None:
    history = pd.DataFrame({"round": [1, 2, 3, 1, 2, 3], "HR@10": [0.1, None, 0.5, 0.3, None, 0.5]})
    plots.curve(ax, history, "HR@10", "FedMF")
    (line,), (band,) = ax.lines, ax.collections
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.2], [3, 0.5]])
    corners = band.get_paths()[0].vertices
    assert sorted({round(float(y), 6) for x, y in corners if x == 1}) == [0.1, 0.3]


def test_one_seed_has_no_band(ax: Axes) -> None:
    plots.curve(ax, pd.DataFrame({"round": [1, 2], "HR@10": [0.1, 0.2]}), "HR@10", "FedMF")
    assert len(ax.collections) == 0


def test_a_matrix_shows_its_numbers_and_leaves_gaps_empty(ax: Axes) -> None:
    plots.matrix(ax, [[1.0, np.nan], [0.0, 0.5]], rows=["u", "v"], form=".1f")
    assert [text.get_text() for text in ax.texts] == ["1.0", "0.0", "0.5"]
    assert [text.get_color() for text in ax.texts] == ["white", plots.INK, plots.INK]
