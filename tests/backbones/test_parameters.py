"""How many numbers a client learns: FedMR's Table 5, vanilla rows, for its four data sets."""

from __future__ import annotations

import pytest

from fedlib import FedNCF
from fedlib.backbones import FCF, Backbone, FedAvg, FedRAP, PFedRec

# arXiv:2410.08478v2, Table 1 (users, items) and Table 5 (parameters).
SIZES = {"KU": (204, 560), "Dance": (10231, 1676), "Food": (5990, 1125), "Movie": (15908, 2528)}
LINEAR = {"KU": 35905, "Dance": 107329, "Food": 72065, "Movie": 161857}
FEDRAP = {"KU": 71745, "Dance": 214593, "Food": 144065, "Movie": 323649}
# The Movie cell is the same model at half the width.
NEUMF = {"KU": 108737, "Dance": 1535041, "Food": 921665}


@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        (FedAvg(dim=64), LINEAR),
        (FCF(dim=64), LINEAR),
        (PFedRec(dim=64), LINEAR),
        (FedRAP(dim=64), FEDRAP),
        (FedNCF(dim=64, hidden=(64, 32, 16), gmf=64), NEUMF),
        (FedNCF(dim=32, hidden=(32, 16, 8), gmf=32), {"Movie": 1182689}),
    ],
    ids=["fedavg", "fcf", "pfedrec", "fedrap", "neumf", "neumf-half"],
)
def test_the_counts_are_those_of_fedmrs_table_5(backbone: Backbone, published: dict[str, int]) -> None:
    for name, count in published.items():
        users, items = SIZES[name]
        assert backbone.n_parameters(items, users) == count, name
