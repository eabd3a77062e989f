"""The prototypes of a round: who writes them, and where they lie among the items (FedSLLM, sections 4.2 and 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedlib.data import Dataset
from fedlib.errors import InputError
from fedlib.items import SemanticSpace
from fedlib.items.autoencoder import Weights
from fedlib.prototypes.chat import Written
from fedlib.prototypes.clusters import kmeans, moved
from fedlib.prototypes.feedback import Feedback
from fedlib.prototypes.prompts import BOUNDS, COUNT


@dataclass(frozen=True, eq=False)
class PrototypeSet:
    """P_t and E_t^p: J prototypes as texts and as vectors (J, d), and what is to be told about how they came about."""

    texts: tuple[str, ...]
    vectors: Tensor
    note: str = ""


class Writer(Protocol):
    """What writes prototypes: a chat model through prompts, or :class:`KeywordPrototyper` by rules."""

    @property
    def source(self) -> str: ...

    def first(self, data: Dataset, space: SemanticSpace, count: int, seed: int) -> Written: ...

    def next(self, data: Dataset, space: SemanticSpace, feedback: Feedback) -> Written: ...


class TextPrototypes:
    """Prototypes that a language model, or :class:`KeywordPrototyper`, writes about the items of ``data``.

    Their vectors are those of their texts (Eq. 7). ``count`` is J at first, 5 to 15; the paper does not give it.
    ``counts_mean`` is what an updating prompt calls the clients' counts, ``"usage"`` or ``"difficulty"``.
    """

    def __init__(
        self, model: Writer, space: SemanticSpace, data: Dataset, count: int = COUNT, counts_mean: str = "usage"
    ) -> None:
        self.model, self.space, self.data, self.count, self.counts_mean = model, space, data, count, counts_mean

    @property
    def source(self) -> str:
        """Who writes the prototypes."""
        return self.model.source

    def identity(self) -> str:
        """What tells it from another, in a result's settings and for a checkpoint."""
        told = f"{self.source}, count={self.count}, counts_mean={self.counts_mean}"
        return f"TextPrototypes({told}, {self.data.name}, {self.space.identity()})"

    __repr__ = identity

    def first(self, seed: int) -> PrototypeSet:
        """The prototypes before there is feedback. Raises :class:`InputError` if none can be had."""
        texts, note = self.model.first(self.data, self.space, _checked(self.count), seed)
        return PrototypeSet(texts, self.space.embed(texts), note)

    def next(self, current: PrototypeSet, counts: Tensor, table: Tensor, weights: Weights, round: int) -> PrototypeSet:
        """The prototypes updated by the clients' ``counts`` (J,), placed by the encoder ``weights`` after alignment.

        ``table`` (n, d) are the item vectors after ``round`` rounds. Where nothing was counted the texts stay.
        """
        if not bool((counts > 0).any()):
            texts, note = current.texts, "Nothing was counted for any prototype: the texts were kept."
        else:
            feedback = Feedback(current.texts, current.vectors, counts, table, round, self.counts_mean)
            texts, note = self.model.next(self.data, self.space, feedback)
        return PrototypeSet(texts, self.space.embed(texts, weights), note)


class ClusterPrototypes:
    """Prototypes without words, the "Ours-Cluster" of FedSLLM: the centres of a k-means on the item vectors.

    The paper gives no more than the name; here ``count`` centres come from the codes of the items at first, and are
    moved by Lloyd's iterations on the current item vectors, so that a prototype keeps its place in the counts.
    """

    source = "cluster"

    def __init__(self, space: SemanticSpace, count: int = COUNT) -> None:
        self.space, self.count = space, count

    def identity(self) -> str:
        """What tells it from another, in a result's settings and for a checkpoint."""
        return f"ClusterPrototypes(count={self.count}, {self.space.identity()})"

    __repr__ = identity

    def first(self, seed: int) -> PrototypeSet:
        """The centres (J, d) of the codes of the items."""
        centres, _ = kmeans(self.space.codes, _checked(self.count), seed, "cluster prototypes")
        return PrototypeSet(tuple(f"cluster {j}" for j in range(self.count)), centres)

    def next(self, current: PrototypeSet, counts: Tensor, table: Tensor, weights: Weights, round: int) -> PrototypeSet:
        """The centres moved to the current item vectors ``table`` (n, d); counts and weights do not enter."""
        centres, _ = moved(table, current.vectors)
        return PrototypeSet(current.texts, centres.to(current.vectors))


def _checked(count: int) -> int:
    if not BOUNDS[0] <= count <= BOUNDS[1]:
        raise InputError(f"count is {count}, but prototypes must be {BOUNDS[0]} to {BOUNDS[1]}")
    return count
