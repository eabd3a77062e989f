"""Latent semantic analysis: vectors of texts without any model but word counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedlib.errors import InputError
from fedlib.items.cache import digest

MOST = 256


class LSA:
    """TF-IDF weights of words, reduced to ``dim`` dimensions by a singular value decomposition; rows of length 1.

    ``texts`` are those of the catalogue, on which it is fitted; other texts are folded in: x = t V / ||t V||, t the
    weights of their words and V (words, dim) the leading right singular vectors. ``dim=None`` takes as many dimensions
    as the catalogue has, 256 at most. Source: Deerwester et al., *Indexing by Latent Semantic Analysis*, JASIS 41(6),
    1990.
    """

    name = "lsa"

    def __init__(self, texts: Sequence[str], dim: int | None = None) -> None:
        self.texts, self.dim = tuple(texts), dim

    def identity(self) -> str:
        """A hash of the catalogue and the width, which are all there is to it."""
        return "lsa " + digest({"texts": self.texts, "dim": self.dim})

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, dim) float32; raises :class:`InputError` for a text without any word of the catalogue."""
        counts, svd = self._fitted
        weights = counts.transform(texts)
        unknown = np.flatnonzero(weights.getnnz(axis=1) == 0)
        if unknown.size:
            shown = texts[unknown[0]][:60]
            raise InputError(f"LSA knows no word of {shown!r}: use words of the catalogue, or another text encoder")
        return F.normalize(torch.from_numpy(svd.transform(weights)), dim=1).float()

    @cached_property
    def _fitted(self) -> tuple[Any, Any]:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        counts = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        try:
            weights = counts.fit_transform(self.texts)
        except ValueError as err:
            raise InputError("the texts for LSA have no word in them: give the items titles") from err
        most = min(weights.shape) - 1
        dim = min(most, MOST) if self.dim is None else self.dim
        if not 1 <= dim <= most:
            raise InputError(
                f"LSA cannot have {dim} dimensions: {weights.shape[0]} texts with {weights.shape[1]} words allow 1 to "
                f"{most}"
            )
        return counts, TruncatedSVD(dim, algorithm="arpack", random_state=0).fit(weights)
