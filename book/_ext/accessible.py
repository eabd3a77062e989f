"""Mend what Sphinx and the theme leave unreadable for a screen reader.

Each repair answers a serious finding of axe, which ``make pages`` runs over every page. What colours and the keyboard
need is in custom.css and reach.js.
"""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

REPAIRS = [
    # A long signature is laid out as a definition list that defines nothing.
    (re.compile(r'<dd>(?=<em class="sig-param">)'), '<dd role="none">'),
    (re.compile(r'<dl>(?=\s*<dd role="none">)'), '<dl role="none">'),
    # The entries of a bibliography have a role that ARIA has withdrawn, so its list counts as empty.
    (re.compile(r'(?<=class="citation")([^>]*) role="doc-biblioentry"'), r'\1 role="listitem"'),
]


def mend_body(body: str) -> str:
    for wrong, right in REPAIRS:
        body = wrong.sub(right, body)
    return body


def name_toggles(contents: BeautifulSoup) -> BeautifulSoup:
    """Say what each arrow in the table of contents unfolds; it has no text of its own."""
    for summary in contents.find_all("summary"):
        summary["aria-label"] = f"Pages of {summary.find_previous('a').get_text(strip=True)}"
    return contents


def mend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        context["body"] = mend_body(context["body"])
    contents = context["generate_toctree_html"]
    context["generate_toctree_html"] = lambda *args, **options: name_toggles(contents(*args, **options))


def setup(app: Sphinx) -> dict[str, Any]:
    # After the theme, which adds the function that draws the table of contents.
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
