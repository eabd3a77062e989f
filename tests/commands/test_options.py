"""The fields of the options are the only list of them: what they say of themselves is true, and the help shows it."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from fedlib import LocalTraining, PrototypeSelection, federate
from fedlib.cli import main
from fedlib.commands.fields import GROUPS, LOCAL, LOOP, SELECTOR, flag, options_of
from fedlib.commands.models import MODELS, UNUSED
from fedlib.commands.options import Options, RunOptions, TuneOptions

EVERY = [(cls, name, option) for cls in (RunOptions, TuneOptions) for name, option in options_of(cls).items()]
SECTION = re.compile(r"^(\w+):\n((?:  .*\n|\n)+)", flags=re.MULTILINE)


def sections(capsys: pytest.CaptureFixture[str], command: str) -> dict[str, list[str]]:
    """The sections of a command's help, and the options of each."""
    assert main([command, "--help"]) == 0
    found = SECTION.findall(capsys.readouterr().out)
    return {title: re.findall(r"^  (--[a-z-]+)", text, flags=re.MULTILINE) for title, text in found}


@pytest.mark.parametrize(("command", "cls"), [("run", RunOptions), ("tune", TuneOptions)])
def test_the_help_shows_each_option_once_and_in_its_group(
    capsys: pytest.CaptureFixture[str], command: str, cls: type[Options]
) -> None:
    shown = sections(capsys, command)
    asked = options_of(cls)
    used = {option.group for option in asked.values()}
    assert list(shown) == [group.capitalize() for group in GROUPS if group in used | {"options"}]
    assert shown.pop("Options") == ["--help"]
    for title, flags in shown.items():
        assert Counter(flags) == Counter(flag(name) for name, o in asked.items() if o.group == title.lower())


def test_the_groups_of_run_are_what_a_reader_looks_for(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sections(capsys, "run")
    assert list(shown)[:-1] == ["Data", "Model", "Items", "Selection", "Training", "Privacy", "Machine", "Output"]
    assert shown["Privacy"] == ["--protect", "--clip", "--dp-epsilon"]
    assert {"--dataset", "--stores", "--augment"} <= {*shown["Data"]} and "--chunk" in shown["Machine"]


def test_an_argument_stands_before_the_options_of_reproduce(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(sections(capsys, "reproduce")) == ["Arguments", "Options"]


@pytest.mark.parametrize(("to", "takes"), [(LOOP, federate), (LOCAL, LocalTraining), (SELECTOR, PrototypeSelection)])
def test_what_is_passed_under_its_own_name_is_an_argument_of_that_name(to: str, takes: type) -> None:
    sent = {name for _, name, option in EVERY if option.to == to}
    assert sent
    assert sent <= inspect.signature(takes).parameters.keys()
    assert {option.to for _, _, option in EVERY} == {"", LOOP, LOCAL, SELECTOR}


def test_an_option_that_is_for_some_values_of_another_names_values_there_are() -> None:
    for cls, name, option in EVERY:
        if option.only:
            kind = options_of(cls)[option.only[0]].kind
            assert kind is not None
            for value in option.only[1]:
                assert kind.read(value) == value, name
            assert getattr(cls, name) in (None, False), (
                "without a default that means nothing it would always be refused"
            )


def test_what_a_model_does_not_use_are_options() -> None:
    known = {name for _, name, _ in EVERY}
    assert UNUSED.keys() <= MODELS.keys()
    for names in UNUSED.values():
        assert {*names} <= known
