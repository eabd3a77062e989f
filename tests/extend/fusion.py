"""A fusion of one's own: titles and free vectors, mixed by a private gate."""

import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from fedlib import ItemTable
from fedlib.backbones.base import Backbone
from fedlib.data import Dataset
from fedlib.shapes import Rows, Table


class FromTitles(ItemTable):
    """Begin the table "text" from titles: TF-IDF, then singular directions."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.data = data

    def tables(self, backbone: Backbone, n_items: int, seed: int) -> dict[str, Tensor]:
        words = TfidfVectorizer().fit_transform(self.data.catalogue["title"])
        svd = TruncatedSVD(backbone.tables["text"].dim, random_state=seed)
        text = torch.from_numpy(svd.fit_transform(words))
        return super().tables(backbone, n_items, seed) | {"text": text}


class Gated(Backbone):
    r"""Score :math:`p^\top(g\,t_i + (1-g)\,q_i)`; g is the user's own."""

    owners = {"user": "user", "user_gate": "user"}

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.dim, self.tables = dim, {t: Table(dim, 0.1) for t in ("text", "id")}
        self.user = nn.Parameter(torch.empty(dim, device="meta"))
        self.user_gate = nn.Parameter(torch.empty(1, device="meta"))

    def forward(self, rows: Rows) -> Tensor:
        g = torch.sigmoid(self.user_gate)
        return (g * rows["text"] + (1 - g) * rows["id"]) @ self.user  # (N,)
