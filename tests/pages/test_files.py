"""The text of every built page keeps the rules of files.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from tests.pages.files import (
    BOOK,
    PAGES,
    ROOT,
    RULES,
    Tag,
    has_alt_text,
    has_no_data_images,
    loads_nothing_from_elsewhere,
    read,
)


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str) -> None:
    tags = read((BOOK / page).read_text(encoding="utf-8"))
    assert [complaint for rule in RULES for complaint in rule(tags)] == []


def test_every_page_of_the_contents_was_built() -> None:
    names: list[str] = []

    def collect(entry: dict) -> None:
        names.append(entry.get("file") or entry.get("root") or "")
        for key in ("parts", "chapters", "sections"):
            for below in entry.get(key, []):
                collect(below)

    collect(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    assert {f"{name}.html" for name in names if name} <= set(PAGES)


@pytest.mark.parametrize(
    ("rule", "html"),
    [
        (loads_nothing_from_elsewhere, '<script src="https://cdn.example.org/x.js"></script>'),
        (loads_nothing_from_elsewhere, '<link rel="stylesheet" href="//fonts.example.org/x.css">'),
        (loads_nothing_from_elsewhere, '<link rel="preload icon" href="http://example.org/x.svg">'),
        (loads_nothing_from_elsewhere, '<img alt="a chart" src="https://example.org/x.png">'),
        (loads_nothing_from_elsewhere, '<object data="https://example.org/x.svg"></object>'),
        (has_alt_text, '<img src="a.png">'),
        (has_alt_text, '<img src="a.png" alt="">'),
        (has_alt_text, '<img src="a.png" alt="../_images/3f2a.png">'),
        (has_no_data_images, '<img alt="a chart" src="data:image/png;base64,AAAA">'),
    ],
)
def test_a_broken_page_is_caught(rule: Callable[[list[Tag]], list[str]], html: str) -> None:
    assert [complaining for complaining in RULES if complaining(read(html))] == [rule]


def test_a_good_page_passes() -> None:
    html = """<link rel="canonical" href="https://example.org"> <a href="https://example.org">out</a>
    <img src="a.png" alt="A bar chart"> <script src="x.js"></script> <script>let where = "https://example.org"</script>"""
    assert [complaint for rule in RULES for complaint in rule(read(html))] == []
