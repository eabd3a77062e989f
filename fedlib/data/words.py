"""Titles and descriptions for the books of the synthetic shop.

The category decides the nouns, the topic decides the kind of book; neither says anything about the cover.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlib import rng

SUBJECTS = {
    "Sailing": "harbour tide anchor compass rudder mast keel lagoon regatta lighthouse hull breeze",
    "Cooking": "oven spice broth pastry saffron skillet dough vinegar orchard pantry roast ladle",
    "Astronomy": "comet telescope nebula eclipse orbit galaxy meteor crater planet pulsar zenith starlight",
    "Gardening": "tulip compost greenhouse hedge seedling trellis pruning lavender meadow fern soil blossom",
    "Music": "violin chord melody concerto drum rhythm choir sonata trumpet tempo ballad organ",
    "Climbing": "glacier summit ridge rope crevasse avalanche boulder cliff ascent basecamp icefall pass",
    "Chess": "gambit endgame bishop checkmate rook opening pawn castling stalemate queenside knight blitz",
    "Painting": "canvas easel pigment fresco portrait brushwork varnish charcoal palette gouache mural sketch",
}
NOUNS = {subject: tuple(nouns.split()) for subject, nouns in SUBJECTS.items()}
TOPICS = (
    (
        "A Practical Handbook",
        "A step-by-step handbook for beginners, with exercises, checklists and common mistakes.",
        "Clear instructions and exercises take beginners through every technique, lesson by lesson.",
    ),
    (
        "A Novel",
        "A tense mystery in which a detective uncovers a family secret and an old betrayal.",
        "A tender love story whose heroine must choose between a secret and the man who betrayed her.",
    ),
    (
        "A Short History",
        "From ancient empires to the twentieth century, the archives tell of inventors, kings and wars.",
        "The author follows a century of letters and archives to the inventors whom the wars forgot.",
    ),
    (
        "An Illustrated Atlas",
        "Large colour plates, maps and diagrams, with an index of places and names.",
        "Two hundred photographs and fold-out maps, each plate with a diagram and an index.",
    ),
)


def books(category: Tensor, topic: Tensor, seed: int) -> list[tuple[str, str, str]]:
    """Title, description and category name of each book, from its category (n,) and topic (n,).

    >>> books(torch.tensor([0]), torch.tensor([3]), seed=0)[0][2]
    'Sailing'
    """
    return [
        _book(list(NOUNS)[c], TOPICS[t], before, rng.key(seed, "words", c))
        for c, t, before in zip(category.tolist(), topic.tolist(), _earlier(category), strict=True)
    ]


def _earlier(category: Tensor) -> list[int]:
    """How many items before each one share its category."""
    return (torch.nn.functional.one_hot(category).cumsum(0).gather(1, category[:, None])[:, 0] - 1).tolist()


def _book(subject: str, topic: tuple[str, str, str], before: int, stream: int) -> tuple[str, str, str]:
    """The next book of a subject: every ordered pair of its nouns is a title once before any is a second volume."""
    nouns = NOUNS[subject]
    volume, place = divmod(before, len(nouns) * (len(nouns) - 1))
    first, step = divmod(int(rng.permutation(len(nouns) * (len(nouns) - 1), stream)[place]), len(nouns) - 1)
    one, two = nouns[first], nouns[(first + 1 + step) % len(nouns)]
    rest = [noun for noun in nouns if noun not in (one, two)]
    start = int(rng.integers(len(rest), stream, torch.tensor(before)))
    three, four, five = (rest[(start + more) % len(rest)] for more in range(3))
    form, *sentences = topic
    title = f"{one.capitalize()} and {two.capitalize()}: {form}" + (f", Volume {volume + 1}" if volume else "")
    return title, f"{subject}: about {one}, {two}, {three}, {four} and {five}. {sentences[before % 2]}", subject
