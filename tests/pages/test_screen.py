"""Every built page in a real browser: light and dark, wide and as narrow as a telephone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.pages.files import BOOK, PAGES
from tests.pages.screen import CHECKS, SETTINGS, visit


@pytest.mark.parametrize(("scheme", "width"), SETTINGS)
@pytest.mark.parametrize("page", PAGES)
def test_page(browser: Browser, page: str, scheme: str, width: int) -> None:
    with visit(browser, BOOK / page, scheme, width) as seen:
        assert [complaint for check in CHECKS for complaint in check(seen)] == []
