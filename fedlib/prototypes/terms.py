"""Names for groups of items, from the categories and words that set a group apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedlib.data import Dataset
from fedlib.prototypes.prompts import LONGEST, WORDS
from fedlib.prototypes.summary import FEWEST, categories_of, plain, words_of

RUNNER_UP = 0.5  # a second term is named if it has at least this share of the first one's weight
EXTRA = 3  # terms by which a name may grow to differ from the others


def c_tf_idf(counts: Tensor) -> Tensor:
    r"""How much a term says about a group, (J, T) from ``counts`` (J, T) of T terms in J groups.

    :math:`W_{t,c} = tf_{t,c} \log(1 + A / f_t)`, with tf the share of term t among the terms of group c, f_t its count
    in all groups and A the mean number of terms in a group (Grootendorst, *BERTopic*, 2022, Eq. 2; the published code
    normalises tf in this way).

    >>> c_tf_idf(torch.tensor([[2.0, 2.0], [0.0, 4.0]])).argmax(dim=1).tolist()
    [0, 1]
    """
    tf = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return tf * torch.log(1 + counts.sum() / len(counts) / counts.sum(dim=0).clamp(min=1))


class Terms:
    """The terms of a catalogue: its categories, and the words of its descriptions to tell groups apart by.

    Titles give words only where no item has a category. A term belongs to at least two items.
    """

    def __init__(self, data: Dataset) -> None:
        categories = categories_of(data)
        named = any(categories)
        said = {word for names in categories for name in names for word in name.lower().split()}
        words = [words - said for words in words_of(data, titles=not named)]
        self.tables = [_Table(held) for held in ((categories, words) if named else (words,))]
        self.titles = {plain(title).casefold() for title in data.catalogue["title"]}

    def names(self, groups: Sequence[Tensor], kept: Mapping[int, str]) -> list[str]:
        """A name for each group of items (K,) int64, unlike the others; empty where there is none left.

        The one or two terms that weigh most, categories before words, and more while that is not a new name. ``kept``
        are groups, by place, that have their name.
        """
        weights = [c_tf_idf(table.counts(groups)) for table in self.tables]
        used = {name.casefold() for name in kept.values()} | self.titles
        names = []
        for place in range(len(groups)):
            new = (name for name in self._candidates(place, weights) if name.casefold() not in used)
            names.append(kept[place] if place in kept else next(new, ""))
            used.add(names[-1].casefold())
        return names

    def _candidates(self, place: int, weights: Sequence[Tensor]) -> list[str]:
        """Longer and longer names of one group: its leading terms, and then more of each kind."""
        ranked = [_ranked(table.names, weight[place]) for table, weight in zip(self.tables, weights, strict=True)]
        leading = next((terms for terms in ranked if terms), [])
        if not leading:
            return []
        short = [term for term, weight in leading[:2] if weight >= RUNNER_UP * leading[0][1]]
        rest = [term for terms in reversed(ranked) for term, _ in terms[: EXTRA + 2] if term not in short]
        grown = [[*short, *rest[:more]] for more in range(EXTRA + 1)] + [[*short[:1], term] for term in rest]
        return [name for name in map(", ".join, grown) if len(name.split()) <= WORDS and len(name) <= LONGEST]


class _Table:
    """Which item has which term; the terms are in alphabetical order."""

    def __init__(self, held: Sequence[set[str]]) -> None:
        frequency = Counter(term for terms in held for term in terms)
        self.names = sorted(term for term, items in frequency.items() if items >= FEWEST)
        column = {name: place for place, name in enumerate(self.names)}
        pairs = [(item, column[term]) for item, terms in enumerate(held) for term in terms if term in column]
        self.items, self.terms = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).unbind(1)
        self.n_items = len(held)

    def counts(self, groups: Sequence[Tensor]) -> Tensor:
        """How many items of each group have each term, (J, T) float64."""
        label = torch.full((self.n_items,), len(groups))
        for place, group in enumerate(groups):
            label[group] = place
        n_terms = len(self.names)
        cell = label[self.items] * n_terms + self.terms
        counts = torch.bincount(cell, minlength=(len(groups) + 1) * n_terms).view(len(groups) + 1, n_terms)
        return counts[:-1].double()


def _ranked(names: Sequence[str], weights: Tensor) -> list[tuple[str, float]]:
    """Terms with a weight, the heaviest first, and then by name."""
    order = torch.argsort(weights, descending=True, stable=True)[: 2 * EXTRA + 4].tolist()
    return [(names[term], float(weights[term])) for term in order if weights[term] > 0]
