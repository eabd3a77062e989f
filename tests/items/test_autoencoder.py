"""The autoencoder: Eqs. 3-5 and 16 of FedSLLM by hand, and what training must not do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fedlib import rng
from fedlib.errors import DivergedError, InputError
from fedlib.items.autoencoder import (
    Weights,
    align,
    alignment_loss,
    decode,
    encode,
    initial,
    pretrain,
    reconstruction_loss,
)

HAND: Weights = {
    "linear0.weight": torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
    "linear0.bias": torch.tensor([0.0, 1.0]),
    "linear1.weight": torch.tensor([[2.0, -3.0]]),
    "linear1.bias": torch.tensor([0.5]),
}


def vectors(n: int = 20, width: int = 6) -> Tensor:
    x = rng.normal(rng.key(3, "test vectors"), torch.arange(n)[:, None], torch.arange(width)[None, :])
    return torch.nn.functional.normalize(x, dim=1).float()


def test_an_encoder_by_hand() -> None:
    """x = (2, 3): the hidden layer is relu(2, -2) = (2, 0), the code 2 * 2 + .5; x = (-1, 0): relu(-1, 1), -3 + .5."""
    assert encode(HAND, torch.tensor([[2.0, 3.0], [-1.0, 0.0]])).tolist() == [[4.5], [-2.5]]


def test_the_layers_are_those_of_an_ordinary_network() -> None:
    weights = initial((6, 5, 4, 3), seed=1, purpose="encoder")
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    torch.testing.assert_close(encode(weights, vectors()), network(vectors()))


def test_layers_start_within_their_bounds_and_by_counting() -> None:
    torch.manual_seed(0)
    first = initial((400, 50, 3), seed=0, purpose="encoder")
    torch.manual_seed(1)
    again, other = initial((400, 50, 3), 0, "encoder"), initial((400, 50, 3), 1, "encoder")
    assert all(torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name]) for name in first)
    assert float(first["linear0.weight"].abs().max()) == pytest.approx(1 / 20, rel=0.01)
    assert float(first["linear0.weight"].mean()) == pytest.approx(0, abs=0.001)


def test_training_is_that_of_an_ordinary_network_on_equation_5() -> None:
    x, sizes = vectors(), (6, 5, 2)
    encoder, decoder, losses = pretrain(x, (5, 2), steps=4, lr=0.01, seed=7)
    start = initial(sizes, 7, "encoder").values(), initial(sizes[::-1], 7, "decoder").values()
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2), nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 6))
    network.load_state_dict(dict(zip(network.state_dict(), [*start[0], *start[1]], strict=True)))
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(4):
        adam.zero_grad()
        loss = ((x - network(x)) ** 2).sum()
        assert float(losses[step]) == pytest.approx(loss.item(), rel=1e-5)
        loss.backward()
        adam.step()
    torch.testing.assert_close(decode(decoder, encode(encoder, x)), network(x), rtol=1e-4, atol=1e-5)


def test_training_finds_a_subspace() -> None:
    """Vectors in a plane pass through two numbers: what is lost shrinks to a small share of their length."""
    plane = vectors(30, 2) @ vectors(2, 6)
    encoder, decoder, losses = pretrain(plane, (16, 2), steps=400, lr=0.01)
    left = reconstruction_loss(plane, decode(decoder, encode(encoder, plane)))
    assert float(left) < 0.05 * float(losses[0]) and encode(encoder, plane).min() < 0


def test_two_trainings_are_equal_and_leave_no_graph() -> None:
    first, second = pretrain(vectors(), (4, 2), steps=3), pretrain(vectors(), (4, 2), steps=3)
    for one, other in zip(first[:2], second[:2], strict=True):
        assert all(torch.equal(one[name], other[name]) and not one[name].requires_grad for name in one)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"widths": ()}, {"widths": (4, 0)}])
def test_what_cannot_be_trained_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="widths and steps of at least 1 and a positive lr"):
        pretrain(vectors(), **({"widths": (4, 2), "steps": 1} | wrong))


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(DivergedError, match=r"diverged with lr 1e\+25"):
        pretrain(vectors(), (4, 2), steps=4, lr=1e25)


def test_alignment_by_hand() -> None:
    """Codes 4.5 and -2.5 against 4 and 0: .5^2 for the first item, and 2.5^2 only if the second was touched."""
    z, e = torch.tensor([[4.5], [-2.5]]), torch.tensor([[4.0], [0.0]])
    assert float(alignment_loss(z, e, torch.tensor([1.0, 0.0]))) == 0.25
    assert float(alignment_loss(z, e, torch.tensor([1.0, 1.0]))) == 6.5


def test_alignment_comes_nearer_and_moves_the_encoder_alone() -> None:
    x = vectors()
    weights, _, _ = pretrain(x, (8, 3), steps=3)
    before = {name: value.clone() for name, value in weights.items()}
    table = (encode(weights, x) + 0.3).double()
    touched = torch.ones(len(x), dtype=torch.bool)
    moved = align(weights, x, table, touched, steps=50, lr=1e-3)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    near, far = (float(alignment_loss(encode(w, x), table.float(), touched.float())) for w in (moved, weights))
    assert near < 0.8 * far
    assert not any(value.requires_grad for value in moved.values())


def test_what_no_client_touched_does_not_pull() -> None:
    x = vectors()
    weights, _, _ = pretrain(x, (8, 3), steps=3)
    touched = torch.arange(len(x)) < 5
    table = encode(weights, x) + 0.3
    elsewhere = torch.where(touched[:, None], table, table * -100)
    one, other = (align(weights, x, goal, touched, steps=5) for goal in (table, elsewhere))
    assert all(torch.equal(one[name], other[name]) for name in one)
    still = align(weights, x, table, torch.zeros(len(x), dtype=torch.bool), steps=5)
    assert all(torch.equal(still[name], weights[name]) for name in weights)
