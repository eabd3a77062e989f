"""What a text encoder reads of each item."""

from __future__ import annotations

from fedlib.data.interactions import Dataset

WORDS = 256


def item_texts(data: Dataset) -> list[str]:
    """One text an item: title, categories and description, cut after 256 words.

    Nothing is said twice: a description that begins with the title, as in "Toy Story (1995). Genres: Animation,
    Comedy.", stands for it, and so does one that names all the categories. FedSLLM speaks of "titles and descriptions"
    and no more (see the ambiguity log).
    """
    columns = (data.catalogue[name] for name in ("title", "categories", "description"))
    return [_text(*row) for row in zip(*columns, strict=True)]


def _text(title: str, categories: str, description: str) -> str:
    """The text of one item.

    >>> _text("Fork", "Kitchen|Silver", "A fork of silver."), _text("Up (2009)", "Drama", "Up (2009). Genres: Drama.")
    ('Fork. Kitchen, Silver. A fork of silver.', 'Up (2009). Genres: Drama.')
    """
    told = " ".join(description.split()[:WORDS])
    names = [name for name in categories.split("|") if name]
    parts = [] if told.startswith(title) else [title]
    if names and not all(name in told for name in names):
        parts.append(", ".join(names))
    sentences = " ".join(part.strip().rstrip(".") + "." for part in parts if part.strip())
    return " ".join(f"{sentences} {told}".split()[:WORDS])
