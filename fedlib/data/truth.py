"""What is true of the synthetic shop, kept so that a method can be checked against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

KINDS = ("typical", "hard", "redundant")
LOOKS_AT = ("image", "text", "id")


@dataclass(frozen=True, eq=False, repr=False)
class SyntheticTruth:
    """The planted facts behind :func:`fedlib.data.shop.synthetic`.

    Shapes: n items, m users, C categories, d = 4 factors, J stores, nnz interactions, E edges of the global log.

    ====================  ===============  =====================================================================
    item_category         (n,) int64       told by the picture (its colour), by the words and by the catalogue
    item_style            (n,) int64       told by the picture only (its shape and ground)
    item_topic            (n,) int64       told by the words only (handbook, novel, history, atlas)
    item_popularity       (n,) float64     Zipf weight inside the category; these sum to 1 in each category
    item_image            (n, d) float64   factors of the picture: the style, one-hot
    item_text             (n, d) float64   factors of the words: the topic, one-hot
    item_id               (n, d) float64   factors of the item itself: a random direction, told by nothing
    user_taste            (m, C) float64   probability of each category
    user_preference       (m, d) float64   weight of each factor
    user_looks_at         (m,) int64       which factors count for this user: index into ``LOOKS_AT``
    store_profile         (J, C) float64   probability of each category among the store's users
    kind                  (nnz,) int64     index into ``KINDS``, aligned with ``Dataset.interactions.items``
    global_is_noise       (E,) bool        aligned with ``Dataset.global_log.items``
    global_good_for       (E, J) bool      which stores an edge of the global log is good for
    ====================  ===============  =====================================================================

    The kind of an interaction, first that applies:

    - *redundant*: the user has an earlier interaction with a book of the same category, style and topic;
    - *typical*: the book is in the top quarter of the user's affinities and in the more popular half of its category;
    - *hard*: the rest, true choices of a book that is unpopular or only of middling affinity.

    An edge of the log is good for a store if it is no noise and its user belongs to the store or has a taste whose
    cosine with the store's profile is at least 0.8; noise is good for none.
    """

    item_category: Tensor
    item_style: Tensor
    item_topic: Tensor
    item_popularity: Tensor
    item_image: Tensor
    item_text: Tensor
    item_id: Tensor
    user_taste: Tensor
    user_preference: Tensor
    user_looks_at: Tensor
    store_profile: Tensor
    kind: Tensor
    global_is_noise: Tensor
    global_good_for: Tensor

    def factors(self, users: Tensor) -> Tensor:
        """The item factors that each of K users looks at, (K, n, d)."""
        return torch.stack([self.item_image, self.item_text, self.item_id])[self.user_looks_at[users]]

    def affinity(self, users: Tensor) -> Tensor:
        """How much each of K users likes each item, popularity apart: a_ui = log T_u,c(i) + p_u·z_i, (K, n).

        T_u is the user's taste, c(i) the item's category, p_u the user's preference and z_i the factors looked at.
        """
        liked = torch.einsum("kd,knd->kn", self.user_preference[users], self.factors(users))
        return self.user_taste[users][:, self.item_category].log() + liked

    def keep(self, users: Tensor, interactions: Tensor, edges: Tensor | None) -> SyntheticTruth:
        """The truth of ``users`` (K,), with their ``interactions`` and global ``edges`` given by position."""
        edges = torch.arange(len(self.global_is_noise)) if edges is None else edges
        return replace(
            self,
            user_taste=self.user_taste[users],
            user_preference=self.user_preference[users],
            user_looks_at=self.user_looks_at[users],
            kind=self.kind[interactions],
            global_is_noise=self.global_is_noise[edges],
            global_good_for=self.global_good_for[edges],
        )
