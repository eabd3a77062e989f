"""Counter-based random numbers."""

from __future__ import annotations

import math

import pytest
import torch

from fedlib import rng

# The first outputs of SplitMix64 seeded with 1234567, as published with several implementations of the generator.
SPLITMIX = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_bits_are_splitmix64() -> None:
    assert [x % 2**64 for x in rng.bits(1234567, torch.arange(5)).tolist()] == SPLITMIX


def test_a_draw_depends_on_its_own_counters_alone() -> None:
    stream = rng.key(3, "negatives", 7)
    whole = rng.bits(stream, torch.arange(20)[:, None], torch.arange(30)[None, :])
    part = rng.bits(stream, torch.arange(5, 9)[:, None], torch.tensor([[11, 2]]))
    assert torch.equal(whole[5:9][:, [11, 2]], part)
    assert len(whole.unique()) == whole.numel()


@pytest.mark.parametrize("other", [(4, "negatives", 7), (3, "shuffle", 7), (3, "negatives", 8), (3, "negatives", 7, 0)])
def test_streams_differ(other: tuple) -> None:
    index = torch.arange(1000)
    assert not (rng.bits(rng.key(3, "negatives", 7), index) == rng.bits(rng.key(*other), index)).any()


def test_distributions() -> None:
    """Moments within five standard errors, and every tenth of the unit interval hit a tenth of the time."""
    n = 200_000
    index = torch.arange(n)
    u, z = rng.uniform(rng.key(0, "u"), index), rng.normal(rng.key(0, "z"), index)
    assert float(u.min()) >= 0 and float(u.max()) < 1
    assert torch.histc(u, 10, 0, 1).sub(n / 10).abs().max() < 5 * math.sqrt(n * 0.09)
    assert abs(float(z.mean())) < 5 / math.sqrt(n) and abs(float(z.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float((z**4).mean()) - 3) < 5 * math.sqrt(96 / n)
    k = rng.integers(7, rng.key(0, "k"), index)
    assert torch.bincount(k, minlength=7).sub(n / 7).abs().max() < 5 * math.sqrt(n / 7)


def test_permutation() -> None:
    assert rng.permutation(50, rng.key(0, "p")).sort().values.tolist() == list(range(50))


def test_bits_wants_a_counter() -> None:
    with pytest.raises(TypeError, match="at least one counter"):
        rng.bits(1)
