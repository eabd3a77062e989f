"""How a client trains, and at which learning rates: those given, those tuned for a run like this, or a default."""

from __future__ import annotations

from typing import Any

from fedlib.backbones import Backbone
from fedlib.commands.fields import LOCAL, MUST, SHOULD, options_of, passed
from fedlib.commands.models import DEFAULT_LR, MODELS, Variant
from fedlib.commands.options import Options, RunOptions, TuneOptions
from fedlib.data.interactions import Split
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.run.arguments import resolved
from fedlib.run.rates import PACKAGED, Row, Settings, as_row, rates_in
from fedlib.shapes import Rates

OPTIONS = options_of(TuneOptions)
SETTINGS = Settings(
    must=tuple(name for name, option in OPTIONS.items() if option.row == MUST),
    should=tuple(name for name, option in OPTIONS.items() if option.row == SHOULD),
    # A row from before there was an option says what a run without it does, and so for rounds between evaluations,
    # which a row names only where the best of them is kept.
    absent={
        name: getattr(TuneOptions, name)
        for name, option in OPTIONS.items()
        if option.row and hasattr(TuneOptions, name)
    }
    | {"evaluate_every": None},
)


def variant(options: Options) -> Variant:
    """The form of the model that was asked for."""
    return MODELS[options.backbone].variants[options.variant]


def optimizer(options: Options) -> str:
    """The clients' optimiser: the one given, or the model's own."""
    return options.optimizer or variant(options).optimizer


def default_lr(options: Options) -> float:
    """The learning rate where none is given or tuned: the variant's own, or its optimiser's if that is another one."""
    form = variant(options)
    return form.lr if optimizer(options) == form.optimizer else DEFAULT_LR[optimizer(options)]


def encoder_name(options: Options) -> str | None:
    """What reads the texts, as --encoder says it; None where nothing does."""
    return (options.encoder or "sentence-t5") if options.items == "semantic" else None


def local_training(options: Options, split: Split, backbone: Backbone, rates: Rates) -> LocalTraining:
    """How a client trains, with nothing left to a convention."""
    how: dict[str, Any] = passed(options, LOCAL) | as_row(rates)
    local = LocalTraining(epochs=options.local_epochs, optimizer=optimizer(options), **how)
    return resolved(local, split, backbone, options.clients_per_round)


def setting(options: Options, split: Split, backbone: Backbone) -> Row:
    """What a row of the table of tuned rates says about the run it was made for (see :mod:`fedlib.run.rates`)."""
    own = {name: getattr(options, name) for name, option in options_of(options).items() if option.row}
    return own | {
        "optimizer": optimizer(options),
        "negatives_from": local_training(options, split, backbone, Rates(1.0, 1.0)).negatives_from,
        "dim": backbone.dim,
        "evaluate_every": options.evaluate_every if options.best else None,
        "encoder": encoder_name(options),
    }


def rates_of(options: RunOptions, split: Split, backbone: Backbone) -> tuple[Rates, str]:
    """The given rates; else the tuned ones of a run like this; else the optimiser's default and the backbone's rule.

    And where they come from: "given", "tuned" or "default".
    """
    if options.lr is not None:
        return Rates(options.lr, options.lr_items), "given"
    row = SETTINGS.find(SETTINGS.read(options.table or PACKAGED), setting(options, split, backbone))
    if row is not None:
        return rates_in(row), "tuned"
    if options.table is not None:
        raise InputError(f"{options.table} has no rates for such a run: `fedlib tune` it first, or give --lr.")
    return Rates(default_lr(options)), "default"
