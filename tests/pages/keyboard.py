"""Checks of a page with nothing but the keyboard. Each returns its complaints, one sentence each."""

from __future__ import annotations

from playwright.sync_api import Page

# What a reader of a chapter unfolds.
WANTED = "details.option > summary, details.hint > summary, .solution button.toggle-button"
STEPS = 2000

FOCUSED = """wanted => {
  const here = document.activeElement;
  if (here === document.body) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(here);
  const ringed = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
  return [[...document.querySelectorAll(wanted)].indexOf(here), ringed];
}"""


def is_reached_by_tab(page: Page) -> list[str]:
    """Tab leads to everything that unfolds, and a ring shows where the focus is."""
    ringed: dict[int, bool] = {}
    for _ in range(STEPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED, WANTED)
        if focused is None:  # past the last one
            break
        ringed[focused[0]] = focused[1]
    names = page.locator(WANTED).all_inner_texts()
    missed = [f"Tab does not reach {name!r}" for index, name in enumerate(names) if index not in ringed]
    return missed + [f"no ring around {name!r}" for index, name in enumerate(names) if not ringed.get(index, True)]


def unfolds_by_enter(page: Page, control: str, content: str) -> list[str]:
    """Enter on the first ``control`` shows ``content``, which was hidden."""
    hidden = page.locator(content).first
    if hidden.is_visible():
        return [f"{content} is open before anybody opened it"]
    page.locator(control).first.focus()
    page.keyboard.press("Enter")
    return [] if hidden.is_visible() else [f"Enter on {control} does not show {content}"]
