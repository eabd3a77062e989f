"""Quiz, hints and solutions of every chapter by keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages.files import BOOK, CHAPTERS
from tests.pages.keyboard import is_reached_by_tab, unfolds_by_enter
from tests.pages.screen import visit

UNFOLDING = [
    ("details.option > summary", "details.option > p"),
    ("details.hint > summary", "details.hint > p"),
    (".solution button.toggle-button", ".solution > :not(.admonition-title)"),
]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(browser: Browser, chapter: str) -> None:
    with visit(browser, BOOK / chapter, unfold=False) as seen:
        complaints = is_reached_by_tab(seen.page)
        for control, content in UNFOLDING:
            complaints += unfolds_by_enter(seen.page, control, content)
    assert complaints == []


@pytest.mark.parametrize(
    ("head", "summary", "complaint"),
    [
        ("", "<summary>two</summary>", []),
        ("", '<summary tabindex="-1">two</summary>', ["Tab does not reach 'two'"]),
        ("<style>summary:focus { outline: none }</style>", "<summary>two</summary>", ["no ring around 'two'"]),
    ],
)
def test_tab(browser: Browser, tmp_path: Path, head: str, summary: str, complaint: list[str]) -> None:
    page = tmp_path / "page.html"
    ring = "<style>summary:focus { outline: 3px solid }</style>"
    page.write_text(f'{ring}{head}<a href="#">one</a><details class="option">{summary}<p>Why.</p></details>')
    with visit(browser, page, unfold=False) as seen:
        assert is_reached_by_tab(seen.page) == complaint


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        ("<details><summary>two</summary><p>Why.</p></details>", []),
        ("<details open><summary>two</summary><p>Why.</p></details>", ["p is open before anybody opened it"]),
        ('<div><summary tabindex="0">two</summary><p hidden>Why.</p></div>', ["Enter on summary does not show p"]),
    ],
)
def test_enter(browser: Browser, tmp_path: Path, box: str, complaint: list[str]) -> None:
    page = tmp_path / "page.html"
    page.write_text(box)
    with visit(browser, page, unfold=False) as seen:
        assert unfolds_by_enter(seen.page, "summary", "p") == complaint
