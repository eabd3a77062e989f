"""``fedlib run``: train one model and say how well it ranks."""

from __future__ import annotations

import time
from typing import Any

from fedlib.centralized import evaluate
from fedlib.commands.build import Experiment, build, read_split
from fedlib.commands.check import check_run, is_centralised
from fedlib.commands.files import write_json
from fedlib.commands.models import MODELS
from fedlib.commands.options import RunOptions
from fedlib.commands.report import Seconds, about, make_report, plain_rows, summary
from fedlib.data.interactions import Split
from fedlib.evaluation.metrics import Ranking
from fedlib.federation import federate
from fedlib.run.result import Result
from fedlib.threads import threads


def run(options: RunOptions) -> None:
    """Train one model and evaluate it."""
    check_run(options)
    with threads(options.threads):
        began = time.perf_counter()
        if is_centralised(options):
            report, _ = centralised(options, read_split(options), began)
        else:
            report, _ = federated(options, build(options), began)
    if options.out is None:
        print(summary(report))
    else:
        write_json(options.out, report)


def train(made: Experiment) -> Result:
    """The loop on what was built."""
    return federate(
        made.split,
        backbone=made.backbone,
        items=made.items,
        augment=made.augment,
        select=made.select,
        protect=made.protect,
        server=made.server,
        local=made.local,
        **made.how,
    )


def federated(options: RunOptions, made: Experiment, began: float) -> tuple[dict[str, Any], Result]:
    """The report of a federated run, and its result."""
    prepared = time.perf_counter() - began
    result = train(made)
    history = plain_rows(result.history)
    evaluations = [row["seconds_evaluate"] for row in history if row["seconds_evaluate"] is not None]
    seconds = Seconds(prepared + result.seconds_prepare, [row["seconds"] for row in history], evaluations,
                      time.perf_counter() - began)  # fmt: skip
    report = make_report(options, made.split, about(options, made, result), seconds, result.metrics,
                         result.valid_metrics, history, plain_rows(result.ledger), result.device)  # fmt: skip
    return report, result


def centralised(options: RunOptions, split: Split, began: float) -> tuple[dict[str, Any], Ranking]:
    """The report of a model that is trained on all the data in one place, and the ranks of the test items."""
    model = MODELS[options.backbone]
    given = {argument: getattr(options, name) for name, argument in model.options.items() if name in options.given}
    scorer = model.load()(**given)
    config = {"settings": "default", "model": {"class": f"{model.module}.{model.name}", **vars(scorer)}}
    scorer.fit(split)
    prepared = time.perf_counter() - began
    test, valid = (evaluate(scorer, split, which, ks=options.ks) for which in ("test", "valid"))
    total = time.perf_counter() - began
    seconds = Seconds(prepared, [], [total - prepared], total)
    metrics, valid_metrics = test.metrics(options.ks), valid.metrics(options.ks)
    return make_report(options, split, config, seconds, metrics, valid_metrics, [], [], "cpu"), test
