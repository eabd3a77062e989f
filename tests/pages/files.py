"""Rules about the text of a built page, which need no browser.

Each is a function of the page's tags and returns its complaints, one sentence each.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / "_build" / "html"
# index.html only sends the reader on; what lies in _static belongs to the theme.
PAGES = sorted(
    path.relative_to(BOOK).as_posix()
    for path in BOOK.rglob("*.html")
    if path.relative_to(BOOK).parts[0] not in {"_static", "index.html"}
)
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]

Tag = tuple[str, dict[str, str | None]]
LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest"}


class _Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[Tag] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def read(html: str) -> list[Tag]:
    """All start tags with their attributes, in order."""
    collector = _Collector()
    collector.feed(html)
    return collector.tags


def _loads(tag: str, attributes: dict[str, str | None]) -> str:
    """The address that the browser fetches for this tag by itself, or nothing."""
    if tag == "link":
        return attributes.get("href") or "" if LOADED_LINKS & set((attributes.get("rel") or "").split()) else ""
    return attributes.get("src") or attributes.get("data") or ""


def loads_nothing_from_elsewhere(tags: list[Tag]) -> list[str]:
    addresses = [(tag, _loads(tag, attributes)) for tag, attributes in tags]
    return [f"<{tag}> loads {where}" for tag, where in addresses if re.match(r"(\w+:)?//", where)]


def has_alt_text(tags: list[Tag]) -> list[str]:
    """Every image says what is to be seen; a file's name does not."""
    images = [attributes for tag, attributes in tags if tag == "img"]
    bad = [image for image in images if re.fullmatch(r"|\S+\.\w{3,4}", (image.get("alt") or "").strip())]
    return [f"the image {image.get('src')} has no alt text but {image.get('alt')!r}" for image in bad]


def has_no_data_images(tags: list[Tag]) -> list[str]:
    """Pictures are files, so that a browser can keep them and the page stays small."""
    sources = [attributes.get("src") or "" for tag, attributes in tags if tag == "img"]
    return [f"an image is written into the page: {source[:40]}" for source in sources if source.startswith("data:")]


RULES = [loads_nothing_from_elsewhere, has_alt_text, has_no_data_images]
