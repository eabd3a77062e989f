"""Secure aggregation in the loop: the server gets what it would have got, and less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fedlib import Faults, FedMF, FedNCF, LocalTraining, Place, federate
from fedlib.backbones import Backbone, FedAvg
from fedlib.errors import InputError
from fedlib.protect import secure
from fedlib.protect.secure import SecureAggregation
from fedlib.shapes import Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)
HOW = {"local": LOCAL, "rounds": 2, "device": "cpu", "dtype": torch.float64}


class ByRow(FedMF):
    aggregate_items = "row"


@pytest.mark.parametrize("backbone", [FedMF(4), ByRow(4), FedAvg(4), FedNCF(4, hidden=(8,))],
                         ids=["uniform", "row", "size", "network"])  # fmt: skip
def test_the_result_is_that_of_the_plain_sum_within_quantisation(backbone: Backbone) -> None:
    plain = federate(small_split(), backbone, **HOW)
    masked = federate(small_split(), backbone, protect=SecureAggregation(clip=1.0, bits=24), **HOW)
    assert masked.history["clipped"].tolist() == [0, 0]
    for name, value in plain.state.tensors().items():
        if name.split("/")[0] in ("tables", "shared"):
            torch.testing.assert_close(masked.state.tensors()[name], value, rtol=0, atol=4 * 2**-22)


def test_the_fast_path_has_to_be_named_and_gives_the_same_bits() -> None:
    runs = [federate(small_split(), FedMF(4), protect=SecureAggregation(exact=exact), **HOW) for exact in (True, False)]
    assert torch.equal(runs[0].state.tables["item"], runs[1].state.tables["item"])
    assert runs[0].ledger["bytes"].tolist() == runs[1].ledger["bytes"].tolist()


def test_the_ledger_lists_what_really_leaves() -> None:
    ledger = federate(small_split(), FedMF(4), protect=SecureAggregation(), **HOW | {"rounds": 1}).ledger
    up = ledger[ledger["direction"] == "up"]
    assert up["tensor"].str.startswith("secure aggregation: ").all() and len(up) == 5
    signature = up[up["tensor"] == "secure aggregation: sign"].iloc[0]
    assert (signature["shape"], signature["bytes_per_client"]) == ("a signature", 4 + 64)
    vector = up[up["tensor"] == "secure aggregation: mask"].iloc[0]
    assert vector["shape"] == f"({40 * 4 + 1},)" and vector["bytes_per_client"] >= (40 * 4 + 1) * 4


def test_what_other_places_send_is_summed_in_the_same_vector() -> None:
    class Telling(Place):
        def client(self, work: Work, message: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"share": work.count.double() / 100}

        def server(self, own: dict, uploads: dict, sums: object, state: object) -> dict:
            return {"total": uploads["share"]}

    split = small_split()
    run = federate(split, FedMF(4), select=Telling(), protect=SecureAggregation(bits=24), **HOW)
    assert run.state.places["select"]["total"].item() == pytest.approx(len(split.train.items) / 100, abs=1e-5)
    with pytest.raises(InputError, match="select/share holds numbers beyond"):
        federate(split, FedMF(4), select=Telling(), protect=SecureAggregation(clip=0.01), **HOW)


def test_clipped_numbers_are_counted() -> None:
    run = federate(small_split(), FedMF(4), protect=SecureAggregation(clip=1e-7), **HOW)
    assert (run.history["clipped"] > 0).all()


def test_a_cohort_that_is_too_large_is_told_of_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure, "MAX_COHORT", 12)
    with pytest.raises(InputError, match="exact=True"):
        federate(small_split(), FedMF(4), protect=SecureAggregation(), **HOW)
    federate(small_split(), FedMF(4), protect=SecureAggregation(exact=True), **HOW)


def test_two_clients_touching_different_rows_send_vectors_that_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each client hands over for masking is dense: the set of its items is not to be seen in the shape."""
    seen: list[np.ndarray] = []
    real = secure.secure_sum

    def spy(vectors: np.ndarray, *args: object, **kwargs: object) -> object:
        seen.append(vectors)
        return real(vectors, *args, **kwargs, transcript=True)  # type: ignore[arg-type]

    monkeypatch.setattr(secure, "secure_sum", spy)
    federate(small_split(), FedMF(4), protect=SecureAggregation(), **HOW | {"rounds": 1})
    assert seen[0].shape == (13, 40 * 4 + 1)


def test_a_threshold_of_half_of_the_cohort_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match="A threshold of 6 is not above half of 13 clients"):
        federate(small_split(), FedMF(4), protect=SecureAggregation(threshold=6), **HOW)


def test_more_clients_than_were_planned_for_raise_the_threshold() -> None:
    """Coins choose 6.5 of 13 clients on average, and sometimes 8: then 4 would be half of them."""
    how = HOW | {"rounds": 8, "clients_per_round": 0.5, "sampling": "poisson"}
    run = federate(small_split(), FedMF(4), protect=SecureAggregation(threshold=4), **how)
    assert run.history["clients"].max() >= 8
    assert run.history["skipped"].tolist() == (run.history["clients"] < 4).tolist()


def test_a_round_below_the_threshold_is_skipped_and_says_so() -> None:
    protect = SecureAggregation(threshold=9)
    run = federate(small_split(), FedMF(4), protect=protect, faults=Faults(after=0.4), **HOW | {"rounds": 6})
    few = run.history["clients"] < 9
    assert run.history["skipped"].tolist() == few.tolist()
    assert 0 < few.sum() < 6
    assert run.history["reasons"][few].str.contains("and 9 are needed").all()
    lonely = federate(small_split(), FedMF(4), protect=SecureAggregation(), clients_per_round=0.01, **HOW)
    assert lonely.history["skipped"].all()
