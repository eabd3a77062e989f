"""What the checks of the built pages need: the pages, and a browser to look at them with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.pages.files import BOOK

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No sandbox, because continuous integration runs as root; the others keep the browser from calling its maker.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
]


def pytest_configure() -> None:
    """One sentence about what is missing, instead of one failure for each page."""
    if not (BOOK / "index.html").exists():
        raise pytest.UsageError("There is no built book in _build/html: run make book first.")
    if CHROMIUM is None:
        raise pytest.UsageError("No Chromium found: install one, for instance with apt-get install chromium.")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
