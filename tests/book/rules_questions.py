"""Rules on the entry check and the quiz. Every public function of this file is a rule."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.book.chapter import Chapter, prose, section

OPTION = re.compile(
    r'^<details class="option"><summary>(?P<text>[^\n]+)</summary>\n\n'
    r"\*\*(?P<verdict>Right|No)\.\*\* (?P<why>(?:(?!<details|</details>).)+?)\n\n</details>$",
    flags=re.DOTALL | re.MULTILINE,
)
SECTIONS = ("Entry check", "Quiz")


@dataclass(frozen=True)
class Question:
    """One question; ``options`` are its (text, verdict, why) in the right form, ``blocks`` counts all it tries."""

    name: str
    number: int
    text: str
    options: list[tuple[str, str, str]]
    blocks: int


def entry_check_has_three_questions(chapter: Chapter) -> list[str]:
    return _count(chapter, "Entry check", 3, 3)


def quiz_has_five_to_eight_questions(chapter: Chapter) -> list[str]:
    return _count(chapter, "Quiz", 5, 8)


def questions_are_numbered(chapter: Chapter) -> list[str]:
    numbers = {name: [question.number for question in _questions(chapter, name)] for name in SECTIONS}
    return [
        f"the questions of {name} are numbered {found}"
        for name, found in numbers.items()
        if found != list(range(1, len(found) + 1))
    ]


def options_have_the_form(chapter: Chapter) -> list[str]:
    """Each opens on its own, with empty lines around a verdict in bold and the reason for it."""
    return [
        f"{question.name} has {question.blocks} options, {len(question.options)} of them in the form that works"
        for question in _all(chapter)
        if question.blocks != len(question.options)
    ]


def questions_have_one_right_option_of_two_to_four(chapter: Chapter) -> list[str]:
    complaints = []
    for question in _all(chapter):
        right = sum(verdict == "Right" for _, verdict, _ in question.options)
        if right != 1:
            complaints.append(f"{question.name} has {right} right options, but must have one")
        if not 2 <= question.blocks <= 4:
            complaints.append(f"{question.name} has {question.blocks} options, but must have 2 to 4")
    return complaints


def options_are_explained(chapter: Chapter) -> list[str]:
    """In a sentence at least: some words and a full stop."""
    return [
        f"{question.name} does not explain the option {text!r} in a sentence"
        for question in _all(chapter)
        for text, _, why in question.options
        if len(why.split()) < 3 or not re.search(r"[.!?]\)?$", why)
    ]


def options_need_no_markdown(chapter: Chapter) -> list[str]:
    """What opens an option is plain HTML: neither maths nor Markdown is rendered there."""
    return [
        f"{question.name} has Markdown or maths in the option {text!r}: write Unicode and HTML"
        for question in _all(chapter)
        for text, _, _ in question.options
        if re.search(r"[$`]|\*\*", text)
    ]


def quiz_reads_a_figure(chapter: Chapter) -> list[str]:
    texts = [question.text for question in _questions(chapter, "Quiz")]
    return [] if any("{numref}`fig-" in text for text in texts) else ["no question of the quiz refers to a figure"]


def blocks_that_open_are_options_or_hints(chapter: Chapter) -> list[str]:
    """Others would look like nothing in the book."""
    tags = re.findall(r"<details[^>]*>", prose(chapter))
    return [
        f"there is a {tag}, but only the classes option and hint are styled"
        for tag in tags
        if tag not in ('<details class="option">', '<details class="hint">')
    ]


def _questions(chapter: Chapter, name: str) -> list[Question]:
    """The questions of a section, each from its bold number to the next."""
    _, *parts = re.split(r"^\*\*(\d+)\.\*\* ", section(chapter, name), flags=re.MULTILINE)
    return [
        Question(
            name=f"question {number} of {name}",
            number=int(number),
            text=text.partition("<details")[0],
            options=[(option["text"], option["verdict"], option["why"]) for option in OPTION.finditer(text)],
            blocks=text.count("<details"),
        )
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def _all(chapter: Chapter) -> list[Question]:
    return [question for name in SECTIONS for question in _questions(chapter, name)]


def _count(chapter: Chapter, name: str, least: int, most: int) -> list[str]:
    count = len(_questions(chapter, name))
    return [] if least <= count <= most else [f"{name} has {count} questions, but must have {least} to {most}"]
