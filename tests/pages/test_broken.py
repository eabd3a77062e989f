"""Small broken pages: each has one fault, and the check for it complains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.pages.files import ROOT
from tests.pages.screen import (
    CHECKS,
    Visit,
    asks_nobody,
    draws_its_equations,
    fits_the_screen,
    is_accessible,
    reports_no_error,
    shows_its_images,
    visit,
)

FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title></head>
<body><main><article><h1>A page</h1>{body}</article></main></body></html>"""
MATHJAX = f'<script src="{(ROOT / "book" / "_vendor" / "tex-svg-full.js").as_uri()}"></script>'
PICTURE = (ROOT / "book" / "_static" / "loop.svg").as_uri()

GOOD = f"""{MATHJAX}<p>Let <span class="math notranslate">\\(x^2\\)</span> cost $5, or <code>$$</code>.</p>
<img src="{PICTURE}" alt="One round of the loop" width="300"> <a href="https://example.org">Elsewhere</a>"""

Check = Callable[[Visit], list[str]]

# What fails to load is an error in the browser's eyes as well.
BROKEN: dict[str, tuple[list[Check], str]] = {
    "console error": ([reports_no_error], "<script>console.error('no')</script>"),
    "exception": ([reports_no_error], "<script>throw Error('no')</script>"),
    "foreign script": ([reports_no_error, asks_nobody], '<script src="https://cdn.example.org/x.js"></script>'),
    "foreign font": (
        [reports_no_error, asks_nobody],
        "<style>@font-face { font-family: F; src: url(https://example.org/f.woff2) } h1 { font-family: F }</style>",
    ),
    "fetched data": (
        [reports_no_error, asks_nobody],
        "<script>fetch('http://127.0.0.1:9/x').catch(() => 0)</script>",
    ),
    "lost image": ([reports_no_error, shows_its_images], '<img src="lost.png" alt="A bar chart">'),
    "no alt text": ([shows_its_images, is_accessible], f'<img src="{PICTURE}" width="300">'),
    "equation not drawn": ([draws_its_equations], '<p><span class="math notranslate">\\(x\\)</span></p>'),
    "equation with an error": (
        [draws_its_equations],
        f'{MATHJAX}<p><span class="math notranslate">\\(\\frac{{1\\)</span></p>',
    ),
    "raw display equation": ([draws_its_equations], "<p>$$x = 1$$</p>"),
    "raw inline equation": ([draws_its_equations], "<p>Let $x$ be one.</p>"),
    "too wide": ([fits_the_screen], '<div style="width: 2000px">wide</div>'),
    "too wide once unfolded": (
        [fits_the_screen],
        '<details><summary>More</summary><p style="width: 2000px">wide</p></details>',
    ),
    "pale text": ([is_accessible], '<p style="color: #aaa; background: #fff">pale</p>'),
    "link without a name": ([is_accessible], '<a href="#x" style="padding: 2em"></a>'),
    "links too small to touch": (
        [is_accessible],
        '<ul style="font-size: 8px; line-height: 1"><li><a href="#a">a</a></li><li><a href="#b">b</a></li></ul>',
    ),
}


def complaining(browser: Browser, folder: Path, body: str, scheme: str = "light", width: int = 1300) -> list[Check]:
    page = folder / "page.html"
    page.write_text(FRAME.format(body=body), encoding="utf-8")
    with visit(browser, page, scheme, width) as seen:
        return [check for check in CHECKS if check(seen)]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_page_is_caught(browser: Browser, tmp_path: Path, fault: str) -> None:
    checks, body = BROKEN[fault]
    assert complaining(browser, tmp_path, body) == checks


def test_every_check_has_a_broken_page() -> None:
    assert {check for checks, _ in BROKEN.values() for check in checks} == set(CHECKS)


def test_a_good_page_passes(browser: Browser, tmp_path: Path) -> None:
    assert complaining(browser, tmp_path, GOOD) == []


def test_a_fault_of_the_dark_theme_alone_is_caught(browser: Browser, tmp_path: Path) -> None:
    body = "<style>@media (prefers-color-scheme: dark) { p { color: #444; background: #222 } }</style><p>gloomy</p>"
    assert complaining(browser, tmp_path, body, "light") == []
    assert complaining(browser, tmp_path, body, "dark") == [is_accessible]


def test_a_fault_of_the_narrow_page_alone_is_caught(browser: Browser, tmp_path: Path) -> None:
    body = '<div style="width: 700px">wide</div>'
    assert complaining(browser, tmp_path, body, width=1300) == []
    assert complaining(browser, tmp_path, body, width=400) == [fits_the_screen]
