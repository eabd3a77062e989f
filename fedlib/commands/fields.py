"""What a field of the options says of itself, and how a command line is made of such fields.

A field is ``name: type = option(default, ...)``. All that has to be known of an option stands there: nothing else keeps
a list of options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from itertools import groupby
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand

from fedlib.commands.parsers import Kind

REQUIRED = MISSING
GROUPS = (  # in the order of the help; the last is that of all that belongs to no other
    "arguments", "data", "model", "items", "selection", "training", "privacy", "machine", "output", "options",
)  # fmt: skip
MUST, SHOULD = "must", "should"  # a row of the table of tuned rates has to agree, or had better
LOOP, LOCAL, SELECTOR = "federate", "LocalTraining", "PrototypeSelection"  # what takes an argument of the same name


@dataclass(frozen=True)
class Option:
    """An option: its group in the help, how its text is read (None: it is there or not), and what the help says.

    ``unless``: what happens without it, where the help is to say something else than the default; False: nothing.
    ``row``: whether a row of the table of tuned rates ``MUST`` agree on it with the run that reads it, or ``SHOULD``.
    ``to``: what it is an argument of under its own name. ``only``: another option, and the values of that with which
    this one means something.
    """

    group: str
    kind: Kind | None
    help: str
    unless: str | bool = True
    row: str = ""
    to: str = ""
    only: tuple[str, tuple[str, ...]] | None = None

    def read_by_typer(self, name: str, default: Any) -> Any:
        """The same for typer; an argument is what stands on the line without a name."""
        said: dict[str, Any] = {"help": self.help, "rich_help_panel": self.group}
        if self.kind is None:
            return typer.Option(default, flag(name), **said)
        make = typer.Argument if self.group == "arguments" else typer.Option
        return make(default, parser=self.kind.read, metavar=self.kind.shown, show_default=self.unless, **said)


def option(default: Any, *what: Any, **more: Any) -> Any:
    """A field with an :class:`Option`; ``default`` is ``REQUIRED`` where there is none."""
    return field(default=default, metadata={"option": Option(*what, **more)})


def options_of(options: Any) -> dict[str, Option]:
    """The options of a dataclass, or of an instance, by name."""
    return {f.name: f.metadata["option"] for f in fields(options) if f.metadata}


def passed(options: Any, to: str) -> dict[str, Any]:
    """The values of the options that ``to`` takes as arguments of the same name."""
    return {name: getattr(options, name) for name, option in options_of(options).items() if option.to == to}


def flag(name: str) -> str:
    """The option behind a name: ``lr_items`` is ``--lr-items``."""
    return "--" + name.replace("_", "-")


class Grouped(TyperCommand):
    """A command whose help shows the options in their groups, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group, and one for what belongs to none."""

        def place(parameter: Any) -> int:
            return GROUPS.index(parameter.rich_help_panel or "options")

        for at, group in groupby(sorted(self.get_params(ctx), key=place), key=place):
            with formatter.section(GROUPS[at].capitalize()):
                formatter.write_dl([said for one in group if (said := one.get_help_record(ctx))])


def takes(options: Any) -> Callable[[Callable[[Any], None]], Callable[..., None]]:
    """Turn a command that is a function of one dataclass into a function of its fields, which is what typer reads."""
    hints = get_type_hints(options)

    def parameter(name: str, option: Option) -> inspect.Parameter:
        default = option.read_by_typer(name, getattr(options, name, ...))  # typer's sign for what has to be given
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [parameter(name, option) for name, option in options_of(options).items()]

    def decorate(command: Callable[[Any], None]) -> Callable[..., None]:
        def call(ctx: typer.Context, **values: Any) -> None:
            source = {name: ctx.get_parameter_source(name) for name in values}
            given = frozenset(name for name in values if getattr(source[name], "name", "") == "COMMANDLINE")
            command(options(**values, given=given))

        call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        return call

    return decorate
