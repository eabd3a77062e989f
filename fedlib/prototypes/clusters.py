"""k-means, seeded, and what it needs to have said before it starts."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError

STARTS = 10  # k-means++ starts, of which the best is kept


def kmeans(points: Tensor, count: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Centres (J, d) and the cluster of each point (n,) int64, for J = ``count`` clusters of points (n, d).

    Lloyd's iterations from the best of ten k-means++ starts (Arthur and Vassilvitskii 2007). Raises
    :class:`InputError` if there are fewer distinct points than clusters.
    """
    state = rng.key(seed, purpose) % (1 << 32)
    return _fitted(points, KMeans(count, n_init=STARTS, random_state=state))


def moved(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The same, continued from ``centres`` (J, d) of an earlier time, so that cluster j stays the j-th."""
    start = centres.detach().cpu().double().numpy()
    return _fitted(points, KMeans(len(centres), init=start, n_init=1, random_state=0))


def _fitted(points: Tensor, model: KMeans) -> tuple[Tensor, Tensor]:
    given = points.detach().cpu().double().numpy()
    if not np.isfinite(given).all():
        raise InputError("The vectors of the items are not all finite numbers, so they cannot be clustered.")
    distinct = len(np.unique(given, axis=0))
    if distinct < model.n_clusters:
        raise InputError(f"{distinct} distinct items cannot form {model.n_clusters} clusters: ask for fewer prototypes")
    with warnings.catch_warnings():
        # Clusters can become one to the eye of float arithmetic although the points differ.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(given)
    centres = torch.from_numpy(model.cluster_centers_).to(points)
    return centres, torch.from_numpy(model.labels_.astype(np.int64)).to(points.device)
