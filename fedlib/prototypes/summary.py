"""What the server may tell a language model about its catalogue: counts of categories or words, and no item's name.

Catalogues are written by strangers. A category that says "ignore your instructions", or holds a chat template's mark
for the end of a message, must stay a quoted string of bounded length: :func:`quoted` sees to that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from fedlib.data import Dataset
from fedlib.errors import InputError

LISTED = 30  # categories or words that a summary names at most
LONGEST = 40  # characters of a category that are shown
FEWEST = 2  # items a category or word must belong to: what belongs to one may be its name


def plain(text: str) -> str:
    """``text`` on one line, of letters, digits, spaces and ``& ' , . / + ( ) -`` alone.

    What is left can neither close a quote nor be read as a mark of a chat template, such as ``<|im_end|>``.

    >>> plain('Sci-Fi"]\\n<|im_end|> & Fantasy')
    'Sci-Fi im_end & Fantasy'
    """
    return " ".join(re.sub(r"[^\w &',./+()-]", " ", text).split())


def quoted(text: str, longest: int = LONGEST) -> str:
    """``text`` as a quoted string of bounded length for a prompt."""
    return f'"{plain(text)[:longest].rstrip()}"'


def summary_of(data: Dataset) -> str:
    """The global item information of a prompt (section 4.2 of FedSLLM: high-level attributes, category statistics).

    The number of items, and the most frequent categories with the share of items they belong to; where no item has a
    category, the most frequent words of titles and descriptions instead. Only what at least two items share is named.
    The same data gives the same summary. Raises :class:`InputError` if the catalogue has neither.
    """
    categories = categories_of(data)
    lines = [f"The catalogue has {data.n_items:,} items."]
    if any(categories):
        without = sum(not held for held in categories)
        lines += _listing("categories", categories)
        lines += [f"{_share(without, data.n_items)} of the items have no category."] * (without > 0)
    else:
        lines += _listing("words in the items' texts", words_of(data, titles=True))
    if len(lines) == 1:
        raise InputError(
            f"{data.name} has neither categories nor words about its items: give them in items.csv, or cluster them"
        )
    return "\n".join(lines)


def categories_of(data: Dataset) -> list[set[str]]:
    """The categories of each item, as they may stand in a prompt."""
    return [set(map(plain, text.split("|"))) - {""} for text in data.catalogue["categories"]]


def words_of(data: Dataset, *, titles: bool) -> list[set[str]]:
    """The words of each item's description, in small letters, without stop words and words that are a whole title.

    With ``titles`` the words of its title as well, and without them no word that its title has.
    """
    names = {title.strip().lower() for title in data.catalogue["title"]}
    held = []
    for title, description in zip(data.catalogue["title"], data.catalogue["description"], strict=True):
        said, called = (set(re.findall(r"[^\W\d_]{3,}", text.lower())) for text in (description, title))
        held.append((said | called if titles else said - called) - ENGLISH_STOP_WORDS - names)
    return held


def _listing(what: str, held: list[set[str]]) -> list[str]:
    """The most frequent of what the items hold, by share and then by name; no line where nothing is shared."""
    common = [entry for entry in _by_count(held) if entry[1] >= FEWEST]
    if not common:
        return []
    named = ", ".join(f"{quoted(name)} {_share(count, len(held))}" for name, count in common[:LISTED])
    cut = f", the {LISTED} most frequent of {len(common)}" if len(common) > LISTED else ""
    return [f"Its {what}, with the share of items they belong to (an item may have several{cut}): {named}."]


def _by_count(held: Iterable[set[str]]) -> list[tuple[str, int]]:
    return sorted(Counter(name for names in held for name in names).items(), key=lambda entry: (-entry[1], entry[0]))


def _share(count: int, total: int) -> str:
    percent = (200 * count + total) // (2 * total)  # rounded half up, in whole numbers
    return f"{percent} %" if percent else "under 1 %"
