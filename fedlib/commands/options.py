"""The options of ``run``, ``tune`` and ``reproduce``, written once: a field says all about its option."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedlib.choices import OPTIMIZERS, OVER, PARTITIONS, POOLS, READINGS
from fedlib.commands.fields import LOCAL, LOOP, MUST, REQUIRED, SELECTOR, SHOULD, option
from fedlib.commands.models import AUGMENTS, BY_PROTOTYPES, FORMS, MODELS, PROTECTIONS, SELECTORS, SERVERS
from fedlib.commands.parsers import (
    DECAY,
    DEVICE,
    EXECUTOR,
    FACTOR,
    FILE,
    FOLDER,
    FRACTION,
    PARTICIPANTS,
    POSITIVE,
    SHARE,
    SIZE,
    cutoffs,
    text,
    whole,
    word,
)

GROWTH = 1000
GROWS = f"While an end is the best, the next third of a decade joins, up to a factor of {GROWTH} beyond those given."
ENCODER = "What reads the texts of --items semantic: sentence-t5, minilm, lsa, or a folder of your own."
BALANCE = "How many of --select-over samples are positives, in (0, 1]; for --select random."
RECORD = "Another model's record: the cells with recorded prototypes, under its name."
NAME_OR_DIR, RATES, METRIC = text("NAME|DIR"), text("LR,LR,..."), text("NAME@K")
SELECTING, READING = ("select", tuple(SELECTORS)), ("select", BY_PROTOTYPES)
BOUNDED, BUDGETED = ("protect", ("secagg", "user-dp", "local-dp")), ("protect", ("user-dp", "local-dp"))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``run`` and ``tune`` have in common. ``given`` names the options that stood on the command line."""

    dataset: str = option(
        REQUIRED, "data", NAME_OR_DIR, "A data set (see `fedlib data list`), or a folder of your own.", row=MUST
    )
    protocol: str = option(
        "loo99", "data", word("loo99", "full", "ratio80"), "How the data is split and ranked.", row=MUST
    )
    split_seed: int = option(
        0, "data", whole(0), "Seed of the split, so that training seeds share candidates.", row=SHOULD
    )
    stores: int | None = option(None, "data", whole(), "Stores that hold the users, as clients.", "none", row=SHOULD)
    partition: str | None = option(
        None, "data", word(*PARTITIONS), "Users to stores: by degree but for random.", row=SHOULD
    )
    global_share: float = option(
        0.0,
        "data",
        FRACTION,
        "Share of each user's interactions that goes to a global log, in [0, 1).",
        row=SHOULD,
    )
    augment: str = option(
        "none", "data", word("none", *AUGMENTS), "Which of the global log's interactions join a store.", row=MUST
    )
    augment_share: float | None = option(
        None, "data", SHARE, "How many of them join, in (0, 1].", "none", row=SHOULD, only=("augment", ("random",))
    )
    backbone: str = option(REQUIRED, "model", word(*MODELS), "The model.", row=MUST)
    variant: str = option("original", "model", word(*FORMS), "Whose form of the model.", row=MUST)
    local_only: bool = option(False, "model", None, "Share nothing: every client trains alone.", row=MUST)
    dim: int | None = option(None, "model", whole(most=16384), "Width of the vectors.", "by backbone", row=SHOULD)
    items: str = option(
        "id", "items", word("id", "semantic"), "Items start from random numbers, or from their texts.", row=MUST
    )
    encoder: str | None = option(
        None, "items", NAME_OR_DIR, ENCODER, "sentence-t5", row=SHOULD, only=("items", ("semantic",))
    )
    select: str = option(
        "none", "selection", word("none", *SELECTORS), "Which of its samples a client trains on.", row=MUST
    )
    ratio: float | None = option(
        None, "selection", SHARE, "How many of them, in (0, 1]; for --select.", "none", row=SHOULD, only=SELECTING
    )
    select_over: str | None = option(
        None, "selection", word(*OVER), "What they are chosen from; for --select.", "none", row=MUST, only=SELECTING
    )
    positive_share: float | None = option(
        None, "selection", SHARE, BALANCE, "by chance", row=SHOULD, only=("select", ("random",))
    )
    reading: str | None = option(
        None,
        "selection",
        word(*READINGS),
        "How to read FedSLLM's score.",
        "none",
        row=SHOULD,
        to=SELECTOR,
        only=READING,
    )
    llm: str | None = option(
        None,
        "selection",
        text("NAME|DIR|URL#MODEL"),
        "What writes prototypes: recorded, keyword, or a language model by name, folder or server.",
        "none",
        row=SHOULD,
        only=("select", ("prototypes",)),
    )
    prototypes: Path | None = option(
        None, "selection", FILE, "Whose answers --llm recorded gives, not the package's.", only=("llm", ("recorded",))
    )
    n_prototypes: int | None = option(
        None, "selection", whole(5, 15), "Prototypes at first.", "10", row=SHOULD, only=READING
    )
    update_every: int | None = option(
        None,
        "selection",
        whole(),
        "Rounds between updates of the prototypes.",
        "never",
        row=SHOULD,
        to=SELECTOR,
        only=READING,
    )
    sampled: bool = option(
        False,
        "selection",
        None,
        "Draw samples by their score, not the best of them.",
        row=SHOULD,
        to=SELECTOR,
        only=READING,
    )
    clients_per_round: float = option(
        1.0, "training", PARTICIPANTS, "A share, or a number above 1.", row=SHOULD, to=LOOP
    )
    rounds: int = option(100, "training", whole(), "Rounds of training.", row=SHOULD, to=LOOP)
    local_epochs: int = option(1, "training", whole(), "Passes over a client's samples in a round.", row=SHOULD)
    batch: int = option(256, "training", whole(), "Samples in a local batch.", row=SHOULD, to=LOCAL)
    negatives: int = option(
        4, "training", whole(most=1000), "Sampled negatives for each positive.", row=SHOULD, to=LOCAL
    )
    negatives_from: str | None = option(
        None, "training", word(*POOLS), "Which items they are.", "by protocol", row=SHOULD, to=LOCAL
    )
    optimizer: str | None = option(
        None, "training", word(*OPTIMIZERS), "The clients' optimiser.", "by backbone", row=MUST
    )
    weight_decay: float = option(0.0, "training", DECAY, "L2 term of the local training.", row=SHOULD, to=LOCAL)
    lr_decay: float = option(
        1.0, "training", FACTOR, "What multiplies the rates after each round.", row=SHOULD, to=LOCAL
    )
    server_optimizer: str = option(
        "mean", "training", word("mean", *SERVERS), "How the server steps along the clients' mean.", row=MUST
    )
    server_lr: float | None = option(
        None,
        "training",
        POSITIVE,
        "The server's learning rate.",
        "by optimiser",
        row=SHOULD,
        only=("server_optimizer", (*SERVERS,)),
    )
    seed: int = option(0, "training", whole(0), "Seed of training.", row=SHOULD, to=LOOP)
    device: str = option("auto", "machine", DEVICE, "Where to train.", to=LOOP)
    executor: str = option("vectorized", "machine", EXECUTOR, "How many clients train at once.", to=LOOP)
    chunk: int | None = option(None, "machine", whole(), "Clients trained at once.", "by device", to=LOOP)
    threads: int = option(1, "machine", whole(most=1024), "Threads of this process.")
    max_memory: float | None = option(None, "machine", SIZE, "What clients may keep: 4GB.", "all there is", to=LOOP)
    evaluate_every: int = option(1, "output", whole(), "Rounds between two evaluations.", row=SHOULD, to=LOOP)
    best: str | None = option(
        None, "output", METRIC, "Keep the round best on validation by it.", "the last round", row=SHOULD, to=LOOP
    )
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options of ``fedlib run``."""

    lr: float | None = option(None, "training", POSITIVE, "Learning rate.", "tuned, else by backbone")
    lr_items: float | None = option(None, "training", POSITIVE, "That of item vectors; needs --lr.", "by backbone")
    table: Path | None = option(None, "training", FILE, "A table of `fedlib tune`, read in place of fedlib's own.")
    step_decay: float = option(1.0, "training", FACTOR, "That after each local step; needs --lr.", to=LOCAL)
    stop: float = option(0.0, "training", DECAY, "Change of loss that ends local epochs; needs --lr.", to=LOCAL)
    topk: str = option("5,10,20", "output", text("K,K,..."), "The K of HR@K, NDCG@K and so on.")
    protect: str = option("none", "privacy", word("none", *PROTECTIONS), "What may leave a device.")
    clip: float | None = option(
        None, "privacy", POSITIVE, "Bound of --protect on an update.", "by --protect", only=BOUNDED
    )
    dp_epsilon: float | None = option(
        None, "privacy", POSITIVE, "Privacy of user-dp, local-dp.", "by --protect", only=BUDGETED
    )
    sampling: str = option("fixed", "training", word("fixed", "poisson"), "How a round's clients are drawn.", to=LOOP)
    own_tables_in: Path | None = option(
        None, "machine", FOLDER, "A folder for clients' own item tables, not memory.", to=LOOP
    )
    checkpoint: Path | None = option(None, "output", FOLDER, "A folder to save the state in.", to=LOOP)
    checkpoint_every: int = option(10, "output", whole(), "Rounds between two checkpoints.", to=LOOP)
    resume: bool = option(False, "output", None, "Go on from the newest checkpoint, where there is one.", to=LOOP)
    out: Path | None = option(None, "output", FILE, "Write the result as JSON instead of printing a summary.")

    @property
    def ks(self) -> tuple[int, ...]:
        """The K of the metrics."""
        return cutoffs(self.topk)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(Options):
    """The options of ``fedlib tune``."""

    table: Path = option(REQUIRED, "output", FILE, "The table to write; finished settings in it are not run again.")
    grid: str = option(REQUIRED, "training", RATES, f"Learning rates. {GROWS}")
    grid_items: str | None = option(None, "training", RATES, f"Item learning rates. {GROWS}", "by backbone")
    metric: str = option("NDCG@10", "output", METRIC, "The validation metric that decides.", row=SHOULD)

    @property
    def ks(self) -> tuple[int, ...]:
        """The K of the metrics that decide."""
        return tuple(sorted({int(metric.partition("@")[2]) for metric in (self.metric, self.best) if metric}))


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """The argument and options of ``fedlib reproduce``."""

    table: str = option(REQUIRED, "arguments", text("TABLE"), "The table.")
    dataset: str = option("ml-100k", "options", NAME_OR_DIR, "The data set.")
    cells: str | None = option(
        None, "options", text("NAME,NAME,..."), "Only cells whose names contain one of these.", "all"
    )
    seeds: int = option(3, "options", whole(most=1000), "Runs of each cell.")
    tune: bool = option(False, "options", None, "Choose the cells' rates on validation data first, where none are.")
    jobs: int = option(2, "options", whole(most=1024), "Runs side by side, each on one thread.")
    device: str = option("auto", "options", DEVICE, "Where to train.")
    prototypes: Path | None = option(None, "options", FILE, RECORD)
    results: Path | None = option(None, "options", FOLDER, "The folder of the finished rows.")
    rates: Path | None = option(None, "options", FILE, "The table of chosen rates, in place of fedlib's own.")
    given: frozenset[str] = frozenset()
