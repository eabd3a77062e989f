"""The grid of protections, and whether its bounds reach far enough."""

from __future__ import annotations

from statistics import mean

import pytest

from fedlib.protect.noise import UserLevelDP
from fedlib.reproduce import read_rows
from fedlib.reproduce.privacy import PRIVACY


def bounds() -> dict[str, list[float]]:
    """The bounds on an update's norm that are tried, in order, by model and epsilon."""
    found: dict[str, list[float]] = {}
    for cell in PRIVACY.cells:
        if isinstance(cell.protect, UserLevelDP):
            found.setdefault(cell.name.rpartition("/")[0], []).append(cell.protect.clip)
    return {family: sorted(clips) for family, clips in found.items()}


def test_a_cell_is_named_by_its_epsilon_and_its_bound() -> None:
    names = [cell.name for cell in PRIVACY.cells]
    assert len(set(names)) == len(names)
    for cell in PRIVACY.cells:
        if isinstance(cell.protect, UserLevelDP):
            assert cell.name.endswith(f"/user-dp/{cell.protect.epsilon:g}/{cell.protect.clip:g}")


@pytest.mark.parametrize("family", bounds())
def test_the_bound_that_is_best_on_validation_is_not_the_last_that_was_tried(family: str) -> None:
    """A choice at the edge of a grid says that the grid ends too early."""
    clips, scores = bounds()[family], {}
    for row in read_rows("privacy", "ml-100k"):
        if row["cell"].rpartition("/")[0] == family:
            scores.setdefault(row["protect"]["clip"], []).append(row["valid_metrics"]["NDCG@10"])
    if not scores:
        pytest.skip(f"{family} has no rows yet")
    best = max(scores, key=lambda clip: mean(scores[clip]))
    assert clips[0] < best < clips[-1]
