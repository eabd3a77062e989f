"""Which options mean nothing together: all of it is refused here, in one sentence, before anything is read."""

from __future__ import annotations

import re
from pathlib import Path

from fedlib.choices import ENCODERS, OVER, READINGS
from fedlib.commands.fields import flag, options_of
from fedlib.commands.files import check_file, check_folder
from fedlib.commands.models import BY_PROTOTYPES, MODELS, UNUSED
from fedlib.commands.options import Options, RunOptions, TuneOptions
from fedlib.commands.parsers import cutoffs
from fedlib.errors import InputError
from fedlib.evaluation.metrics import METRICS
from fedlib.run.checkpoint import Checkpoints

ALWAYS = ("dataset", "backbone", "protocol", "seed", "split_seed", "topk", "threads", "out")


def is_centralised(options: Options) -> bool:
    """Whether the backbone is one of the rows that are not federated."""
    return not MODELS[options.backbone].variants


def check_run(options: RunOptions) -> None:
    """Raise InputError for what is wrong with ``fedlib run`` before anything is read or trained."""
    check_combination(options)
    cutoffs(options.topk)
    if options.lr_items is not None and options.lr is None:
        raise InputError("--lr-items needs --lr, so that no given rate is mixed with a tuned one.")
    for name in ("step_decay", "stop"):
        if name in options.given and options.lr is None:
            raise InputError(f"{flag(name)} needs --lr: rates were tuned without it.")
    if options.lr is not None and options.table is not None:
        raise InputError("--table is read where --lr is not given: leave out one of the two.")
    if options.protect == "user-dp" and None in (options.clip, options.dp_epsilon):
        raise InputError("--protect user-dp needs --clip, the bound of an update's norm, and --dp-epsilon.")
    for name in ("resume", "checkpoint_every"):
        if name in options.given and options.checkpoint is None:
            raise InputError(f"{flag(name)} needs --checkpoint DIR.")
    if options.checkpoint is not None:
        check_folder("--checkpoint", options.checkpoint)
        if Checkpoints(options.checkpoint, {}).files() and not options.resume:
            raise InputError(f"{options.checkpoint} holds checkpoints already: add --resume, or name another folder.")
    if options.out is not None:
        check_file("--out", options.out)


def check_tune(options: TuneOptions) -> None:
    """Raise InputError for what is wrong with ``fedlib tune`` before anything is read or trained."""
    if is_centralised(options):
        raise InputError(f"fedlib tune is for federated models, and --backbone {options.backbone} is not one.")
    check_combination(options)
    check_metric("--metric", options.metric)
    if options.best is not None:
        check_metric("--best", options.best)
    elif "evaluate_every" in options.given:
        raise InputError("--evaluate-every is for --best: without it only the last round is evaluated.")
    check_file("--table", options.table)


def check_combination(options: Options) -> None:
    """Raise InputError for options that mean nothing together, in ``run`` or in ``tune``."""
    check_model(options)
    for name, option in options_of(options).items():
        if option.only and getattr(options, name) != getattr(type(options), name):
            other, allowed = option.only
            if getattr(options, other) not in allowed:
                raise InputError(f"{flag(name)} is for {flag(other)} {', '.join(allowed)}.")
    check_stores(options)
    check_items(options)
    check_selection(options)
    if options.server_optimizer != "mean" and options.local_only:
        raise InputError("--server-optimizer has nothing to step with --local-only, which shares nothing.")


def check_model(options: Options) -> None:
    """Raise InputError for a form the model does not have, or an option that plays no part for it."""
    name, model = options.backbone, MODELS[options.backbone]
    if is_centralised(options):
        allowed = dict.fromkeys((*ALWAYS, *model.options))
        if extra := sorted(options.given - allowed.keys()):
            raise InputError(
                f"{', '.join(map(flag, extra))}: not for --backbone {name}, which is not federated "
                f"and takes only {', '.join(map(flag, allowed))}."
            )
    elif unused := sorted(options.given & {*UNUSED.get(name, ())}):
        raise InputError(f"{', '.join(map(flag, unused))}: plays no part for --backbone {name}, so leave it out.")
    elif options.variant not in model.variants:
        raise InputError(f"--variant {options.variant}: --backbone {name} has only {', '.join(model.variants)}.")


def check_stores(options: Options) -> None:
    """Raise InputError for stores with a model that has none, and for what only stores have."""
    cls = MODELS[options.backbone].load()
    if options.stores is None:
        if getattr(cls, "clients_are_stores", False):  # a centralised model has no clients
            raise InputError(f"--backbone {options.backbone} needs --stores N.")
        if options.partition is not None or options.global_share:
            name = "--global-share" if options.partition is None else "--partition"
            raise InputError(f"{name} needs --stores N.")
    elif not (cls.clients_are_stores or cls.may_train_in_stores):
        raise InputError(
            f"--backbone {options.backbone} cannot be trained by stores for their users: leave out --stores."
        )
    if options.augment != "none" and not options.global_share:
        raise InputError(
            f"--augment {options.augment} needs --stores N and --global-share SHARE, the log it takes from."
        )
    if options.augment == "random" and options.augment_share is None:
        raise InputError("--augment random needs --augment-share, the share of the global log that joins a store.")


def check_items(options: Options) -> None:
    """Raise InputError for an encoder there is not."""
    if options.encoder is not None and not (options.encoder in ENCODERS or Path(options.encoder).is_dir()):
        known = ", ".join(ENCODERS)
        raise InputError(f"--encoder {options.encoder}: there is no such folder, and by name there is only {known}.")


def check_selection(options: Options) -> None:
    """Raise InputError for what a selection lacks."""
    name = options.select
    if name == "none":
        return
    if options.stores is not None and MODELS[options.backbone].load().clients_are_stores:
        raise InputError(f"--select chooses among the samples of one user, and --backbone {options.backbone} has none: "
                         "its stores train on a graph of all their users.")  # fmt: skip
    if options.stores is not None and name == "fedselect":
        raise InputError("--select fedselect trains a model for each user by itself: leave out --stores.")
    if options.ratio is None:
        raise InputError(f"--select {name} needs --ratio, the share of its samples that a client keeps.")
    if options.select_over is None:
        raise InputError(f"--select {name} needs --select-over {' or '.join(OVER)}: what the share is of, a client's "
                         "positives or these and the negatives drawn for them.")  # fmt: skip
    if options.select_over == "samples" and options.stores is not None:
        raise InputError("--select-over samples is for clients of one user: leave out --stores, or take positives.")
    if options.select_over == "samples" and name in ("softmax-entropy", "hard-margin"):
        raise InputError(f"--select {name} judges a positive beside its negatives: it needs --select-over positives.")
    if options.positive_share is not None and options.select_over != "samples":
        raise InputError("--positive-share needs --select-over samples: positives are all that is chosen otherwise.")
    if name in BY_PROTOTYPES:
        if options.items != "semantic":
            raise InputError(f"--select {name} compares items by their texts: add --items semantic.")
        if options.reading is None:
            raise InputError(f"--select {name} needs --reading: {', '.join(READINGS)}.")
    if name == "prototypes" and options.llm is None:
        raise InputError("--select prototypes needs --llm: recorded, keyword, a model's name or folder, or URL#MODEL.")
    if options.llm is not None and options.llm.startswith("http") and "#" not in options.llm:
        raise InputError(f"--llm {options.llm} needs the model's name at the server: {options.llm}#MODEL.")


def check_metric(option: str, text: str) -> None:
    """Raise InputError unless ``text`` is a metric such as NDCG@10."""
    name, _, k = text.partition("@")
    if name not in METRICS or not re.fullmatch(r"[1-9]\d{0,5}", k):
        raise InputError(f"{option} must be HR, NDCG, NDCG*, Precision or Recall at a K, as in NDCG@10, not {text!r}.")
