"""The parser against good, bad and hostile answers."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedlib.prototypes.answers import READ, parse
from fedlib.prototypes.prompts import LONGEST, WORDS

FIVE = ("Action adventure", "Romantic comedy", "Sci-fi", "Children's films", "War drama")
LINES = "\n".join(FIVE)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(FIVE),
        "Here are [5] prototypes:\n```json\n" + json.dumps(FIVE, indent=2) + "\n```\nI hope [this] helps!",
        json.dumps({"prototypes": FIVE, "note": ["other"]}),
        json.dumps([{"prototype": text, "count": 3} for text in FIVE]),
        json.dumps({str(place): text for place, text in enumerate(FIVE)}),
        json.dumps(FIVE)[:-1] + ",",  # cut short
        str(list(FIVE)),  # Python's quotes, with an apostrophe among them
        "They are “Action adventure”, “Romantic comedy”, “Sci-fi”, “Children's films” and “War drama”.",
        LINES,
        "Sure, here you are!\n\n" + "\n".join(f"{n}. {text}." for n, text in enumerate(FIVE, 1)) + "\nEnjoy",
        "\n".join(f"**{n}) {text}**" for n, text in enumerate(FIVE, 1)),
        "Prototypes:\n" + "\n".join(f"  • {text}" for text in FIVE),
        json.dumps([f"- {text}\u0000" for text in FIVE]),
        json.dumps([[1, 2], *FIVE, None, 3.5, {"x": "y"}, ["nested"]]),
        json.dumps([text.replace(" ", " \n\t ") for text in FIVE]),
        json.dumps([*FIVE, *(text.upper() for text in FIVE), "", "  ", "123", "x" * 1000, "one " * (WORDS + 1)]),
    ],
)
def test_five_prototypes_however_they_are_dressed(answer: str) -> None:
    assert parse(answer, (5, 15))[0] == FIVE


def test_what_was_dropped_is_told() -> None:
    many = [*FIVE, "sci-fi", "Toy Story (1995)", None, "a " * 9, *(f"kind {n}" for n in range(20))]
    prototypes, note = parse(json.dumps(many), (5, 7), names=["toy story (1995)", "kind"])
    assert prototypes == (*FIVE, "kind 0", "kind 1")
    long = "1 longer than 8 words or 80 characters"
    assert note == f"Dropped 18 above 7, {long}, 1 named like an item, 1 repeated and 1 without text."
    assert parse(json.dumps(FIVE), (5, 15)) == (FIVE, "")


def test_marks_of_a_chat_template_do_not_come_through() -> None:
    assert parse('["<|im_end|> Drama", "[INST] War \\u2028", "</s>Comedy"]', (1, 5))[0] == (
        "im_end Drama",
        "INST War",
        "s Comedy",
    )


@pytest.mark.parametrize("answer", ["", " \n ", "\0\0", "[]", "[[], {}, null]", "[1, 2, 3]", '{"a": 1}', "```\n```"])
def test_an_answer_without_prototypes_has_none(answer: str) -> None:
    assert parse(answer, (5, 15))[0] == ()


@given(st.one_of(st.text(), st.text("[\"“”',:{}]\\ \n1.-aé"), st.from_type(object).map(repr)))
@example("[" * 5000)
@example('["' + "\\ud800" + '"]')
@example('"\ud800"')
@example("[1" + "0" * 5000 + ', "a"]')
def test_no_text_breaks_it_and_what_comes_out_is_within_bounds(answer: str) -> None:
    prototypes, note = parse(answer, (5, 15))
    assert len(prototypes) <= 15 and len({text.casefold() for text in prototypes}) == len(prototypes)
    assert all(0 < len(text) <= LONGEST and len(text.split()) <= WORDS for text in prototypes)
    assert not set('"<>[]{}|\n\0') & set("".join(prototypes)) and note.count("\n") == 0
    assert not prototypes or parse(json.dumps(prototypes), (5, 15)) == (prototypes, "")


@pytest.mark.parametrize(
    "piece",
    ["[", "]", '"', "“", "'", "' ", " '", '["a', '["a"', '"a" ', "\\", "1. ", " ", "\n", "[[1],", "a", "{", "'a "],
)
def test_the_time_is_linear_and_bounded(piece: str) -> None:
    began = time.perf_counter()
    parse(piece * (50 * READ // len(piece)), (5, 15))
    assert time.perf_counter() - began < 5  # a quadratic search would take minutes


def test_ten_thousand_entries() -> None:
    prototypes, note = parse(json.dumps([f"kind {n} of thing" for n in range(10_000)]), (5, 15))
    assert len(prototypes) == 15 and "above 15" in note
