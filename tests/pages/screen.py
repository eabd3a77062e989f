"""Checks of a page in a real browser.

``visit`` opens a page as a file, by default with everything that unfolds unfolded. Each check is a function of a visit
and returns its complaints, one sentence each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route

SETTINGS = [("light", 1300), ("dark", 1300), ("light", 400), ("dark", 400)]
AXE = {"resultTypes": ["violations"], "preload": False, "rules": {"target-size": {"enabled": True}}}

# The page answers what unfolds (reach.js) before the next frame but one is drawn.
UNFOLD = """() => {
  document.querySelectorAll('details').forEach(box => { box.open = true });
  document.querySelectorAll('.toggle-hidden').forEach(box => box.classList.remove('toggle-hidden'));
  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())));
}"""

# The colour of a piece of code follows from its kind, so one of each kind is enough. Thousands take axe many seconds.
THIN_CODE = """() => {
  const seen = new Set();
  for (const piece of document.querySelectorAll('.highlight span[class]')) {
    const kind = `${piece.closest('.highlight').parentElement.className} ${piece.className}`;
    if (seen.has(kind)) piece.replaceWith(...piece.childNodes);
    seen.add(kind);
  }
}"""

DRAWN = "() => window.MathJax?.startup?.promise?.then(() => true) ?? true"

BAD_EQUATIONS = r"""() => {
  const short = node => node.textContent.trim().slice(0, 60);
  const formulas = [...document.querySelectorAll('.math.notranslate')];
  const undrawn = formulas.filter(node => !node.querySelector('mjx-container svg path, mjx-container svg use'));
  const wrong = [...document.querySelectorAll('mjx-merror, [data-mml-node="merror"]')];
  const walker = document.createTreeWalker(document.querySelector('article') ?? document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const outside = !walker.currentNode.parentElement.closest('pre, code, script, style, .math, mjx-container');
    if (outside && /\$\$|\\[(\[]|\$\S[^$]*\$/.test(walker.currentNode.data)) raw.push(walker.currentNode);
  }
  return [...undrawn.map(n => 'not drawn: ' + short(n)), ...wrong.map(n => 'error in: ' + short(n)),
          ...raw.map(n => 'raw: ' + short(n))];
}"""

BAD_IMAGES = """() => [...document.images]
  .filter(image => !image.complete || image.naturalWidth === 0 || !image.alt.trim())
  .map(image => `${image.getAttribute('src')}: width ${image.naturalWidth}, alt "${image.alt}"`)"""

TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.body.querySelectorAll('*')].filter(node => node.getBoundingClientRect().right > width + 1);
  return [`${document.documentElement.scrollWidth} px on ${width}: ` +
          wide.slice(0, 3).map(node => node.outerHTML.slice(0, 80)).join(' | ')];
}"""


@dataclass
class Visit:
    """An open page, with the errors it reported and the addresses it asked for outside this machine."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@contextmanager
def visit(
    browser: Browser, path: Path, scheme: str = "light", width: int = 1300, unfold: bool = True
) -> Iterator[Visit]:
    # With motion a colour may be looked at half way between two themes, or while a cell that was opened fades in.
    context = browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 1000}
    )
    seen = Visit(context.new_page())

    def refuse(route: Route) -> None:
        seen.foreign.append(route.request.url)
        route.abort()

    context.route(re.compile(r"^(?!file:|data:|blob:|about:)"), refuse)
    seen.page.on("console", lambda message: message.type == "error" and seen.errors.append(message.text))
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    try:
        seen.page.goto(path.as_uri())
        seen.page.evaluate(DRAWN)
        if unfold:
            seen.page.evaluate(UNFOLD)
        yield seen
    finally:
        context.close()


def reports_no_error(seen: Visit) -> list[str]:
    return [f"the browser reports: {error}" for error in seen.errors]


def asks_nobody(seen: Visit) -> list[str]:
    return [f"the page asks for {address}" for address in seen.foreign]


def draws_its_equations(seen: Visit) -> list[str]:
    return [f"equation {complaint}" for complaint in seen.page.evaluate(BAD_EQUATIONS)]


def shows_its_images(seen: Visit) -> list[str]:
    return [f"image {complaint}" for complaint in seen.page.evaluate(BAD_IMAGES)]


def fits_the_screen(seen: Visit) -> list[str]:
    return [f"the page scrolls sideways, {complaint}" for complaint in seen.page.evaluate(TOO_WIDE)]


def is_accessible(seen: Visit) -> list[str]:
    """No serious or critical finding of axe."""
    seen.page.evaluate(THIN_CODE)
    found = Axe().run(seen.page, options=AXE).response["violations"]
    return [
        f"axe {rule['id']} at {' '.join(map(str, node['target']))}: {node['html'][:100]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


# The last one changes the page.
CHECKS = [reports_no_error, asks_nobody, draws_its_equations, shows_its_images, fits_the_screen, is_accessible]
