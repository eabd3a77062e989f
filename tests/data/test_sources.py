"""Names, and the order of the places a data set is looked for in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlib.data import check, fetch, load, names, sources
from fedlib.errors import InputError

GENRES = "|".join("0" * 19)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no data folder."""
    monkeypatch.setattr(sources, "_cache", lambda: tmp_path / "cache" / "fedlib")
    monkeypatch.delenv("FEDLIB_DATA", raising=False)
    return tmp_path / "cache" / "fedlib"


def put(root: Path, user: int) -> None:
    (root / "ml-100k").mkdir(parents=True)
    (root / "ml-100k" / "u.data").write_text(f"{user}\t1\t5\t880\n")
    (root / "ml-100k" / "u.item").write_text(f"1|One||||{GENRES}\n")


def test_looks_in_root_then_in_the_named_folder_then_in_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "root", 1)
    put(tmp_path / "named", 2)
    put(cache, 3)
    assert load("ml-100k").user_ids == ["3"]
    monkeypatch.setenv("FEDLIB_DATA", str(tmp_path / "named"))
    assert load("ml-100k").user_ids == ["2"]
    assert load("ml-100k", root=tmp_path / "root").user_ids == ["1"]
    (tmp_path / "empty").mkdir()
    assert load("ml-100k", root=tmp_path / "empty").user_ids == ["3"]


def test_fetches_into_the_cache_and_tells_the_licence(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pretend(url: str, target: Path, md5: str, *, progress: bool) -> Path:
        asked.append((url, target, md5))
        put(cache, 4)
        return cache / "ml-100k"

    monkeypatch.setattr(sources, "_download", pretend)
    assert load("ml-100k").user_ids == ["4"]
    assert asked == [
        (
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            cache / "ml-100k.zip",
            "0e33842e24a9c977be4e0107933c0723",
        )
    ]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no redistribution" in err
    assert fetch("ml-100k") == cache / "ml-100k"  # it is there now: nothing is asked or said again
    assert len(asked) == 1
    assert capsys.readouterr() == ("", "")


def test_a_broken_copy_is_not_passed_over_in_silence(tmp_path: Path, cache: Path) -> None:
    put(cache, 3)
    (tmp_path / "root" / "ml-100k").mkdir(parents=True)
    with pytest.raises(InputError, match=r"root.ml-100k has no u\.data"):
        load("ml-100k", root=tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ml-10m",
            "no data set or folder 'ml-10m': name one of ml-100k, ml-1m, gowalla, yelp2018, amazon-industrial, "
            "amazon-software, synthetic, or a folder",
        ),
        ("./nowhere", "nowhere does not exist: name a folder with interactions.csv in it"),
        ("", "no data set or folder ''"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(name)
    assert message in str(raised.value)


def test_without_download_it_says_where_it_looked(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=f"ml-1m is not in {tmp_path} or {cache}: run `fedlib data fetch ml-1m`"):
        load("ml-1m", root=tmp_path, download=False)
    with pytest.raises(InputError, match=f"ml-1m is not in {cache}: "):
        check("ml-1m")
    with pytest.raises(InputError, match=r"synthetic cannot be fetched; what can be fetched is ml-100k, ml-1m$"):
        fetch("synthetic")


def test_a_data_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLIB_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"FEDLIB_DATA is '.*gone', which is not a folder"):
        load("ml-100k")
    with pytest.raises(InputError, match=r"root is '.*gone', which is not a folder"):
        load("ml-100k", root=tmp_path / "gone")


def test_names_say_what_is_here(tmp_path: Path) -> None:
    put(tmp_path, 1)
    assert [(name, found) for name, _, found in names(root=tmp_path)] == [
        ("ml-100k", str(tmp_path / "ml-100k")),
        ("ml-1m", "not here"),
        ("gowalla", "not here"),
        ("yelp2018", "not here"),
        ("amazon-industrial", "not here"),
        ("amazon-software", "not here"),
        ("synthetic", "built in"),
    ]
    assert all("\n" not in licence for _, licence, _ in names(root=tmp_path))


def test_check_counts(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\na,1\na,2\na,1\nb,3\n")
    facts = dict(line.split(maxsplit=1) for line in check(tmp_path).splitlines())
    assert (facts["users"], facts["items"], facts["interactions"]) == ("2", "3", "3")
    assert facts["sparsity"] == "50.00 %"
    assert facts["sha256"] == load(tmp_path).sha256
    assert facts["notes"].startswith("dropped 1 repeated")
    assert "built in" in check("synthetic")
