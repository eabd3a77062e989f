"""FedSLLM's tables and figure as cells: which samples a client trains on, under one protocol.

As the paper says: a tenth of the clients in each of 200 rounds, two local epochs, Adam, item vectors that start from an
autoencoder of the items' texts for *all* rows, and selectors that keep a tenth of a client's positives. Where it is
silent (see the ambiguity log): the round, the learning rates and FedSLLM's reading of Eqs. 11 to 13 are chosen on
validation data, one choice for all metrics; negatives are drawn from all that a client has not trained on, held-out
items among them, and the variant that spares those stands in a table of its own.

The paper's own language models are rows that nobody ran, unless exactly those models wrote the prototypes:
`fedlib reproduce fedsllm.table2 --prototypes FILE` runs them from a record of their answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedlib.choices import READINGS
from fedlib.errors import InputError
from fedlib.prototypes.recorded import read_record
from fedlib.reproduce.cells import Cell, Grid, Table

BACKBONES = ("fedncf", "fedmf", "pfedrec", "fedpergnn")
PAPERS_RATES = (0.001, 0.005, 0.01)
GRID = Grid((0.001, 0.0022, 0.0046, 0.005, 0.01, 0.022, 0.046, 0.1, 0.22, 0.46, 1.0), None, "NDCG@10")
SHARED: dict[str, Any] = {
    "variant": "fedsllm",
    "items": "semantic",
    "encoder": "minilm",
    "clients_per_round": 0.1,
    "local_epochs": 2,
    "rounds": 200,
    "weight_decay": 1e-6,
    "negatives_from": "unobserved",
    "best": "NDCG@10",
    "evaluate_every": 10,
    "topk": "5,10,20",
}
BY_LOSS = ("entropy", "margin", "least")  # with two classes they keep the same samples, so one search serves all three
SELECTORS: dict[str, dict[str, Any]] = {
    **{name: {"select": name} for name in ("random", *BY_LOSS, "fedselect", "fale")},
    **{f"recorded/{reading}": {"select": "prototypes", "llm": "recorded", "reading": reading} for reading in READINGS},
    **{f"keyword/{reading}": {"select": "prototypes", "llm": "keyword", "reading": reading} for reading in READINGS},
    **{f"cluster/{reading}": {"select": "cluster", "reading": reading} for reading in READINGS},
}
THEIRS = {"Qwen/Qwen2.5-1.5B-Instruct": "qwen", "meta-llama/Meta-Llama-3-8B-Instruct": "llama"}  # the paper's models
COMPARED = (None, "random", *(f"recorded/{reading}" for reading in READINGS))  # what carries the verdicts
ROOMS = {"positives": "", "samples": "samples/"}  # what D_u is, and how the cells' names say it
SHARES = tuple(tenth / 10 for tenth in range(1, 11))
UPDATED_EVERY = 50  # rounds between the updates on record
MIDDLE = 0.4  # where Figure 3's curve of FedNCF with FedSLLM is highest
PAPER = Path(__file__).with_name("paper.json")


def options_of(
    backbone: str, selector: str | None, ratio: float = 0.1, over: str = "positives", **other: Any
) -> dict[str, Any]:
    """The options of a run with one of the ``SELECTORS``, or with all samples."""
    chosen = {} if selector is None else SELECTORS[selector] | {"ratio": ratio, "select_over": over}
    return {"backbone": backbone} | SHARED | chosen | other


def cell(name: str, backbone: str, selector: str | None, over: str = "positives", **other: Any) -> Cell:
    """A cell with the rates of Table 2's row of this backbone, selector and D_u."""
    rates = options_of(backbone, "entropy" if selector in BY_LOSS else selector, over=over)
    options = options_of(backbone, selector, over=over, **other)
    return Cell(name, options, GRID, rates=None if options == rates else rates)


def table2() -> Iterator[Cell]:
    """Tables 2, 3, 4 and 6: four backbones, all samples or one of the selectors, and two rows nobody trains.

    Each selector twice: over a client's positives, and over its samples of both labels, where the control draws with
    the balance of labels that FedSLLM's rows have kept. All prototypes are static, those of the first set.
    """
    for name in ("random", "popularity"):
        yield Cell(name, {"backbone": name, "topk": SHARED["topk"]})
    for backbone in BACKBONES:
        yield cell(f"{backbone}/base", backbone, None)
        for over, room in ROOMS.items():
            for selector in SELECTORS:
                yield cell(f"{backbone}/{room}{selector}", backbone, selector, over)
        by_chance = options_of(backbone, "random", over="samples")
        rules = tuple(f"{backbone}/{ROOMS['samples']}recorded/{reading}" for reading in READINGS)
        yield Cell(f"{backbone}/samples/balanced", by_chance, GRID, rates=by_chance, balanced_as=rules)


def papers_rates() -> Iterator[Cell]:
    """The rows that carry the verdicts, with the best of the paper's three rates."""
    for backbone in BACKBONES:
        for over, room in ROOMS.items():
            for selector in COMPARED if over == "positives" else COMPARED[1:]:
                same = cell(f"{backbone}/{room}{selector or 'base'}", backbone, selector, over)
                yield replace(same, rates=same.options, grid=replace(GRID, within=PAPERS_RATES))


def figure3() -> Iterator[Cell]:
    """Figure 3: every selector at every share of the samples, at the rates of its row in Table 2."""
    for backbone in BACKBONES:
        for ratio in SHARES:
            for selector in SELECTORS:
                yield cell(f"{backbone}/{selector}/S={ratio:g}", backbone, selector, ratio=ratio)


def variants() -> Iterator[Cell]:
    """What else could have been meant: one thing is another in each, at the rates of Table 2's rows.

    The rows named ``tuned`` repeat a point of Figure 3's middle with rates chosen for its own share.
    """
    for backbone in BACKBONES:
        for selector in COMPARED:
            name = f"{backbone}/{selector or 'base'}"
            yield cell(f"untouched/{name}", backbone, selector, negatives_from="untouched")
            yield cell(f"lsa/{name}", backbone, selector, encoder="lsa")
        for reading in READINGS:
            yield cell(f"sampled/{backbone}/{reading}", backbone, f"recorded/{reading}", sampled=True)
            updated: dict[str, Any] = {"update_every": 10}
            yield cell(f"updated/{backbone}/keyword/{reading}", backbone, f"keyword/{reading}", **updated)
            yield cell(f"updated/{backbone}/cluster/{reading}", backbone, f"cluster/{reading}", **updated)
    yield cell("updated/fedncf/recorded/intent", "fedncf", "recorded/intent", update_every=UPDATED_EVERY)
    for selector in ("random", "fedselect", "fale", *(f"recorded/{reading}" for reading in READINGS)):
        yield Cell(f"tuned/S={MIDDLE:g}/fedncf/{selector}", options_of("fedncf", selector, MIDDLE), GRID)


def by_another_model(table: Table, record: Path) -> Table:
    """The table's cells with recorded prototypes, as those of the model behind another ``record``, with their rates.

    FedSLLM's own two models get the names of their rows. Raises InputError for a record of several models or of none,
    and for a table without such cells.
    """
    models = {entry["model"] for entry in read_record(record)}
    if len(models) != 1:
        raise InputError(f"{record} has answers of {len(models)} models, and a row is one model's: split the record.")
    (model,) = models
    name = THEIRS.get(model, re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-"))
    cells = tuple(
        replace(cell, name=cell.name.replace("recorded", name), rates=cell.rates or cell.options)
        for cell in table.cells
        if cell.options.get("llm") == "recorded"
    )
    if not cells:
        raise InputError(f"{table.name} has no cells with recorded prototypes: leave out --prototypes.")
    return replace(table, cells=cells)


def paper() -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]:
    """What the paper prints: backbone -> row -> data set -> metric -> percent."""
    return json.loads(PAPER.read_text(encoding="utf-8"))["rows"]


TABLE2 = Table("fedsllm.table2", "FedSLLM: which samples a client trains on", tuple(table2()))
FIGURE3 = Table("fedsllm.figure3", "FedSLLM: how many of its samples", tuple(figure3()))
PAPERS = Table("fedsllm.rates", "FedSLLM: the best of the paper's three rates", tuple(papers_rates()))
VARIANTS = Table("fedsllm.variants", "FedSLLM: what else could have been meant", tuple(variants()))
