"""Semantic spaces and tables: what they hold, keep, and refuse."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedlib import FedMF, FedNCF, FedRAP, InputError, LocalTraining, SemanticSpace, SemanticTable, federate
from fedlib.items import item_texts
from fedlib.items.autoencoder import align, encode
from fedlib.threads import threads
from tests.items.tiny import Hashed, shop, space


def test_the_codes_are_the_encoded_texts() -> None:
    data = shop()
    made = space(data)
    assert made.texts == item_texts(data) and made.losses.shape == (3,)
    torch.testing.assert_close(made.x, Hashed().encode(made.texts))
    assert torch.equal(made.codes, encode(made.weights, made.x)) and made.codes.shape == (40, 4)


def test_items_in_another_order_have_their_codes_in_that_order() -> None:
    """Under given weights a code belongs to its text; a training on another order sums in another order."""
    data = shop()
    made, order = space(data), torch.randperm(40, generator=torch.Generator().manual_seed(5))
    moved = made.embed([made.texts[i] for i in order])
    torch.testing.assert_close(moved, made.codes[order])
    other = data.catalogue.iloc[order.tolist()].reset_index(drop=True)
    object.__setattr__(data, "catalogue", other)
    torch.testing.assert_close(space(data).codes, made.codes[order], rtol=1e-4, atol=1e-5)


def test_prototypes_lie_where_items_with_their_text_lie_before_and_after_an_alignment() -> None:
    made = space(shop())
    torch.testing.assert_close(made.embed(made.texts[:5]), made.codes[:5])
    moved = align(made.weights, made.x, made.codes + 1, torch.ones(40), steps=3, lr=0.01)
    torch.testing.assert_close(made.embed(made.texts[:5], moved), encode(moved, made.x[:5]))
    assert not torch.allclose(made.embed(made.texts[:5], moved), made.codes[:5])


def test_a_space_is_made_once(cache: Path) -> None:
    encoder, data = Hashed(), shop()
    first = space(data, encoder=encoder)
    again = space(data, encoder=encoder)
    assert encoder.calls == 1
    assert torch.equal(first.codes, again.codes) and torch.equal(first.losses, again.losses)
    assert all(torch.equal(first.decoder[name], again.decoder[name]) for name in first.decoder)
    kinds = {kind: len(list((cache / kind).glob("*.safetensors"))) for kind in ("encoded", "autoencoders")}
    assert kinds == {"encoded": 1, "autoencoders": 1}
    assert len({repr(first), repr(space(data, steps=4)), repr(space(data, d=5))}) == 3


def test_codes_do_not_depend_on_the_threads_of_the_process(cache: Path) -> None:
    """A loss over 40 x 3,840 numbers is summed in parts, one a thread, where it may be."""

    class Wide(Hashed):
        def encode(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.randn(len(texts), 96, generator=torch.Generator().manual_seed(3)).repeat(1, 40)

    made = []
    for number in (1, 3):
        with threads(number):
            made.append(space(shop(), encoder=Wide(), steps=20))
        shutil.rmtree(cache)
    assert torch.equal(made[0].codes, made[1].codes) and torch.equal(made[0].losses, made[1].losses)


def test_what_a_result_says_about_it() -> None:
    made = space(shop())
    about = made.about()
    assert (about["encoder"], about["encoder_dim"], about["ae_widths"], about["ae_steps"]) == ("hashed", 12, [8, 4], 3)
    assert about["code_norm_mean"] == pytest.approx(float(made.codes.square().sum(1).sqrt().mean()))
    assert 0 < about["ae_error"] < 2


def test_a_table_starts_from_the_codes_and_others_as_usual() -> None:
    made = space(shop(), d=4)
    tables = SemanticTable(made).tables(FedNCF(4, gmf=6), 40, seed=1)
    assert torch.equal(tables["item"].float(), made.codes) and tables["item"].dtype == torch.float64
    assert tables["gmf"].shape == (40, 6) and float(tables["gmf"].std()) == pytest.approx(0.01, rel=0.3)


def test_a_table_that_cannot_start_from_the_codes_is_refused() -> None:
    table = SemanticTable(space(shop(), d=4))
    with pytest.raises(InputError, match="The codes of the items are 4 wide, but FedMF reads 8: give both one width"):
        table.tables(FedMF(8), 40, seed=0)
    with pytest.raises(InputError, match='FedRAP has no table "item" that could start from texts; it has common and'):
        table.tables(FedRAP(4), 40, seed=0)
    with pytest.raises(InputError, match="codes for 40 items, but the data has 41"):
        table.tables(FedMF(4), 41, seed=0)


def test_a_run_trains_from_the_codes_and_its_config_names_them() -> None:
    data = shop()
    made = space(data, d=4)
    frozen = LocalTraining(lr=1e-30, lr_items=1e-30)
    result = federate(
        data.leave_one_out(negatives=5), FedMF(4), SemanticTable(made), local=frozen, rounds=1, device="cpu", ks=(5,)
    )
    torch.testing.assert_close(result.state.tables["item"], made.codes)
    assert result.config["places"]["items"] == {
        "name": "SemanticTable", "dim": None, "std": None, "space": repr(made),
    }  # fmt: skip


def test_data_without_items_is_refused() -> None:
    data = shop()
    object.__setattr__(data, "catalogue", pd.DataFrame({"title": [], "categories": [], "description": []}))
    with pytest.raises(InputError, match="there is no text to encode"):
        SemanticSpace.pretrained(data, Hashed(), widths=(4,), steps=1)
