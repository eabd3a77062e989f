"""A file is written whole or not at all, on every system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fedlib.files import replacing, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def half() -> None:
        with replacing(path) as new:
            new.write_text("ne", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("a.json", "old")]


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ü\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xbc\n"


def test_what_has_its_name_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before the name, and the folder, which holds the name, after it; the last only where that is so."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if os.path.isdir(handle) else "file")
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(tmp_path / "a", "text")
    assert done == ["file", "name"] + ["folder"] * (sys.platform != "win32")
    done.clear()
    monkeypatch.setattr(sys, "platform", "win32")
    write_text(tmp_path / "a", "text")
    assert done == ["file", "name"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "a").read_text(encoding="utf-8") == "text"
    assert [file.name for file in (tmp_path / "far").iterdir()] == ["a"]
