"""A small fusion: two fixed features, free vectors of another width, one shared map, one private gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlib import FCF, FedAvg, FedMF, FedNCF, FedRAP, ItemTable, PFedRec, rng
from fedlib.backbones import Backbone
from fedlib.shapes import Rows

FREE, COLOUR, WORDS = 7, 6, 5  # widths of the free vectors and of the two features
BACKBONES: dict[str, Backbone] = {
    "fedavg": FedAvg(8),
    "fcf": FCF(8),
    "fedmf": FedMF(8),
    "fedncf": FedNCF(8, hidden=(12, 6), gmf=0, dropout=0.5, std=0.3),
    "neumf": FedNCF(8, hidden=(12, 6), gmf=8, std=0.3),
    "pfedrec": PFedRec(8),
    "pfedrec-mlp": PFedRec(8, hidden=(10, 6), dropout=0.3),
    "fedrap": FedRAP(8, lam=0.3, mu=0.2),
}


class Mixture(nn.Module):
    """v_i = A [d_i; colour_i] + a, of which a gate on the mean words of the client's own items lets through
    g v + (1 - g) max(0, v)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.map = nn.Linear(FREE + COLOUR, dim)
            self.gate = nn.Parameter(torch.empty(WORDS))

    def forward(self, rows: Rows, own: Tensor) -> Tensor:
        v = self.map(torch.cat([rows["id"], rows["colour"]], 1))  # (R, d)
        g = torch.sigmoid(own @ rows["words"] @ self.gate)
        return g * v + (1 - g) * v.relu()


class Fusion(ItemTable):
    """:class:`Mixture` as a place of the loop."""

    owners: ClassVar[Mapping[str, str]] = {"gate": "user"}

    def __init__(self, colour: Tensor, words: Tensor) -> None:
        super().__init__(dim=FREE, std=0.3)
        self.colour, self.words = colour, words

    def fixed(self) -> dict[str, Tensor]:
        return {"colour": self.colour, "words": self.words}

    def parameters(self, backbone: Backbone) -> nn.Module:
        return Mixture(8)


class EncodedFusion(Fusion):
    """The same, with the map taken ahead for all items at once."""

    def encode(self, params: dict[str, Tensor], rows: Rows) -> Rows:
        x = torch.cat([rows["id"], rows["colour"]], 2)
        v = torch.baddbmm(params["map.bias"][:, None], x, params["map.weight"].transpose(1, 2))
        return {"v": v, "words": rows["words"]}

    def read(self, module: nn.Module, params: dict[str, Tensor], rows: Rows, own: Tensor) -> Tensor:
        told = torch.einsum("kr,krw,kw->k", own, rows["words"], params["gate"])
        g = torch.sigmoid(told)[:, None, None]
        return g * rows["v"] + (1 - g) * rows["v"].relu()


def features(n: int, width: int, name: str) -> Tensor:
    return rng.normal(rng.key(0, name), torch.arange(n)[:, None], torch.arange(width))


def fusion(n: int = 40, kind: type[Fusion] = Fusion) -> Fusion:
    return kind(features(n, COLOUR, "colour"), features(n, WORDS, "words"))
