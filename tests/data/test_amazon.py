"""Amazon Reviews 2018: both layouts, what is dropped, and what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fedlib.data import check, fetch, load, sources
from fedlib.data.amazon import REVIEWS, is_published
from fedlib.errors import InputError
from fedlib.items import item_texts

FILES = ("Industrial_and_Scientific_5.json.gz", "meta_Industrial_and_Scientific.json.gz")


def review(user: str, item: str, time: Any, **other: Any) -> dict[str, Any]:
    return {"overall": 5.0, "reviewerID": user, "asin": item, "unixReviewTime": time} | other


REVIEWED = [
    review("U2", "B2", 30),
    review("U1", "B1", 20),
    review("U2", "B1", 10),
    review("U1", "B2", 20, reviewText="as old as the one before"),
    review("U1", "B1", 5),
    review("U1", "B3", 1),
]
ABOUT = [
    {"asin": "B9", "title": "never reviewed"},
    {"asin": "B2", "title": "var aPageStart = (new Date()).getTime();"},
    {
        "asin": "B1",
        "title": "Pliers &amp; <b>Tongs</b>",
        "description": ["For two.", "", "<br>Steel|Iron."],
        "category": ["Tools", "Pliers, Tongs & Tweezers"],
        "brand": "Grip",
    },
    {"asin": "B1", "title": "said before"},
]


def put(root: Path, reviews: list[Any] = REVIEWED, about: list[Any] = ABOUT, name: str = "amazon-industrial") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, lines in zip(FILES, (reviews, about), strict=True):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n"
        (folder / file).write_bytes(gzip.compress(text.encode()))
    return root


def put_tables(root: Path, interactions: str, items: str) -> Path:
    folder = root / "amazon-industrial"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "interactions.csv").write_text("user,item,position\n" + interactions)
    (folder / "items.csv").write_text("item,asin,text,title,brand,categories,description\n" + items)
    return root


def test_the_official_layout_is_ordered_by_time_and_then_by_line(tmp_path: Path) -> None:
    data = load("amazon-industrial", root=put(tmp_path))
    assert (data.user_ids, data.item_ids) == (["U2", "U1"], ["B2", "B1", "B3"])
    assert data.interactions[0].tolist() == [1, 0]
    assert data.interactions[1].tolist() == [2, 1, 0]  # B1 at time 5, before it was reviewed again at 20
    assert data.notes == (
        "2 items have no title in the metadata and are called by their ids",
        "dropped 1 repeated user-item pair, keeping the earliest",
    )
    assert data.leave_one_out(negatives=0).data.notes[2:] == ("left out 1 user with fewer than 3 items",)
    assert "published file different" in check("amazon-industrial", root=tmp_path)


def test_software_has_the_same_layout(tmp_path: Path) -> None:
    folder = put(tmp_path, name="amazon-software") / "amazon-software"
    for file in FILES:
        (folder / file).rename(folder / file.replace("Industrial_and_Scientific", "Software"))
    data = load("amazon-software", root=tmp_path)
    assert (data.name, data.n_users, data.n_items) == ("amazon-software", 2, 3)
    assert not any("cut" in note for note in data.notes)


def test_the_catalogue_holds_plain_text_of_the_first_line_about_an_item(tmp_path: Path) -> None:
    data = load("amazon-industrial", root=put(tmp_path))
    assert data.catalogue.iloc[1].to_dict() == {
        "title": "Pliers & Tongs",
        "description": "For two. Steel/Iron.",
        "categories": "Tools|Pliers, Tongs & Tweezers",
        "image": "",
        "brand": "Grip",
    }
    assert data.catalogue["title"].tolist() == ["B2", "Pliers & Tongs", "B3"]
    assert item_texts(data)[1] == "Pliers & Tongs. Tools, Pliers, Tongs & Tweezers. For two. Steel/Iron."


def test_the_tables_are_ordered_by_position_and_say_that_they_are_another_cut(tmp_path: Path) -> None:
    items = '0,B7,"Tape. Tapes 3M.",Tape.,3M,"Tapes,Adhesives, Glues & Sealants",Sticks.\n1,B8,Glue and all.,,,,\n'
    data = load("amazon-industrial", root=put_tables(tmp_path, "4,1,1\n4,0,0\n2,1,0\n4,1,2\n", items))
    assert (data.user_ids, data.item_ids) == (["2", "4"], ["B7", "B8"])
    assert [data.interactions[user].tolist() for user in range(2)] == [[1], [0, 1]]
    assert data.catalogue["categories"].tolist() == ["Tapes|Adhesives, Glues & Sealants", ""]
    assert data.catalogue["title"].tolist() == ["Tape.", "Glue and all."]
    assert data.notes == (
        "1 items have one text for title, categories and brand",
        "a cut with 2 users and 2 items, another than FedSLLM's, which has 11,041 users, 5,334 items and 77,071 "
        "interactions",
        "dropped 1 repeated user-item pair, keeping the earliest",
    )
    assert "published file not in this copy" in check("amazon-industrial", root=tmp_path)


def test_the_published_file_is_told_by_its_number_of_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = put(tmp_path) / "amazon-industrial"
    assert is_published("amazon-industrial", place) is False
    monkeypatch.setitem(REVIEWS, "amazon-industrial", len(REVIEWED))
    assert is_published("amazon-industrial", place) is True


@pytest.mark.parametrize(
    ("reviews", "about", "sentence"),
    [
        (["{"], ABOUT, r"5\.json\.gz, line 1: a JSON object is expected, not '{"),
        ([*REVIEWED, "[1]"], ABOUT, "line 7: a JSON object is expected"),
        (["[" * 100_000], ABOUT, "line 1: a JSON object is expected"),
        ([review("U1", "B1", "5")], ABOUT, "line 1: unixReviewTime must be seconds since 1970, not '5'"),
        ([review("U1", "B1", 1 << 50)], ABOUT, "line 1: unixReviewTime must be seconds"),
        ([review("U1", "B1", True)], ABOUT, "line 1: unixReviewTime must be seconds"),
        ([review("", "B1", 5)], ABOUT, "line 1: reviewerID must be a word, not ''"),
        ([review("U1", 7, 5)], ABOUT, "line 1: asin must be a word, not '7'"),  # type: ignore[arg-type]
        ([], ABOUT, "has no reviews in it"),
        (REVIEWED, [{"title": "whose?"}], r"meta_.*line 1: asin must be a word, not 'None'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, reviews: list[Any], about: list[Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        load("amazon-industrial", root=put(tmp_path, reviews, about))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("interactions", "items", "sentence"),
    [
        ("0,0,x\n", "0,B,t,,,,\n", "line 2: whole numbers from 0 are expected, not '0,0,x'"),
        ("0,0," + "9" * 5000 + "\n", "0,B,t,,,,\n", "line 2: whole numbers from 0"),
        ("0,1,0\n", "0,B,t,,,,\n", "line 2: item 1 is not in items.csv"),
        ("", "0,B,t,,,,\n", "has no interactions in it"),
        ("0,0,0\n", "1,B,t,,,,\n", r"must list the items 0, 1, 2 and so on"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, interactions: str, items: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        load("amazon-industrial", root=put_tables(tmp_path, interactions, items))
    assert "\n" not in str(raised.value)


def test_missing_files_are_named_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache")
    with pytest.raises(InputError, match=r"put Software_5\.json\.gz and meta_Software\.json\.gz, as found at nijianmo"):
        fetch("amazon-software", root=tmp_path)
    (put(tmp_path) / "amazon-industrial" / FILES[1]).unlink()
    with pytest.raises(InputError, match=r"has no meta_Industrial_and_Scientific\.json or .* beside the reviews"):
        load("amazon-industrial", root=tmp_path)
    (tmp_path / "amazon-industrial" / FILES[0]).unlink()
    with pytest.raises(InputError, match=r"has no Industrial_and_Scientific_5\.json or "):
        load("amazon-industrial", root=tmp_path)
    (tmp_path / "amazon-software.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"amazon-software\.zip is not a folder"):
        load("amazon-software", root=tmp_path)


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    path = put(tmp_path) / "amazon-industrial" / FILES[1]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"meta_Industrial.*is cut short or damaged"):
        load("amazon-industrial", root=tmp_path)


def test_the_copy_of_industrial(real_data: Path) -> None:
    """Counts from the data's own description: 59,427 reviews, 59,136 distinct pairs."""
    data = load("amazon-industrial", root=real_data)
    assert (data.n_users, data.n_items, len(data.interactions.items)) == (8442, 4385, 59136)
    assert data.notes[-1] == "dropped 291 repeated user-item pairs, keeping the earliest"
    assert int(data.interactions.counts.min()) == 1
    texts = item_texts(data)
    assert len(texts) == 4385 and all(0 < len(text.split()) <= 256 for text in texts)
    split = data.leave_one_out()
    assert split.data.notes[-1] == "left out 2 users with fewer than 3 items" and split.data.n_items == 4385
