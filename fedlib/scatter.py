"""Rows taken by index, places found, and sums over repeated indices that give the same bits every time, on a CPU and on
CUDA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """``table[k, index[k, s]]``, table (K, R, d) and index (K, S) -> (K, S, d), which can be differentiated.

    The K tables may be one, expanded: it is not copied. Where they are K of their own,
    :func:`~fedlib.backbones.tower.gather_rows` takes a quarter of the time.
    """
    return table.gather(1, index[:, :, None].expand(-1, -1, table.shape[2]))


def add_rows_(out: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """``out[index[s]] += values[s]`` for every s, in place; a repeated index accumulates.

    out (R, ...), index (S,) int64, values (S, ...). On CUDA ``index_add_`` would use unordered atomic additions, so the
    sums go through ``index_put_``, which sorts the indices first.
    """
    if out.is_cuda:
        return out.index_put_((index,), values, accumulate=True)
    return out.index_add_(0, index, values)


def add_columns_(out: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """``out[k, index[k, s]] += values[k, s]``, in place. out (K, R), index (K, S) int64, values (K, S)."""
    if out.is_cuda:
        row = torch.arange(len(out), device=out.device)[:, None].expand_as(index)
        return out.index_put_((row, index), values, accumulate=True)
    return out.scatter_add_(1, index, values)


def find(positives: Tensor, count: Tensor, items: Tensor) -> Tensor:
    """Where each of ``items`` (K, R) stands among the first ``count`` of ``positives`` (K, P); -1 where it does not.

    >>> find(torch.tensor([[7, 2, 0]]), torch.tensor([2]), torch.tensor([[2, 0, 7]]))
    tensor([[ 1, -1,  0]])
    """
    nothing = 2**62  # sorts behind every item; pad() goes through a float and would spoil 2**63 - 1
    real = torch.arange(positives.shape[1], device=count.device) < count[:, None]
    ordered, place = F.pad(torch.where(real, positives, nothing), (0, 1), value=nothing).sort(dim=1)
    at = torch.searchsorted(ordered, items.contiguous())
    return torch.where(ordered.gather(1, at) == items, place.gather(1, at), -1)
