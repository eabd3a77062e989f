"""Leverage against a singular value decomposition of everybody's rows, and the lag of one round."""

from __future__ import annotations

import pytest
import torch

from fedlib import FALE, FedMF, FedNCF, InputError, LocalTraining, PFedRec, RandomSelection, federate, rng
from fedlib.select.base import gumbel
from fedlib.select.fale import gram, leverage
from fedlib.shapes import Work
from tests.small import small_split

LOCAL = LocalTraining(batch=8, lr=0.1)


def test_leverage_is_the_squared_length_of_a_row_of_the_left_singular_vectors() -> None:
    """Three clients of 7, 4 and 2 rows: the sum of their grams gives what the stacked matrix gives."""
    x = rng.normal(1, torch.arange(3)[:, None, None], torch.arange(7)[:, None], torch.arange(5))
    real = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
    u = torch.linalg.svd(x[real], full_matrices=False).U
    tau = leverage(x, torch.linalg.inv(gram(x, real).sum(0)))
    torch.testing.assert_close(tau[real], u.square().sum(1))
    assert tau[real].sum().item() == pytest.approx(5)  # leverages add up to the rank


class Noting(FALE):
    """Notes features, messages and what was kept."""

    def __init__(self, ratio: float) -> None:
        super().__init__(ratio, over="positives")
        self.rows: list[torch.Tensor] = []
        self.inverse: list[torch.Tensor] = []

    def judge(self, work: Work, among, message):
        real = torch.arange(work.positives.shape[1]) < work.count[:, None]
        self.rows.append(work.received.features(work.positives)[real])
        self.inverse.append(message["inverse"])
        return super().judge(work, among, message)


@pytest.mark.parametrize(("backbone", "width"), [(FedMF(4), 8), (PFedRec(4), 4), (FedNCF(4, hidden=(6,), gmf=0), 8)])
def test_the_inverse_is_that_of_the_clients_of_the_round_before(backbone, width: int) -> None:
    place = Noting(0.4)
    result = federate(small_split(), backbone, select=place, local=LOCAL, rounds=3, clients_per_round=0.5,
                      device="cpu", chunk=50)  # fmt: skip
    assert [rows.shape[1] for rows in place.rows] == [width] * 3 and not place.inverse[0].any()
    for before, inverse in zip(place.rows, place.inverse[1:], strict=False):
        x = before.double()
        expected = torch.linalg.inv(x.T @ x + 1e-3 * torch.eye(width).double())
        torch.testing.assert_close(inverse.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    sent = result.ledger.set_index("tensor").loc[["select/inverse", "select/gram"]]
    assert (sent["bytes_per_client"] == 4 * width * width).all()


def test_the_first_round_is_uniform() -> None:
    """Without a sum the draw is by the tie's number alone, as RandomSelection's."""
    places = FALE(0.4, over="positives"), RandomSelection(0.4, over="positives")
    states = [federate(small_split(), FedMF(4), select=s, local=LOCAL, rounds=1, device="cpu").state for s in places]
    assert torch.equal(*(state.memory["select"]["used"] for state in states))


def test_a_draw_is_in_proportion_to_leverage() -> None:
    """Two clients of two items each and a model whose vectors are known: 9 to 1, and 1 to 1."""
    x = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    tau = leverage(x, torch.linalg.inv(gram(x, torch.ones(2, 2)).sum(0)))
    torch.testing.assert_close(tau, torch.tensor([[0.9, 0.1], [0.5, 0.5]]))
    draw = rng.uniform(3, torch.arange(10_000)[:, None], torch.arange(2))
    share = [(gumbel(row.log(), draw).argmax(1) == 0).float().mean().item() for row in tau]
    assert share == pytest.approx([0.9, 0.5], abs=0.02)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="ridge must be a positive number"):
        federate(small_split(), FedMF(4), select=FALE(0.5, over="positives", ridge=0), rounds=1, device="cpu")
    with pytest.raises(InputError, match="reads 2 item tables"):
        federate(small_split(), FedNCF(4), select=FALE(0.5, over="positives"), rounds=1, device="cpu")
