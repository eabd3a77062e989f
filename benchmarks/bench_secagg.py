"""A secure sum of a cohort at full size, beside the plain sum of the same vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.machine import peak_mb, seconds
from fedlib import rng
from fedlib.protect.keys import Masks
from fedlib.protect.quantize import Quantizer, Words, word
from fedlib.protect.secagg import Outcome, secure_sum

Row = dict[str, Any]


def codes(k: int, d: int) -> Words:
    """The codes of K random updates (K, D), 16 bits a number."""
    grid = Quantizer(4.0, 16)
    values = rng.normal(rng.key(0, "updates"), torch.arange(k)[:, None], torch.arange(d))
    encoded = grid.encode(values, rng.key(0, "rounding"), torch.arange(k))
    return encoded.codes.numpy().astype(word(k, grid.largest))


def assert_equal_to_plain_sum(vectors: Words, outcome: Outcome) -> None:
    """The total is that of whole numbers without any modulus, over the survivors."""
    plain = vectors[list(outcome.survivors)].sum(0, dtype=np.uint64)
    assert (outcome.total == plain).all(), "the secure sum is another one than the plain sum"


def masks_alone(vectors: Words) -> float:
    """The seconds it takes to stretch and add the K masks that each of K clients has to make, and the server's K."""
    masks, k = Masks(vectors[0].copy()), len(vectors)
    return k * (k + 1) * seconds(lambda: masks.add(bytes(32)), 200)[0]


def secure_sums(k: int = 100, d: int = 54_000) -> list[Row]:
    """All clients to the end, and ten of a hundred failing before each of three rounds."""
    vectors, tenth, rows = codes(k, d), k // 10, []
    plain = seconds(lambda: vectors.sum(0, dtype=vectors.dtype), 20)[1]
    dropouts = {name: range(i * tenth, (i + 1) * tenth) for i, name in enumerate(("share", "mask", "unmask"))}
    for failing in ({}, dropouts):
        outcome = secure_sum(vectors, dropouts=failing)
        assert_equal_to_plain_sum(vectors, outcome)
        taken = seconds(partial(secure_sum, vectors, dropouts=failing), 3)[1]
        up, down = (int(np.sum([*sent.values()], axis=0).max()) for sent in (outcome.up, outcome.down))
        sent = f"a client sends {up:,} B, {up / vectors[0].nbytes:.2f} x its vector, and gets {down:,} B"
        rows.append({
            "name": f"secure sum, {k} x {d:,}, {3 * tenth if failing else 'no'} drop-outs", "seconds": taken,
            "asked": "-", "peak_mb": peak_mb(), "note": f"{taken / plain:,.0f} x the plain sum; {sent}",
        })  # fmt: skip
    floor = {
        "floor_seconds": masks_alone(vectors),
        "floor_what": f"{k * (k + 1) * vectors[0].nbytes / 1e9:.1f} GB of masks",
    }
    return [rows[0] | floor, *rows[1:]]
