"""The command ``fedlib``.

A command's work is in :mod:`fedlib.commands` and is imported when the command runs, because torch takes a second:
``fedlib --help`` does not wait for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer
from typer.main import get_command

from fedlib import __version__
from fedlib.commands.fields import Grouped, takes
from fedlib.commands.options import ReproduceOptions, RunOptions, TuneOptions
from fedlib.errors import InputError

# typer brings its own copy of click from some version on, so its exceptions are reached through what it exports.
ClickException = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

app = typer.Typer(name="fedlib", add_completion=False, rich_markup_mode=None)
data = typer.Typer(name="data", help="List, fetch and check data sets.")
app.add_typer(data)


@app.callback(invoke_without_command=True)
def top(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Federated recommendation: train, tune and compare models."""
    if version:
        print(f"fedlib {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


@app.command("run", cls=Grouped)
@takes(RunOptions)
def run_command(options: RunOptions) -> None:
    """Train one model and evaluate it."""
    from fedlib.commands.run import run

    run(options)


@app.command("tune", cls=Grouped)
@takes(TuneOptions)
def tune_command(options: TuneOptions) -> None:
    """Choose learning rates on validation data; `fedlib run` reads the table this writes."""
    from fedlib.commands.tune import tune

    tune(options)


@app.command("reproduce", cls=Grouped)
@takes(ReproduceOptions)
def reproduce_command(options: ReproduceOptions) -> None:
    """Run the cells of a table and keep a row of each run; finished rows are not run again."""
    from fedlib.commands.reproduce import reproduce

    reproduce(options)


@data.command("list")
def list_command() -> None:
    """Say which data sets have a name, where they are, and their licences."""
    from fedlib.commands.data import show_list

    show_list()


@data.command("fetch")
def fetch_command(name: str) -> None:
    """Fetch a data set from its publisher, unless it is here."""
    from fedlib.commands.data import show_fetched

    show_fetched(name)


@data.command("check")
def check_command(name: str) -> None:
    """Read a data set, or a folder of your own, and say what is in it."""
    from fedlib.commands.data import show_check

    show_check(name)


@app.command("bench")
def bench_command(only: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one.")] = None) -> None:
    """Measure what things cost (needs the source checkout)."""
    from fedlib.commands.bench import bench

    bench(only)


@app.command("doctor")
def doctor_command() -> None:
    """Say which versions, devices, encoders and data sets are here."""
    from fedlib.commands.doctor import doctor

    doctor()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 2: a mistake in the input, told in one line on standard error. 130: interrupted. 1: out of memory, or
    nobody reads the output. Anything else that goes wrong is a defect and shows its traceback.
    """
    try:
        code = get_command(app).main(arguments, prog_name="fedlib", standalone_mode=False) or 0
        sys.stdout.flush()
    except ClickException as err:
        return fail(usage(err), 2)
    except InputError as err:
        return fail(str(err), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's own flush is quiet
        return 1
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        return fail("Out of memory: choose a smaller --chunk, --dim or --batch.", 1)
    return fail("Interrupted.", code) if code == 130 else code


def usage(err: typer.BadParameter) -> str:
    """What typer says about a line it cannot read, with the commands there are if it is the command that is wrong."""
    message = err.format_message()
    commands = getattr(getattr(err.ctx, "command", None), "commands", None)
    return f"{message} The commands are {', '.join(commands)}." if commands and "command" in message else message


def fail(message: str, code: int) -> int:
    """Say in one line why, and return the exit code."""
    print("Error: " + " ".join(message.split()), file=sys.stderr)
    return code


def is_out_of_memory(err: Exception) -> bool:
    """Whether memory ran out, on the CPU or on a GPU."""
    return isinstance(err, MemoryError) or "can't allocate memory" in str(err) or "out of memory" in str(err)
