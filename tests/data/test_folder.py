"""A folder of one's own: what is read from it, and the one sentence for everything that cannot be."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedlib.data import files, load
from fedlib.errors import InputError

GOOD = "user,item,timestamp\nu1,a,3\nu1,b,1\nu2,a,2\n"


def write(folder: Path, interactions: str | bytes | None, items: str | bytes | None = None) -> Path:
    for name, content in (("interactions.csv", interactions), ("items.csv", items)):
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_reads_ids_as_text_in_order_of_time(tmp_path: Path) -> None:
    rows = "item,extra,timestamp,user,store\n007,x,20,u1,north\nb,x,10,u1,north\n7,x,20,u1,north\n007,y,5,02,south\n"
    data = load(write(tmp_path, rows))
    assert data.name == tmp_path.name
    assert data.user_ids == ["u1", "02"]
    assert data.item_ids == ["007", "b", "7"]
    assert data.interactions[0].tolist() == [1, 0, 2]  # 10, then the two of time 20 as they stand in the file
    assert data.catalogue["title"].tolist() == ["007", "b", "7"]
    assert data.stores is not None
    assert data.stores.tolist() == [0, 1]


def test_without_time_stamps_the_file_is_in_order_of_time(tmp_path: Path) -> None:
    data = load(write(tmp_path, "user,item\na,3\nb,1\na,1\n"))
    assert data.interactions[0].tolist() == [0, 1]
    assert data.stores is None


@pytest.mark.parametrize("times", [("1717171717000000001", "1717171717000000000"), ("-1.5", "-2e0"), ("1e300", "7")])
def test_times_are_compared_exactly(tmp_path: Path, times: tuple[str, str]) -> None:
    data = load(write(tmp_path, f"user,item,timestamp\na,late,{times[0]}\na,early,{times[1]}\n"))
    assert [data.item_ids[item] for item in data.interactions[0]] == ["early", "late"]


def test_repeated_pairs_keep_the_earliest_and_are_counted(tmp_path: Path) -> None:
    data = load(write(tmp_path, "user,item,timestamp\nu,a,9\nu,b,5\nu,a,1\nv,a,2\n"))
    assert data.interactions[0].tolist() == [0, 1]
    assert data.notes == ("dropped 1 repeated user-item pair, keeping the earliest",)


def test_catalogue_with_commas_quotes_line_breaks_and_unrated_items(tmp_path: Path) -> None:
    items = '\ufeffitem,title,description,categories,image\na,"One, ""two""","line 1\nline 2",X|Y,a.png\nz,Unrated,,,\n'
    with gzip.open(tmp_path / "items.csv.gz", "wt", encoding="utf-8") as out:
        out.write(items)
    with gzip.open(tmp_path / "interactions.csv.gz", "wt", encoding="utf-8") as out:
        out.write("user,item\r\nü,a\r\n\r\n")
    data = load(tmp_path)
    assert data.user_ids == ["ü"]
    assert data.item_ids == ["a", "z"]
    assert data.catalogue.iloc[0].tolist() == ['One, "two"', "line 1\nline 2", "X|Y", str(tmp_path / "a.png")]
    assert data.catalogue.iloc[1].tolist() == ["Unrated", "", "", ""]
    assert torch.equal(data.interactions.items, torch.tensor([0]))


BAD: dict[str, tuple[str | bytes | None, str | bytes | None, str]] = {
    "no interactions": (None, "item\na\n", "has no interactions.csv"),
    "empty": ("", None, "interactions.csv is empty"),
    "header only": ("user,item\n", None, "no interactions"),
    "missing column": ("user,thing\na,b\n", None, "lacks the column item"),
    "other separator": ("user;item\na;b\n", None, "lacks the column user, item"),
    "column twice": ("user,item,item\na,b,c\n", None, "column item more than once"),
    "too few columns": ("user,item\na,b\nc\n", None, "interactions.csv, line 3: 1 columns"),
    "too many columns": ("user,item\na,b,c\n", None, "interactions.csv, line 2: 3 columns"),
    "word as time": ("user,item,timestamp\na,b,1\na,c,yesterday\n", None, "line 3: timestamp 'yesterday'"),
    "no time": ("user,item,timestamp\na,b,\n", None, "line 2: timestamp ''"),
    "nan": ("user,item,timestamp\na,b,nan\n", None, "line 2: timestamp 'nan'"),
    "infinity": ("user,item,timestamp\na,b,-inf\n", None, "line 2: timestamp '-inf'"),
    "huge number": ("user,item,timestamp\na,b,1e999\n", None, "line 2: timestamp '1e999'"),
    "empty user": ("user,item\n,b\n", None, "line 2: the user is empty"),
    "blank item": ("user,item\na,  \n", None, "line 2: the item is empty"),
    "empty store": ("user,item,store\na,b,\n", None, "line 2: the store is empty"),
    "two stores": ("user,item,store\na,b,n\na,c,s\n", None, "line 3: user 'a' was in store 'n'"),
    "unknown item": ("user,item\na,b\na,c\n", "item\nb\n", "line 3: item 'c' is not in"),
    "open quote": ('user,item\na,"b\n', None, "is not a CSV table"),
    "endless field": ("user,item\na," + "b" * 200_000 + "\n", None, "is not a CSV table"),
    "latin-1": ("user,item\nJosé,b\n".encode("latin-1"), None, "is not UTF-8 text (byte 0xe9)"),
    "utf-16": (GOOD.encode("utf-16"), None, "NUL bytes"),
    "nul": (b"user,item\na,b\0\n", None, "NUL bytes"),
    "binary": (bytes(range(128, 256)) * 9, None, "is not UTF-8 text"),
    "line breaks in a value": ('user,item,timestamp\na,b,"1\n\n2"\n', None, r"line 2: timestamp '1\n\n2'"),
    "line after a long value": ('user,item\n"a\na",b\nc\n', None, "line 4: 1 columns"),
    "item twice": (GOOD, "item,title\na,A\nb,B\na,C\n", "items.csv, line 4: item 'a' has a line before"),
    "empty catalogue": (GOOD, "", "items.csv is empty"),
    "catalogue without ids": (GOOD, "title\nA\n", "items.csv lacks the column item"),
    "catalogue row too long": (GOOD, "item,title\na,A\nb,B, and more\n", "items.csv, line 3: 3 columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    interactions, items, message = BAD[case]
    with pytest.raises(InputError) as raised:
        load(write(tmp_path, interactions, items))
    said = str(raised.value)
    assert message in said
    assert str(tmp_path) in said
    assert "\n" not in said


def no_folder(folder: Path) -> Path:
    return folder / "nowhere"


def file_as_folder(folder: Path) -> Path:
    return write(folder, GOOD) / "interactions.csv"


def folder_as_file(folder: Path) -> Path:
    (folder / "interactions.csv").mkdir()
    return folder


def cut_gzip(folder: Path) -> Path:
    packed = gzip.compress(b"user,item\n" + b"".join(b"u%d,i%d\n" % (k, k * k) for k in range(500)))
    (folder / "interactions.csv.gz").write_bytes(packed[:-100])
    return folder


def altered_gzip(folder: Path) -> Path:
    packed = bytearray(gzip.compress(GOOD.encode()))
    packed[-6] ^= 1  # a byte of the checksum
    (folder / "interactions.csv.gz").write_bytes(packed)
    return folder


def no_gzip(folder: Path) -> Path:
    (folder / "interactions.csv.gz").write_text(GOOD)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_folder, "nowhere does not exist"),
        (file_as_folder, "interactions.csv is a file where a folder is expected"),
        (folder_as_file, "interactions.csv is a folder where a file is expected"),
        (cut_gzip, "interactions.csv.gz is cut short or damaged"),
        (altered_gzip, "interactions.csv.gz is cut short or damaged"),
        (no_gzip, "interactions.csv.gz is cut short or damaged"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(make(tmp_path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = write(tmp_path, GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"interactions\.csv may not be read"):
        load(folder)


def test_content_beyond_the_bounds_is_refused_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interactions.csv.gz").write_bytes(gzip.compress(b"user,item\n" + b"u,i\n" * 5000))
    with monkeypatch.context() as patch:
        patch.setattr(files, "MAX_BYTES", 10_000)
        with pytest.raises(InputError, match=r"interactions\.csv\.gz holds more than 10,000 bytes"):
            load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "MAX_ROWS", 4_999)
        with pytest.raises(InputError, match=r"more than 4,999 rows"):
            load(tmp_path)
    assert len(load(tmp_path).interactions.items) == 1
