"""``fedlib run``: train one model and say how well it ranks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fedlib.backbones import Backbone
from fedlib.centralized import evaluate
from fedlib.commands.files import check_file, check_folder, write_json
from fedlib.commands.models import MODELS
from fedlib.commands.options import RunOptions, cutoffs, flag
from fedlib.commands.report import Seconds, make_report, plain_rows, summary
from fedlib.commands.training import (
    build_backbone,
    check_combination,
    default_lr,
    is_centralised,
    local_training,
    places,
    protection,
    read_split,
    setting,
    threads,
    train,
)
from fedlib.data.interactions import Split
from fedlib.errors import InputError
from fedlib.evaluation.metrics import Ranking
from fedlib.run import rates as settings
from fedlib.run.checkpoint import Checkpoints
from fedlib.run.result import Result


@dataclass(frozen=True)
class Rates:
    """The learning rates of a run, and where they come from: "given", "tuned" or "default".

    ``lr_items`` None leaves the items to the backbone's rule.
    """

    lr: float
    lr_items: float | None
    source: str


def run(options: RunOptions) -> None:
    """Train one model and evaluate it."""
    check(options)
    with threads(options.threads):
        began = time.perf_counter()
        split = read_split(options)
        if is_centralised(options):
            report, _ = centralised(options, split, began)
        else:
            backbone = build_backbone(options)
            report, _ = federated(options, split, backbone, rates(options, split, backbone), began)
    if options.out is None:
        print(summary(report))
    else:
        write_json(options.out, report)


def check(options: RunOptions) -> None:
    """Raise InputError for what is wrong before anything is read or trained."""
    check_combination(options)
    cutoffs(options.topk)
    protection(options)
    if options.lr_items is not None and options.lr is None:
        raise InputError("--lr-items needs --lr, so that no given rate is mixed with a tuned one.")
    for name in ("step_decay", "stop"):
        if name in options.given and options.lr is None:
            raise InputError(f"{flag(name)} needs --lr: rates were tuned without it.")
    if options.lr is not None and options.table is not None:
        raise InputError("--table is read where --lr is not given: leave out one of the two.")
    for name in ("resume", "checkpoint_every"):
        if name in options.given and options.checkpoint is None:
            raise InputError(f"{flag(name)} needs --checkpoint DIR.")
    if options.checkpoint is not None:
        check_folder("--checkpoint", options.checkpoint)
        if Checkpoints(options.checkpoint, {}).files() and not options.resume:
            raise InputError(f"{options.checkpoint} holds checkpoints already: add --resume, or name another folder.")
    if options.out is not None:
        check_file("--out", options.out)


def rates(options: RunOptions, split: Split, backbone: Backbone) -> Rates:
    """The given rates; else the tuned ones of a run like this; else the optimiser's default and the backbone's rule."""
    if options.lr is not None:
        return Rates(options.lr, options.lr_items, "given")
    row = settings.find(settings.read_table(options.table or settings.PACKAGED), setting(options, split, backbone))
    if row is not None:
        return Rates(row["lr"], row["lr_items"], "tuned")
    if options.table is not None:
        raise InputError(f"{options.table} has no rates for such a run: `fedlib tune` it first, or give --lr.")
    return Rates(default_lr(options), None, "default")


def federated(
    options: RunOptions, split: Split, backbone: Backbone, rate: Rates, began: float, **also: Any
) -> tuple[dict[str, Any], Result]:
    """The report of a federated run, and its result; ``also`` are arguments of ``federate`` beside the options."""
    local = local_training(options, split, backbone, rate.lr, rate.lr_items)
    chosen = places(options, split.data, backbone)
    items = chosen["items"]
    prepared = time.perf_counter() - began
    result = train(
        options, split, backbone, local, ks=cutoffs(options.topk), evaluate_every=options.evaluate_every,
        checkpoint=options.checkpoint, checkpoint_every=options.checkpoint_every, resume=options.resume,
        own_tables_in=options.own_tables_in, **chosen,
        **{"protect": protection(options), "sampling": options.sampling} | also,
    )  # fmt: skip
    history = plain_rows(result.history)
    config = {
        "variant": options.variant or "original", "local_only": options.local_only, "rounds": options.rounds,
        "stores": options.stores, "partition": (options.partition or "random") if options.stores else None,
        "executor": options.executor, "chunk": result.chunk, "settings": rate.source, "items": options.items,
        "prototypes": getattr(getattr(chosen["select"], "prototypes", None), "source", None),
    } | (items.space.about() if items else {})  # fmt: skip
    config |= {"model" if name == "backbone" else name: value for name, value in result.config.items()}
    evaluations = [row["seconds_evaluate"] for row in history if row["seconds_evaluate"] is not None]
    seconds = Seconds(prepared + result.seconds_prepare, [row["seconds"] for row in history], evaluations,
                      time.perf_counter() - began)  # fmt: skip
    report = make_report(options, split, config, seconds, result.metrics, result.valid_metrics, history,
                         plain_rows(result.ledger), result.device)  # fmt: skip
    return report, result


def centralised(options: RunOptions, split: Split, began: float) -> tuple[dict[str, Any], Ranking]:
    """The report of a model that is trained on all the data in one place, and the ranks of the test items."""
    model = MODELS[options.backbone]
    given = {argument: getattr(options, name) for name, argument in model.options.items() if name in options.given}
    scorer = model.load()(**given)
    config = {"settings": "default", "model": {"class": f"{model.module}.{model.name}", **vars(scorer)}}
    scorer.fit(split)
    prepared, ks = time.perf_counter() - began, cutoffs(options.topk)
    test, valid = (evaluate(scorer, split, which, ks=ks) for which in ("test", "valid"))
    total = time.perf_counter() - began
    seconds = Seconds(prepared, [], [total - prepared], total)
    return make_report(options, split, config, seconds, test.metrics(ks), valid.metrics(ks), [], [], "cpu"), test
