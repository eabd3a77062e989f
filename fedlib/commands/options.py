"""The options of ``run``, ``tune`` and ``reproduce``, written once, and the values they accept."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from fedlib.commands.models import MODELS, SELECTORS
from fedlib.errors import InputError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
LARGEST = 2**31 - 1
GROWTH = 1000
GROWS = f"While the largest is the best, one half a decade higher joins, up to {GROWTH} times the largest given."
ENCODER = "What reads the texts of --items semantic: sentence-t5, minilm, lsa, or a folder of your own."
READINGS = ("hard_min", "literal_desc", "intent")
LLM = "What writes prototypes: recorded, keyword, or a language model by name, folder or server."
RECORD = "Another model's record: the cells with recorded prototypes, under its name."
PROTECT = ("none", "secagg", "user-dp", "local-dp", "noise")
PARTITIONS = ("random", "uniform", "beta")
VARIANTS, POOLS = ("original", "fedsllm", "code"), ("unobserved", "untouched")
T = TypeVar("T", "RunOptions", "TuneOptions", "ReproduceOptions")


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text} is not a number.")
    return value


def rate(text: str) -> float:
    """A learning rate: a positive number."""
    if number(text) <= 0:
        raise typer.BadParameter(f"{text} is not a positive number.")
    return float(text)


def decay(text: str) -> float:
    """A weight decay: zero or a positive number."""
    if number(text) < 0:
        raise typer.BadParameter(f"{text} is neither 0 nor a positive number.")
    return float(text)


def factor(text: str) -> float:
    """A factor in (0, 1]."""
    if not 0 < number(text) <= 1:
        raise typer.BadParameter(f"{text} is not a factor in (0, 1].")
    return float(text)


def participants(text: str) -> float:
    """Clients per round: a share in (0, 1], or a whole number above 1."""
    value = number(text)
    if value <= 0 or (value > 1 and value != int(value)):
        raise typer.BadParameter(f"{text} is neither a share in (0, 1] nor a whole number above 1.")
    return value


def memory(text: str) -> float:
    """A number of bytes, such as 500MB, 4GB or 2GiB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", str(text).strip().upper())
    if not found or found[2] not in UNITS or float(found[1]) == 0:
        raise typer.BadParameter(f"{text} is not a size such as 500MB, 4GB or 2GiB.")
    return float(found[1]) * UNITS[found[2]]


def numbers(option: str, text: str) -> list[float]:
    """The positive numbers of a list such as 0.1,1, ascending and each once; InputError names the ``option``."""
    try:
        return sorted({rate(part.strip()) for part in text.split(",")})
    except typer.BadParameter:
        raise InputError(f"{option} must be a list of positive numbers such as 0.01,0.1,1, not {text!r}.") from None


def cutoffs(text: str) -> tuple[int, ...]:
    """The K of the metrics from a list such as 5,10,20, ascending and each once."""
    if not re.fullmatch(r"[1-9]\d{0,5}(\s*,\s*[1-9]\d{0,5})*", text.strip()):
        raise InputError(f"--topk must be a list of whole numbers from 1 to 999999 such as 5,10,20, not {text!r}.")
    return tuple(sorted({int(part) for part in text.split(",")}))


def words(*allowed: str, help: str, default: str | bool = True) -> Any:
    """An option that takes one of a few words; ``default`` is what the help says about it."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}.")
        return text

    return typer.Option(parser=parse, metavar="|".join(allowed), help=help, show_default=default)


def parsed(parse: Callable[[str], float], metavar: str, help: str, default: str | bool = True) -> Any:
    """An option whose text ``parse`` turns into a number."""
    return typer.Option(parser=parse, metavar=metavar, help=help, show_default=default)


def whole(help: str, least: int = 1, most: int = LARGEST, default: str | bool = True) -> Any:
    """An option that takes a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", str(text)) or not least <= int(text) <= most:
            upper = f"from {least} to {most}" if most < LARGEST else f"of at least {least}"
            raise typer.BadParameter(f"{text} is not a whole number {upper}.")
        return int(text)

    return typer.Option(parser=parse, metavar="N", help=help, show_default=default)


def path(metavar: str, help: str) -> Any:
    """An option that takes a path."""
    return typer.Option(parser=Path, metavar=metavar, help=help)


def text(metavar: str, help: str, default: str | bool = True) -> Any:
    """An option that takes any text."""
    return typer.Option(parser=str, metavar=metavar, help=help, show_default=default)


def argument(metavar: str, help: str) -> Any:
    """What stands on the line without an option's name."""
    return typer.Argument(parser=str, metavar=metavar, help=help)


def switch(name: str, help: str) -> Any:
    """An option that is there or not."""
    return typer.Option(name, help=help)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``run`` and ``tune`` have in common. ``given`` names the options that stood on the command line."""

    dataset: Annotated[str, text("NAME|DIR", "A data set (see `fedlib data list`), or a folder of your own.")]
    backbone: Annotated[str, words(*MODELS, help="The model.")]
    variant: Annotated[str | None, words(*VARIANTS, help="Whose form of the model.", default="original")] = None
    local_only: Annotated[bool, switch("--local-only", "Share nothing: every client trains alone.")] = False
    items: Annotated[str, words("id", "semantic", help="Items start from random numbers, or from their texts.")] = "id"
    encoder: Annotated[str | None, text("NAME|DIR", ENCODER, "sentence-t5")] = None
    select: Annotated[str, words("none", *SELECTORS, help="Which of its samples a client trains on.")] = "none"
    ratio: Annotated[float | None, parsed(factor, "SHARE", "How many of them, in (0, 1]; for --select.", "none")] = None
    reading: Annotated[str | None, words(*READINGS, help="How to read FedSLLM's score.", default="none")] = None
    llm: Annotated[str | None, text("NAME|DIR|URL#MODEL", LLM, "none")] = None
    prototypes: Annotated[Path | None, path("FILE", "Whose answers --llm recorded gives, not the package's.")] = None
    n_prototypes: Annotated[int | None, whole("Prototypes at first.", least=5, most=15, default="10")] = None
    update_every: Annotated[int | None, whole("Rounds between updates of the prototypes.", default="never")] = None
    sampled: Annotated[bool, switch("--sampled", "Draw samples by their score, not the best of them.")] = False
    protocol: Annotated[str, words("loo99", "full", "ratio80", help="How the data is split and ranked.")] = "loo99"
    stores: Annotated[int | None, whole("Stores that hold the users, as clients.", default="none")] = None
    partition: Annotated[str | None, words(*PARTITIONS, help="Users to stores: by degree but for random.")] = None
    clients_per_round: Annotated[float, parsed(participants, "SHARE|NUMBER", "A share, or a number above 1.")] = 1.0
    rounds: Annotated[int, whole("Rounds of training.")] = 100
    local_epochs: Annotated[int, whole("Passes over a client's samples in a round.")] = 1
    batch: Annotated[int, whole("Samples in a local batch.")] = 256
    negatives: Annotated[int, whole("Sampled negatives for each positive.", most=1000)] = 4
    negatives_from: Annotated[str | None, words(*POOLS, help="Which items they are.", default="by protocol")] = None
    optimizer: Annotated[str | None, words("sgd", "adam", help="The clients' optimiser.", default="by backbone")] = None
    weight_decay: Annotated[float, parsed(decay, "NUMBER", "L2 term of the local training.")] = 0.0
    lr_decay: Annotated[float, parsed(factor, "FACTOR", "What multiplies the rates after each round.")] = 1.0
    dim: Annotated[int | None, whole("Width of the vectors.", most=16384, default="by backbone")] = None
    evaluate_every: Annotated[int, whole("Rounds between two evaluations.")] = 1
    best: Annotated[str | None, text("NAME@K", "Keep the round best on validation by it.", "the last round")] = None
    seed: Annotated[int, whole("Seed of training.", least=0)] = 0
    split_seed: Annotated[int, whole("Seed of the split, so that training seeds share candidates.", least=0)] = 0
    device: Annotated[str, words("auto", "cpu", "cuda", help="Where to train.")] = "auto"
    executor: Annotated[str, words("vectorized", "loop", help="Many clients at once, or one by one.")] = "vectorized"
    chunk: Annotated[int | None, whole("Clients trained at once.", default="by device")] = None
    threads: Annotated[int, whole("Threads of this process.", most=1024)] = 1
    max_memory: Annotated[float | None, parsed(memory, "SIZE", "What clients may keep: 4GB.", "all there is")] = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options of ``fedlib run``."""

    lr: Annotated[float | None, parsed(rate, "NUMBER", "Learning rate.", "tuned, else by backbone")] = None
    lr_items: Annotated[float | None, parsed(rate, "NUMBER", "That of item vectors; needs --lr.", "by backbone")] = None
    table: Annotated[Path | None, path("FILE", "A table of `fedlib tune`, read in place of fedlib's own.")] = None
    step_decay: Annotated[float, parsed(factor, "FACTOR", "That after each local step; needs --lr.")] = 1.0
    stop: Annotated[float, parsed(decay, "NUMBER", "Change of loss that ends local epochs; needs --lr.")] = 0.0
    topk: Annotated[str, text("K,K,...", "The K of HR@K, NDCG@K and so on.")] = "5,10,20"
    protect: Annotated[str, words(*PROTECT, help="What may leave a device.")] = "none"
    clip: Annotated[float | None, parsed(rate, "NUMBER", "Bound of --protect on an update.", "by --protect")] = None
    dp_epsilon: Annotated[float | None, parsed(rate, "NUMBER", "Privacy of user-dp, local-dp.", "by --protect")] = None
    sampling: Annotated[str, words("fixed", "poisson", help="How a round's clients are drawn.")] = "fixed"
    own_tables_in: Annotated[Path | None, path("DIR", "A folder for clients' own item tables, not memory.")] = None
    checkpoint: Annotated[Path | None, path("DIR", "A folder to save the state in.")] = None
    checkpoint_every: Annotated[int, whole("Rounds between two checkpoints.")] = 10
    resume: Annotated[bool, switch("--resume", "Go on from the newest checkpoint, where there is one.")] = False
    out: Annotated[Path | None, path("FILE", "Write the result as JSON instead of printing a summary.")] = None


@dataclass(frozen=True, kw_only=True)
class TuneOptions(Options):
    """The options of ``fedlib tune``."""

    table: Annotated[Path, path("FILE", "The table to write; finished settings in it are not run again.")]
    grid: Annotated[str, text("LR,LR,...", f"Learning rates. {GROWS}")]
    grid_items: Annotated[str | None, text("LR,LR,...", f"Item learning rates. {GROWS}", "by backbone")] = None
    metric: Annotated[str, text("NAME@K", "The validation metric that decides.")] = "NDCG@10"


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """The argument and options of ``fedlib reproduce``."""

    table: Annotated[str, argument("TABLE", "The table.")]
    dataset: Annotated[str, text("NAME|DIR", "The data set.")] = "ml-100k"
    cells: Annotated[str | None, text("NAME,NAME,...", "Only cells whose names contain one of these.", "all")] = None
    seeds: Annotated[int, whole("Runs of each cell.", most=1000)] = 3
    tune: Annotated[bool, switch("--tune", "Choose the cells' rates on validation data first, where none are.")] = False
    jobs: Annotated[int, whole("Runs side by side, each on one thread.", most=1024)] = 2
    device: Annotated[str, words("auto", "cpu", "cuda", help="Where to train.")] = "auto"
    prototypes: Annotated[Path | None, path("FILE", RECORD)] = None
    results: Annotated[Path | None, path("DIR", "The folder of the finished rows.")] = None
    rates: Annotated[Path | None, path("FILE", "The table of chosen rates, in place of fedlib's own.")] = None
    given: frozenset[str] = frozenset()


def flag(name: str) -> str:
    """The option behind a name: ``lr_items`` is ``--lr-items``."""
    return "--" + name.replace("_", "-")


def takes(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Turn a command that is a function of one dataclass into a function of its fields, which is what typer reads."""
    hints = get_type_hints(options, include_extras=True)

    def parameter(f: Field) -> inspect.Parameter:
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        return inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[f.name])

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters: list[inspect.Parameter] = [parameter(f) for f in fields(options) if f.name != "given"]

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def call(ctx: typer.Context, **values: Any) -> None:
            source = {name: ctx.get_parameter_source(name) for name in values}
            given = frozenset(name for name in values if getattr(source[name], "name", "") == "COMMANDLINE")
            command(options(**values, given=given))

        call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        return call

    return decorate
