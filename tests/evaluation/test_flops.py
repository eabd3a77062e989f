"""Multiplications of a forward pass, against counts by hand."""

from __future__ import annotations

import pytest

from fedlib import FedMF, FedNCF, FedNGCF, FedRAP, InputError, PFedRec
from fedlib.backbones import Backbone, FedPerGNN
from fedlib.evaluation.flops import multiply_adds


@pytest.mark.parametrize(
    ("backbone", "by_hand"),
    [
        (FedMF(dim=32), 32),
        (FedNCF(dim=32, hidden=(128, 64), gmf=0, dropout=0.5), 64 * 128 + 128 * 64 + 64),  # FedSLLM's Table 5: 16,448
        (FedNCF(dim=8, hidden=(12, 6), gmf=4), 16 * 12 + 12 * 6 + (4 + 6) + 4),  # the last: p * q of the product branch
        (PFedRec(dim=32), 32),
        (FedRAP(dim=32), 32),
        (FedPerGNN(dim=8), 3 * 8),  # the row's share, whether it is the user's own, and the inner product
    ],
)
def test_the_count_is_the_one_by_hand(backbone: Backbone, by_hand: int) -> None:
    assert multiply_adds(backbone) == by_hand


def test_a_model_of_a_store_has_no_cost_of_one_sample() -> None:
    with pytest.raises(InputError, match="depends on the graph"):
        multiply_adds(FedNGCF())
