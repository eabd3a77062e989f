"""Numbers as codes, and codes as one vector of words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlib import InputError, rng
from fedlib.protect.packing import pack, unpack
from fedlib.protect.quantize import Quantizer, word

STREAM = rng.key(0, "quantize")


def test_two_bits_by_hand() -> None:
    """The codes 0, 1, 2 stand for -c, 0, c; between them the remainder decides, outside the value is clipped."""
    values = torch.tensor([[-9.0, -3.0, 0.0, 3.0, 9.0]])
    codes, clipped = Quantizer(3.0, 2).encode(values, STREAM, torch.tensor([0]))
    assert codes.tolist() == [[0, 0, 1, 2, 2]]
    assert clipped == 2
    assert Quantizer(3.0, 2).decode(codes[0], 1).tolist() == [-3, -3, 0, 3, 3]


def test_points_of_the_grid_are_exact() -> None:
    """What lies on the grid is never rounded: clip = 2^(bits-1) - 1 sends whole numbers as they are."""
    grid = Quantizer(127.0, 8)
    values = torch.arange(-127, 128).expand(40, -1)
    codes = grid.encode(values, STREAM, torch.arange(40)).codes
    assert torch.equal(codes, values + 127)
    assert torch.equal(grid.decode(codes.sum(0), 40), 40.0 * values[0])


@pytest.mark.parametrize("bits", [2, 5, 16, 32])
def test_rounding_is_unbiased(bits: int) -> None:
    """The mean of 20,000 draws of one number is within five standard errors of it, for numbers all over a step."""
    grid = Quantizer(1.0, bits)
    for part in (0.01, 0.25, 0.5, 0.93):
        value = grid.step * (part - 1)
        codes = grid.encode(torch.full((20_000, 1), value, dtype=torch.float64), STREAM, torch.arange(20_000)).codes
        error = float(grid.decode(codes.sum(0), 20_000)) / 20_000 - value
        assert abs(error) < 5 * grid.step * math.sqrt(part * (1 - part) / 20_000)


@given(st.integers(1, 12), st.integers(2, 20), st.floats(0.01, 100), st.integers(0, 2**32))
def test_a_decoded_weighted_sum_is_within_the_bound(n: int, bits: int, clip: float, seed: int) -> None:
    grid, index = Quantizer(clip, bits), torch.arange(30)
    values = clip * 1.5 * rng.normal(rng.key(seed, "values"), torch.arange(n)[:, None], index)
    weight = rng.integers(7, rng.key(seed, "weight"), torch.arange(n))
    encoded = grid.encode(values, rng.key(seed, "round"), torch.arange(n), weight)
    total, units = grid.decode(encoded.codes.sum(0), int(weight.sum())), int(weight.sum())
    expected = (weight[:, None] * values.clamp(-clip, clip)).sum(0)
    assert ((total - expected).abs() <= grid.step * units * (1 + 1e-9)).all()
    assert encoded.clipped == int((values.abs() > clip).sum())
    assert int(encoded.codes.min()) >= 0 and int(encoded.codes.max()) <= 6 * grid.largest


def test_weights_of_rows_leave_untouched_rows_at_zero() -> None:
    """A weight for each row of (n, d): what nobody touched decodes to exactly 0."""
    grid, touched = Quantizer(1.0, 12), torch.tensor([[1, 0, 0], [2, 0, 1]])
    values = torch.ones(2, 3, 4) * 0.3
    codes = grid.encode(values, STREAM, torch.arange(2), touched).codes
    sums = grid.decode(codes.sum(0), touched.sum(0))
    assert (sums[1] == 0).all()
    assert (sums[0] - 0.9).abs().max() < 3 * grid.step
    assert (sums[2] - 0.3).abs().max() < grid.step


def test_a_clients_codes_do_not_depend_on_its_cohort() -> None:
    values = rng.normal(rng.key(1, "values"), torch.arange(6)[:, None], torch.arange(50)).float()
    grid = Quantizer(2.0, 6)
    whole = grid.encode(values, STREAM, torch.arange(6)).codes
    part = grid.encode(values[[4, 1]], STREAM, torch.tensor([4, 1])).codes
    assert torch.equal(part, whole[[4, 1]])


@pytest.mark.parametrize(
    ("grid", "value", "weight", "says"),
    [
        (Quantizer(0.0), 0.0, 1, "clip is 0.0"),
        (Quantizer(math.nan), 0.0, 1, "clip is nan"),
        (Quantizer(1.0, 1), 0.0, 1, "bits is 1"),
        (Quantizer(1.0, 33), 0.0, 1, "bits is 33"),
        (Quantizer(1.0), math.nan, 1, "NaN"),
        (Quantizer(1.0), math.inf, 1, "infinite"),
        (Quantizer(1.0), 0.0, 0.5, "whole numbers"),
        (Quantizer(1.0), 0.0, -1, "from 0 on"),
    ],
)
def test_what_has_no_code_is_refused(grid: Quantizer, value: float, weight: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        grid.encode(torch.tensor([[value]]), STREAM, torch.tensor([0]), torch.tensor([weight]))


@pytest.mark.parametrize(
    ("n", "largest", "size"),
    [(1, 255, 1), (1, 256, 2), (255, 257, 2), (256, 256, 4), (2**16, 2**16 - 1, 4), (2, 2**31, 8)],
)
def test_the_word_is_the_smallest_that_holds_the_sum(n: int, largest: int, size: int) -> None:
    dtype = word(n, largest)
    assert dtype.itemsize == size
    assert int(np.full(n, largest, dtype).sum(dtype=dtype)) == n * largest


def test_a_sum_beyond_63_bits_is_refused() -> None:
    assert word(1, 2**63 - 1).itemsize == 8
    with pytest.raises(InputError, match="63 bits"):
        word(2, 2**62)


shapes = st.dictionaries(
    st.text("abc/", min_size=1), st.tuples(st.lists(st.integers(0, 4), max_size=3), st.integers(0, 4)), min_size=1
)


@given(shapes, st.integers(1, 4))
def test_packing_and_unpacking_is_summing(shapes: dict[str, tuple[list[int], int]], k: int) -> None:
    """Of every shape, empty ones too, and every integer type."""
    types = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    codes = {
        name: rng.integers(100, rng.key(7, name), torch.arange(k * math.prod(shape))).view(k, *shape).to(types[which])
        for name, (shape, which) in shapes.items()
    }
    vectors = pack(codes, n_max=k, largest=99)
    assert vectors.dtype == word(k, 99) and len(vectors) == k
    sums = unpack(vectors.sum(0, dtype=vectors.dtype), {name: shape for name, (shape, _) in shapes.items()})
    assert list(sums) == list(codes)
    for name, value in codes.items():
        assert torch.equal(sums[name], value.to(torch.int64).sum(0)) and sums[name].shape == value.shape[1:]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_weighted_mean_of_named_tensors(dtype: torch.dtype) -> None:
    values = {
        "table": rng.normal(1, torch.arange(5 * 12)).view(5, 4, 3).to(dtype),
        "bias": rng.normal(2, torch.arange(5)).to(dtype),
    }
    weight, grid = torch.tensor([3, 0, 1, 20, 7]), Quantizer(4.0, 16)
    encoded = {
        name: grid.encode(value, rng.key(STREAM, name), torch.arange(5), weight) for name, value in values.items()
    }
    codes = {name: one.codes for name, one in encoded.items()} | {"weight": weight}
    vectors = pack(codes, n_max=5, largest=20 * grid.largest)
    total = unpack(vectors.sum(0, dtype=vectors.dtype), {"table": (4, 3), "bias": (), "weight": ()})
    assert sum(one.clipped for one in encoded.values()) == 0 and int(total["weight"]) == 31
    for name, value in values.items():
        expected = torch.tensordot(weight.double(), value.double(), dims=1) / 31
        assert (grid.decode(total[name], 31) / 31 - expected).abs().max() < grid.step


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(InputError, match="quantize it first"):
        pack({"x": torch.zeros(1, 2)}, n_max=1, largest=1)
    with pytest.raises(InputError, match="from 0 to 9"):
        pack({"x": torch.tensor([[3, 10]])}, n_max=1, largest=9)
    with pytest.raises(InputError, match="from -1 to 2"):
        pack({"x": torch.tensor([[-1, 2]])}, n_max=1, largest=9)
    with pytest.raises(InputError, match="not its shapes"):
        unpack(np.zeros(3, np.uint8), {"x": (4,)})
