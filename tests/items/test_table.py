"""Item tables."""

from __future__ import annotations

import pytest
import torch

from fedlib import FedMF, FedNCF, InputError, ItemTable


def test_tables_have_the_width_and_spread_the_backbone_asks_for() -> None:
    tables = ItemTable().tables(FedNCF(16, gmf=8, std=0.05), n_items=4000, seed=3)
    assert {name: tuple(table.shape) for name, table in tables.items()} == {"item": (4000, 16), "gmf": (4000, 8)}
    for table in tables.values():
        assert float(table.std()) == pytest.approx(0.05, rel=0.03)
    assert not torch.equal(tables["item"][:, :8], tables["gmf"])


def test_another_spread_and_the_same_numbers() -> None:
    wide, narrow = (ItemTable(dim=4, std=std).tables(FedMF(4), 10, seed=0)["item"] for std in (1.0, 0.1))
    torch.testing.assert_close(wide * 0.1, narrow)


def test_a_width_the_backbone_cannot_read_is_refused() -> None:
    with pytest.raises(InputError, match="The items are 8 wide, but the backbone reads a table 'item' of 4"):
        ItemTable(dim=8).tables(FedMF(4), 10, seed=0)
