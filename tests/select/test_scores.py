"""FedSLLM's equations against numbers worked out by hand: three items, two prototypes."""

from __future__ import annotations

import pytest
import torch

from fedlib import InputError
from fedlib.select.scores import (
    READINGS,
    check_reading,
    closest,
    cosine,
    counts,
    discrepancy,
    log_weight,
    product,
    ratio,
    score_by,
    similarity,
    smallest,
)

E = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
P = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
COSINE = [[1, 0], [0, 1], [-1, 0]]
SIM = torch.tensor([[1, 0.5], [0.5, 1], [0, 0.5]], dtype=torch.float64)
DIV = torch.tensor([[0.5, 0.1], [0.1, 0.3], [0.2, 0.6]], dtype=torch.float64)  # of .9, .5, .2 and .4, .8


def close(found: torch.Tensor, by_hand: list) -> None:
    torch.testing.assert_close(found, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-5, atol=1e-9)


def test_equation_8_and_its_move_to_the_unit_interval() -> None:
    close(cosine(E, P), COSINE)
    close(similarity(cosine(E, P)), SIM.tolist())
    assert cosine(torch.zeros(1, 2), torch.ones(1, 2)).tolist() == [[0.0]]


def test_equation_10() -> None:
    r_item, r_prototype = torch.tensor([[0.9, 0.5, 0.2]]).double(), torch.tensor([[0.4, 0.8]]).double()
    close(discrepancy(r_item, r_prototype)[0], DIV.tolist())


def test_equations_11_to_13() -> None:
    s = ratio(SIM, DIV)
    close(s, [[1 / 0.500001, 0.5 / 0.100001], [0.5 / 0.100001, 1 / 0.300001], [0, 0.5 / 0.600001]])
    close(smallest(s), [1 / 0.500001, 1 / 0.300001, 0])
    assert closest(s).tolist() == [0, 1, 0]
    close(product(SIM, DIV), [[0.5, 0.05], [0.05, 0.3], [0, 0.3]])


def test_equation_14_does_not_count_padding() -> None:
    nearest, real = torch.tensor([[0, 1, 0], [1, 1, 1]]), torch.tensor([[True, True, True], [True, False, False]])
    assert counts(nearest, real, 3).tolist() == [[2, 1, 0], [0, 1, 0]]


def test_the_three_readings_put_three_different_items_first() -> None:
    first, nearest = {}, {}
    for reading in READINGS:
        ranked, nearest[reading] = score_by(reading, SIM, DIV)
        first[reading] = int(ranked.argmax())
    assert first == {"hard_min": 2, "literal_desc": 1, "intent": 0}
    assert {reading: j.tolist() for reading, j in nearest.items()} == {
        "hard_min": [0, 1, 0],
        "literal_desc": [0, 1, 0],
        "intent": [0, 1, 1],
    }


def test_equation_11_falls_with_what_it_is_said_to_rise_with() -> None:
    """ "A larger score indicates that item i is semantically close ... while exhibiting a large discrepancy.\""""
    near = torch.ones(2, dtype=torch.float64)
    by_print, as_said = ratio(near, torch.tensor([0.1, 0.9])), product(near, torch.tensor([0.1, 0.9]))
    assert by_print[0] > by_print[1] and as_said[0] < as_said[1]


def test_a_raw_cosine_makes_the_dissimilar_and_well_predicted_extreme() -> None:
    """Item 2 is the opposite of prototype 0 and predicted like it: nothing to learn there, and a score of -10^6."""
    div = torch.zeros(1, dtype=torch.float64)
    raw = ratio(cosine(E[2], P[:1]), div)
    moved = ratio(similarity(cosine(E[2], P[:1])), div)
    assert raw.item() == pytest.approx(-1e6) and moved.item() == 0
    assert raw.item() < ratio(cosine(E, P), DIV).min() * 1e5


def test_a_draw_follows_the_score_or_what_it_is_the_inverse_of() -> None:
    for reading, weight in (
        ("literal_desc", [2.0, 10 / 3, 0.0]),
        ("hard_min", [0.5, 0.3, 1e6]),
        ("intent", [0.5, 0.3, 0.3]),
    ):
        ranked, _ = score_by(reading, SIM, DIV)
        torch.testing.assert_close(
            log_weight(reading, ranked).exp(), torch.tensor(weight).double(), rtol=1e-4, atol=2e-6
        )


def test_there_is_no_default_reading() -> None:
    with pytest.raises(InputError, match="hard_min, literal_desc, intent"):
        check_reading("best")
