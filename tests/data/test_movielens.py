"""MovieLens in every layout it comes in, and damaged copies of it."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fedlib.data import Dataset, check, files, load
from fedlib.errors import InputError

# Users 2 and 10 (numbers, not words: 2 comes first), movies 1, 3 and 20; movie 3 is rated by nobody in 1M.
U_DATA = "10\t20\t3\t900\n2\t1\t5\t880\n10\t1\t4\t900\n10\t3\t1\t899\n"
NO_GENRE = "|".join("0" * 18)
U_ITEM = (
    f"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|{'|'.join('0' * 13)}\n"
    f'3|Café, "Noir" (1994)|01-Jan-1994||http://x|0|{NO_GENRE}\n'
    f"20|unknown||||1|{NO_GENRE}\n"
).encode("latin-1")
RATINGS = "2::1::5::880\n10::20::3::900\n10::1::4::900\n"
MOVIES = "1::Toy Story (1995)::Animation|Children's|Comedy\n3::Never Seen (1990)::Drama\n20::Café (1994)::\n".encode(
    "latin-1"
)


def unpacked_100k(root: Path) -> None:
    (root / "ml-100k").mkdir()
    (root / "ml-100k" / "u.data").write_text(U_DATA)
    (root / "ml-100k" / "u.item").write_bytes(U_ITEM)


def gzipped_100k(root: Path) -> None:
    (root / "ml-100k").mkdir()
    (root / "ml-100k" / "u.data.gz").write_bytes(gzip.compress(U_DATA.encode()))
    (root / "ml-100k" / "u.item").write_bytes(U_ITEM)


def archive(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)


def zip_in_folder(root: Path) -> None:
    archive(root / "ml-100k" / "ml-100k.zip", {"ml-100k/u.data": U_DATA.encode(), "ml-100k/u.item": U_ITEM})


def zip_beside(root: Path) -> None:
    archive(root / "ml-100k.zip", {"ml-100k/u.data": U_DATA.encode(), "ml-100k/u.item": U_ITEM})


def windows_line_ends(root: Path) -> None:
    unpacked_100k(root)
    (root / "ml-100k" / "u.data").write_bytes(U_DATA.replace("\n", "\r\n").encode())


@pytest.mark.parametrize("make", [unpacked_100k, gzipped_100k, zip_in_folder, zip_beside, windows_line_ends])
def test_100k_in_every_layout(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    data = load("ml-100k", root=tmp_path)
    assert data.user_ids == ["2", "10"]
    assert data.item_ids == ["1", "3", "20"]
    assert data.interactions[0].tolist() == [0]
    assert data.interactions[1].tolist() == [1, 2, 0]  # 899, then the two of 900 as they stand in the file
    assert data.catalogue.to_numpy().tolist() == [
        [
            "Toy Story (1995)",
            "Toy Story (1995). Genres: Animation, Children's, Comedy.",
            "Animation|Children's|Comedy",
            "",
        ],
        ['Café, "Noir" (1994)', 'Café, "Noir" (1994).', "", ""],
        ["unknown", "unknown. Genres: unknown.", "unknown", ""],
    ]
    assert "published file different" in check("ml-100k", root=tmp_path)


def official_1m(root: Path) -> Dataset:
    archive(root / "ml-1m.zip", {"ml-1m/ratings.dat": RATINGS.encode(), "ml-1m/movies.dat": MOVIES})
    return load("ml-1m", root=root)


def tables_1m(root: Path) -> Dataset:
    (root / "ml-1m").mkdir()
    (root / "ml-1m" / "interactions.csv").write_text(
        "user_id,item,movie_id,position,timestamp\n10,0,1,1,\n2,0,1,0,880\n10,1,20,0,\n"
    )
    (root / "ml-1m" / "items.csv.gz").write_bytes(
        gzip.compress(
            "item,movie_id,title,genres,n_ratings\n0,1,Toy Story (1995),Animation|Children's|Comedy,2\n"
            "1,20,Café (1994),,1\n".encode()
        )
    )
    return load("ml-1m", root=root)


def test_1m_is_the_same_in_both_layouts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    official, tables = official_1m(tmp_path / "a"), tables_1m(tmp_path / "b")
    assert official.sha256 == tables.sha256
    assert official.user_ids == tables.user_ids == ["2", "10"]
    assert official.item_ids == tables.item_ids == ["1", "20"]  # movie 3 is rated by nobody
    assert official.catalogue.equals(tables.catalogue)
    assert official.interactions[1].tolist() == [1, 0]
    assert "published file not in this copy" in check("ml-1m", root=tmp_path / "b")


def test_1m_items_without_a_known_movie(tmp_path: Path) -> None:
    tables_1m(tmp_path)
    path = tmp_path / "ml-1m" / "items.csv.gz"
    path.write_bytes(gzip.compress(b"item,movie_id,title,genres\n0,1,Toy Story (1995),Comedy\n1,,,\n"))
    data = load("ml-1m", root=tmp_path)
    assert data.item_ids == ["1", "rank-1"]
    assert data.catalogue["description"].tolist()[1] == "unknown."
    assert data.notes == ("1 items have no known title in this copy",)


def test_the_published_copy_is_recognised(real_data: Path) -> None:
    said = check("ml-100k", root=real_data)
    assert "published file the same" in said
    assert "sparsity       93.70 %" in said


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ("", "u.data has no ratings"),
        ("1\t1\t5\n", "u.data, line 1: 3 fields, but 4"),
        ("1\t1\t5\t8\n1 1 5 8\n", "u.data, line 2: 1 fields, but 4"),
        ("1\t1\t5\t8\t9\n", "u.data, line 1: 5 fields"),
        ("1\t1\t5\t8\n\n-1\t1\t5\t8\n", "u.data, line 3: whole numbers"),
        ("1\t1\t5\tnan\n", "u.data, line 1: whole numbers"),
        ("1\t1\t5\t8.5\n", "u.data, line 1: whole numbers"),
        ("1\t\t5\t8\n", "u.data, line 1: whole numbers"),
        ("1\t1\t5\t99999999999999999999\n", "u.data, line 1: whole numbers"),
        ("1\t²\t5\t8\n", "u.data, line 1: whole numbers"),
        ("1\t1\t5\t8\n1\t7\t5\t8\n", "u.item has no line for movie 7"),
        ("1\t1\t5\t8\0\n", "u.data holds NUL bytes"),
    ],
)
def test_malformed_ratings_are_one_line(tmp_path: Path, ratings: str, message: str) -> None:
    unpacked_100k(tmp_path)
    (tmp_path / "ml-100k" / "u.data").write_text(ratings)
    with pytest.raises(InputError) as raised:
        load("ml-100k", root=tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def no_ratings(root: Path) -> None:
    (root / "ml-100k").mkdir()


def no_movies(root: Path) -> None:
    unpacked_100k(root)
    (root / "ml-100k" / "u.item").unlink()


def short_movies(root: Path) -> None:
    unpacked_100k(root)
    (root / "ml-100k" / "u.item").write_text("1|Toy Story (1995)|01-Jan-1995\n")


def cut_zip(root: Path) -> None:
    zip_beside(root)
    path = root / "ml-100k.zip"
    path.write_bytes(path.read_bytes()[:-30])


def altered_zip(root: Path) -> None:
    with zipfile.ZipFile(root / "ml-100k.zip", "w", zipfile.ZIP_STORED) as out:
        out.writestr("ml-100k/u.data", U_DATA)
    path = root / "ml-100k.zip"
    path.write_bytes(path.read_bytes().replace(b"880", b"881", 1))


def encrypted_zip(root: Path) -> None:
    zip_beside(root)
    path = root / "ml-100k.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag "encrypted" of the first entry
    content[6] |= 1
    path.write_bytes(content)


def other_zip(root: Path) -> None:
    archive(root / "ml-100k.zip", {"elsewhere/u.data": U_DATA.encode()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_ratings, "ml-100k has no u.data, u.data.gz or ml-100k.zip with u.data inside"),
        (no_movies, "ml-100k has no u.item"),
        (short_movies, "u.item, line 1: 3 fields, but 24"),
        (cut_zip, "ml-100k.zip is cut short or damaged"),
        (altered_zip, "ml-100k.zip is cut short or damaged (Bad CRC-32"),
        (encrypted_zip, "ml-100k.zip cannot be unpacked"),
        (other_zip, "ml-100k.zip has no u.data"),
    ],
)
def test_damaged_copies_are_one_line(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path)
    with pytest.raises(InputError) as raised:
        load("ml-100k", root=tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path / "ml-100k.zip", {"ml-100k/u.data": bytes(1 << 20)})
    monkeypatch.setattr(files, "MAX_MEMBER_BYTES", 1 << 16)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match=r"u\.data has 1,048,576 bytes, above the 65,536 allowed"):
        load("ml-100k", root=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("interactions.csv", "user_id,item\n1,1\n", "interactions.csv lacks the column position"),
        ("interactions.csv", "user_id,item,position\n", "interactions.csv has no interactions"),
        ("interactions.csv", "user_id,item,position\n1,2,0\n", "line 2: item 2 is not in items.csv"),
        ("interactions.csv", "user_id,item,position\n1,0,x\n", "line 2: whole numbers"),
        ("items.csv", "item,movie_id,title,genres\n1,1,A,\n", "items.csv must list the items 0, 1, 2"),
    ],
)
def test_damaged_tables_of_1m_are_one_line(tmp_path: Path, file: str, content: str, message: str) -> None:
    tables_1m(tmp_path)
    (tmp_path / "ml-1m" / file).write_text(content)
    with pytest.raises(InputError) as raised:
        load("ml-1m", root=tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
