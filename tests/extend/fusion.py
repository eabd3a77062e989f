"""A fusion of one's own: words of the title and free vectors, mixed by a private gate."""

import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn

from fedlib import ItemTable


class Gate(nn.Module):
    r"""What one client reads of its items: :math:`g_u A t_i + (1 - g_u)\,d_i`."""

    def __init__(self, words, dim):
        super().__init__()
        self.map = nn.Linear(words, dim, bias=False, device="meta")
        self.gate = nn.Parameter(torch.empty(1, device="meta"))

    def forward(self, rows, own):
        g = torch.sigmoid(self.gate)
        return g * self.map(rows["title"]) + (1 - g) * rows["id"]  # (R, d)


class TitlesAndIds(ItemTable):
    owners = {"gate": "user"}

    def __init__(self, titles):
        super().__init__()
        self.titles = titles

    def fixed(self):
        return {"title": self.titles}

    def parameters(self, backbone):
        return Gate(self.titles.shape[1], backbone.dim)


def vectors(titles, width=16):
    words = TfidfVectorizer().fit_transform(titles)
    return torch.from_numpy(TruncatedSVD(width, random_state=0).fit_transform(words))
