"""What an encoder reads of an item."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlib import load
from fedlib.items import item_texts


def put(folder: Path, *items: str) -> Path:
    (folder / "interactions.csv").write_text("user,item\n1,a\n")
    (folder / "items.csv").write_text("item,title,categories,description\n" + "\n".join(items))
    return folder


def test_title_categories_and_description_of_ones_own_items(tmp_path: Path) -> None:
    folder = put(
        tmp_path,
        "a,Fork,Kitchen|Silver,It has  four\tteeth.",
        "b,,,",
        "c,Why?,,",
        'd,Dr. No,Film,"Dr. No: a Film, of 1962"',
    )
    assert item_texts(load(folder)) == [
        "Fork. Kitchen, Silver. It has four teeth.",
        "b.",
        "Why?.",
        "Dr. No: a Film, of 1962",
    ]


def test_a_text_ends_after_256_words(tmp_path: Path) -> None:
    folder = put(tmp_path, f"a,Long,Kind,{' '.join(map(str, range(400)))}")
    words = item_texts(load(folder))[0].split()
    assert len(words) == 256 and words[:3] == ["Long.", "Kind.", "0"] and words[-1] == "253"


@pytest.mark.parametrize(("name", "n"), [("ml-100k", 1682), ("ml-1m", 3706)])
def test_movies_are_told_by_title_year_and_genres(real_data: Path, name: str, n: int) -> None:
    texts = item_texts(load(name, root=real_data))
    assert len(texts) == n and all(text.strip() for text in texts)
    assert texts[0] == "Toy Story (1995). Genres: Animation, Children's, Comedy."
