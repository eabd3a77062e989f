"""Towers of linear layers whose dropout takes its masks from outside."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout whose mask is handed in, so that every executor and every resumed run drops the same units.

    ``mask`` is a buffer: 1/(1-p) where a unit is kept and 0 where it is dropped, of the shape of the activation.
    Without a mask the module is the identity, which is what evaluation needs.
    """

    mask: Tensor | None

    def __init__(self, p: float, width: int) -> None:
        super().__init__()
        self.p, self.width = p, width
        self.register_buffer("mask", None)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.mask is None else x * self.mask


def hidden_layers(sizes: tuple[int, ...], dropout: float) -> dict[str, nn.Module]:
    """``linear0, relu0, dropout0, linear1, ...``: a tower, each linear layer followed by ReLU and dropout."""
    layers: dict[str, nn.Module] = {}
    for i, (width_in, width_out) in enumerate(pairwise(sizes)):
        layers[f"linear{i}"] = nn.Linear(width_in, width_out)
        layers[f"relu{i}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{i}"] = Dropout(dropout, width_out)
    return layers
