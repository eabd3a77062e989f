"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder with the real data sets, named by ``FEDLIB_DATA``; without it the test is skipped."""
    folder = os.environ.get("FEDLIB_DATA")
    if not folder:
        pytest.skip("needs real data: set FEDLIB_DATA to a folder with ml-100k in it")
    return Path(folder).resolve()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under ``FEDLIB_REQUIRE_DATA`` a skipped real-data test fails, whatever it was skipped for.

    Continuous integration sets it where the data is present, so that a green run means those tests ran.
    """
    report = yield
    wanted = os.environ.get("FEDLIB_REQUIRE_DATA") and "real_data" in getattr(item, "fixturenames", ())
    if wanted and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"FEDLIB_REQUIRE_DATA is set, yet this real-data test was skipped: {report.longrepr}"
    return report
