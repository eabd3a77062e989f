"""Prototypes without a language model: names of item clusters, updated by the four rules of FedSLLM's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedlib.data import Dataset
from fedlib.errors import InputError
from fedlib.items import SemanticSpace
from fedlib.prototypes.chat import Written
from fedlib.prototypes.clusters import kmeans
from fedlib.prototypes.feedback import Feedback, percentages
from fedlib.prototypes.prompts import BOUNDS
from fedlib.prototypes.terms import Terms

LOW = 0.5  # of a fair share 1/J: less is a low usage
HIGH = 2.0  # of a fair share: more is a high usage
FAR = 2.0  # standard deviations below the mean similarity at which an item is not covered
SMALLEST = 4  # items that can be split in two


@dataclass(frozen=True)
class Plan:
    """What to do with J prototypes: pairs to merge, ones to split, and items (n,) bool to introduce one for, or none.

    The rest is kept.
    """

    merge: tuple[tuple[int, int], ...]
    split: tuple[int, ...]
    introduce: Tensor


class KeywordPrototyper:
    """Writes prototypes as the leading categories or words of item clusters (c-TF-IDF); no model is asked.

    At first k-means clusters the vectors of the items' texts. An update gives each item to its nearest prototype
    (Eq. 8) and follows the rules of appendix A.1, made exact by :func:`plan`. The same numbers call for the same rules,
    whether they are read as usage or as difficulty.
    """

    source = "keyword"

    def first(self, data: Dataset, space: SemanticSpace, count: int, seed: int) -> Written:
        """``count`` prototypes and a note; fewer where clusters cannot be told apart by a term.

        Raises :class:`InputError` if fewer than the least number can be named.
        """
        _, label = kmeans(space.x, count, seed, "keywords")
        names = Terms(data).names([_members(label.cpu() == j) for j in range(count)], {})
        found = tuple(filter(None, names))
        if len(found) < BOUNDS[0]:
            raise InputError(
                f"The categories and words of {data.name} name {len(found)} kinds of items, but prototypes must be at "
                f"least {BOUNDS[0]}: cluster the items, or let a language model write them"
            )
        return found, "" if len(found) == count else f"{count - len(found)} clusters had no name of their own."

    def next(self, data: Dataset, space: SemanticSpace, feedback: Feedback) -> Written:
        """The updated prototypes, and a note of what became of the old ones."""
        best, label = nearest(feedback.table, feedback.vectors)
        far = best < best.mean() - FAR * best.std()
        spreads = spread(best, label, len(feedback.texts))
        todo = plan(percentages(feedback.counts), cosines(feedback.vectors, feedback.vectors), spreads, label, far)
        groups = _changed(todo, feedback, label.masked_fill(todo.introduce, len(feedback.texts)), space.x)
        split = sum(instead == "" for _, _, instead in groups)
        introduce = bool(todo.introduce.any())
        if introduce:
            groups.append((_members(todo.introduce), None, ""))
        kept = {place: text for place, (_, text, _) in enumerate(groups) if text is not None}
        names = Terms(data).names([items for items, _, _ in groups], kept)
        if introduce and any(names[-1].startswith(f"{name},") for name in names):
            names[-1] = ""  # a narrower name of a kind that has a prototype: it is represented
        found = dict.fromkeys(name or instead for name, (_, _, instead) in zip(names, groups, strict=True))
        done = f"Kept {len(kept)} prototypes, merged {2 * len(todo.merge)}, split {split}"
        note = f"{done} and introduced {int(introduce and names[-1] != '')}."
        return tuple(filter(None, found)), note


def _changed(todo: Plan, feedback: Feedback, label: Tensor, x: Tensor) -> list[tuple[Tensor, str | None, str]]:
    """Items, the text where it is kept, and the text to fall back on where terms give no name, of each new group."""
    groups: list[tuple[Tensor, str | None, str]] = []
    partner = dict(todo.merge)
    for j, text in enumerate(feedback.texts):
        items = _members(label == j)
        if j in partner:
            groups.append((_members((label == j) | (label == partner[j])), None, text))
        elif j in todo.split and len(x[items.to(x.device)].unique(dim=0)) > 1:
            half = kmeans(x[items.to(x.device)], 2, feedback.round, "split")[1].cpu()
            groups += [(items[half == 0], None, text), (items[half == 1], None, "")]
        elif j not in partner.values():
            groups.append((items, text, text))
    return groups


def plan(shares: Sequence[int], overlap: Tensor, spreads: Tensor, label: Tensor, far: Tensor) -> Plan:
    """The four rules of appendix A.1 on J prototypes whose whole percentages are ``shares``; a fair share is 100/J.

    - *merge* two of low usage (under half a fair share) that overlap: in ``overlap`` (J, J), their cosines, each is the
      other's nearest;
    - *split* one of high usage (over two fair shares) that is coarse: its items lie further from it than the median of
      ``spreads`` (J,), and there are at least four of them;
    - *introduce* one where a kind of item is under-represented: the items that are ``far`` (n,) bool from every
      prototype, and are not split from one, are at least half a fair share of all;
    - *keep* the rest, word for word.

    There are never fewer prototypes than 5 nor more than 15; merging comes first, then splitting by usage.
    """
    count, fair = len(shares), 100 / len(shares)
    low = [share < LOW * fair for share in shares]
    nearest = overlap.clone().fill_diagonal_(-torch.inf).argmax(dim=1).tolist()
    pairs = [(j, near) for j, near in enumerate(nearest) if j < near and nearest[near] == j and low[j] and low[near]]
    merge = tuple(pairs[: max(0, count - BOUNDS[0])])
    room = max(0, BOUNDS[1] - count + len(merge))
    sizes = torch.bincount(label, minlength=count)
    coarse = (spreads > spreads.nanmedian()) & (sizes >= SMALLEST)
    often = [j for j in sorted(range(count), key=lambda j: -shares[j]) if shares[j] > HIGH * fair and coarse[j]]
    split = tuple(often[:room])
    rest = far & ~torch.isin(label, torch.tensor(split, dtype=label.dtype))
    enough = len(split) < room and 100 * int(rest.sum()) >= LOW * fair * len(far)
    return Plan(merge, split, rest & enough)


def nearest(table: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of each item with its nearest prototype (n,), and which that is (n,) int64, by Eq. 8."""
    best, label = cosines(table, vectors).max(dim=1)
    return best, label


def cosines(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`a^\top b / (\lVert a \rVert \lVert b \rVert)`, Eq. 8: (n, d) and (J, d) -> (n, J) float64 on the CPU."""
    return normalize(a.detach().cpu().double(), dim=1) @ normalize(b.detach().cpu().double(), dim=1).T


def spread(best: Tensor, label: Tensor, count: int) -> Tensor:
    """The mean cosine distance of each prototype's items from it, (J,); nan for one that has none."""
    total = torch.zeros(count, dtype=best.dtype).index_add_(0, label, 1 - best)
    return total / torch.bincount(label, minlength=count)


def _members(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]
