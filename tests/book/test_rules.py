"""Every chapter keeps every rule, and every rule notices when something breaks it.

The public functions of ``rules_*.py`` are the rules: each takes a chapter and returns its complaints. What they notice
is listed by ``pytest tests/book/test_rules.py --collect-only -q -k notices``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from tests.book import (
    rules_anatomy,
    rules_exercises,
    rules_figures,
    rules_files,
    rules_numbers,
    rules_outputs,
    rules_questions,
)
from tests.book.breaking import Broken, Change, Rule, written
from tests.book.broken_run import FILES, OUTPUTS, REAL
from tests.book.broken_tasks import EXERCISES, QUESTIONS
from tests.book.broken_text import ANATOMY, FIGURES, NUMBERS
from tests.book.chapter import NOTEBOOKS, Chapter, read
from tests.book.example import example, text

MODULES = (
    rules_anatomy, rules_exercises, rules_figures, rules_files, rules_numbers, rules_outputs, rules_questions,
)  # fmt: skip
BROKEN = [*FILES, *OUTPUTS, *ANATOMY, *FIGURES, *NUMBERS, *EXERCISES, *QUESTIONS]
SILENT = '# %% tags=["skip-execution"]\n1 / 0\n\n'
FAILING = '# %% tags=["raises-exception"]\n1 / 0\n\n'
ALLOWED = {
    "the package before what leaves the device": written(
        "# ## What leaves the device?\n#\n# Nothing does.\n#\n# ## From the blank cell to the package",
        "# ## From the blank cell to the package\n#\n# ## What leaves the device?\n#\n# Nothing does.",
    ),
    "a cell that is not to run": written("# %%\nrows", f"{SILENT}# %%\nrows"),
    "a cell that is to fail": written("# %%\nrows", f"{FAILING}# %%\nrows"),
    "numbers that are no results": written(
        "It breaks.", "It breaks at 5 % of 1,682 items for K = 1.5, see Table 2.13."
    ),
    "no colour at all": written("color=plots.COLOURS[0]", 'mfc="none"'),
    "a word that is also a colour": written("color=plots.COLOURS[0]", 'label="tan"'),
}


def rules_of(module: ModuleType) -> list[Rule]:
    functions = inspect.getmembers(module, inspect.isfunction)
    return [rule for name, rule in functions if rule.__module__ == module.__name__ and not name.startswith("_")]


RULES = [rule for module in MODULES for rule in rules_of(module)]


def complaining(chapter: Chapter) -> dict[str, list[str]]:
    """The complaints of each rule that has some."""
    return {rule.__name__: complaints for rule in RULES if (complaints := rule(chapter))}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_chapter_keeps(rule: Rule, path: Path) -> None:
    complaints = rule(read(path))
    assert not complaints, "\n".join(complaints)


def test_the_example_keeps_every_rule() -> None:
    assert not complaining(example(text()))


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_no_rule_minds(change: Change) -> None:
    assert not complaining(change())


def names_the_rule(broken: Broken) -> str:
    return f"{broken.rule.__name__}: {broken.what}"


def assert_noticed(broken: Broken) -> None:
    """By its rule, and by no other rule than those that have to."""
    assert complaining(broken.change()).keys() == {rule.__name__ for rule in (broken.rule, *broken.also)}


@pytest.mark.parametrize("broken", BROKEN, ids=names_the_rule)
def test_the_rule_notices(broken: Broken) -> None:
    assert_noticed(broken)


@pytest.mark.parametrize("broken", REAL, ids=names_the_rule)
def test_the_rule_notices_in_real_data(broken: Broken, real_data: Path) -> None:
    assert_noticed(broken)


def test_every_rule_has_something_to_notice() -> None:
    assert {rule.__name__ for rule in RULES} == {broken.rule.__name__ for broken in BROKEN + REAL}
