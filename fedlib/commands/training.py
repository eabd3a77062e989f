"""What ``run`` and ``tune`` share: checking options against each other, reading the data, building the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fedlib.backbones import Backbone
from fedlib.commands.models import DEFAULT_LR, JOIN_STORES, MODELS, OF_STORES, UNUSED, Variant
from fedlib.commands.options import Options, RunOptions, flag
from fedlib.commands.selecting import build_selection, check_selection
from fedlib.data import load
from fedlib.data.interactions import Dataset, Split
from fedlib.data.partition import at_random, by_degree
from fedlib.engine.training import LocalTraining
from fedlib.errors import InputError
from fedlib.federation import federate
from fedlib.items import LSA, MiniLM, SemanticSpace, SemanticTable, SentenceEncoder, item_texts
from fedlib.items.cache import Encoder
from fedlib.places import Place
from fedlib.protect.noise import LocalDP, PlainNoise, UserLevelDP
from fedlib.run.arguments import resolved
from fedlib.run.rates import Row
from fedlib.run.result import Result

ENCODERS = ("sentence-t5", "minilm", "lsa")
ALWAYS = ("dataset", "backbone", "protocol", "seed", "split_seed", "topk", "threads", "out")


def is_centralised(options: Options) -> bool:
    """Whether the backbone is one of the rows that are not federated."""
    return not MODELS[options.backbone].variants


def check_combination(options: Options) -> None:
    """Raise InputError for options that mean nothing together."""
    model = MODELS[options.backbone]
    allowed = dict.fromkeys((*ALWAYS, *model.options))
    extra = sorted(options.given - allowed.keys()) if not model.variants else []
    if extra:
        raise InputError(
            f"{', '.join(map(flag, extra))}: not for --backbone {options.backbone}, which is not federated "
            f"and takes only {', '.join(map(flag, allowed))}."
        )
    unused = sorted(options.given & {*UNUSED.get(options.backbone, ())})
    if unused:
        raise InputError(
            f"{', '.join(map(flag, unused))}: plays no part for --backbone {options.backbone}, so leave it out."
        )
    if model.variants and (options.variant or "original") not in model.variants:
        raise InputError(
            f"--variant {options.variant}: --backbone {options.backbone} has only {', '.join(model.variants)}."
        )
    if options.stores is None and options.backbone in OF_STORES:
        raise InputError(f"--backbone {options.backbone} needs --stores N.")
    if options.stores is not None and options.backbone not in OF_STORES + JOIN_STORES:
        raise InputError(
            f"--backbone {options.backbone} cannot be trained by stores for their users: leave out --stores."
        )
    if options.partition is not None and options.stores is None:
        raise InputError("--partition needs --stores N.")
    if options.encoder is not None and options.items != "semantic":
        raise InputError("--encoder is for --items semantic.")
    if options.encoder is not None and not (options.encoder in ENCODERS or Path(options.encoder).is_dir()):
        known = ", ".join(ENCODERS)
        raise InputError(f"--encoder {options.encoder}: there is no such folder, and by name there is only {known}.")
    check_selection(options)
    if options.executor == "loop" and options.chunk is not None:
        raise InputError("--chunk is for --executor vectorized: the loop trains one client at a time.")


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_split(options: Options) -> Split:
    """The data set of the options, split by their protocol."""
    data = load(options.dataset)
    if options.protocol == "loo99":
        split = data.leave_one_out(seed=options.split_seed)
    elif options.protocol == "full":
        split = data.full_ranking()
    else:  # the split the data was published with, where it was
        split = (data.ratio_split if data.given_test is None else data.given_split)(seed=options.split_seed)
    if options.stores is None:
        return split
    if options.partition in (None, "random"):
        stores = at_random(split.data.n_users, options.stores, seed=options.split_seed)
    else:
        stores = by_degree(split.train.counts, options.stores, law=options.partition, seed=options.split_seed)
    return split.with_stores(stores)


def variant(options: Options) -> Variant:
    """The form of the model that was asked for."""
    return MODELS[options.backbone].variants[options.variant or "original"]


def optimizer(options: Options) -> str:
    """The clients' optimiser: the one given, or the model's own."""
    return options.optimizer or variant(options).optimizer


def default_lr(options: Options) -> float:
    """The learning rate where none is given or tuned: the variant's own, or its optimiser's if that is another one."""
    form = variant(options)
    return form.lr if optimizer(options) == form.optimizer else DEFAULT_LR[optimizer(options)]


def build_backbone(options: Options) -> Backbone:
    """The model of one client."""
    width = {} if options.dim is None else {"dim": options.dim}
    backbone: Backbone = MODELS[options.backbone].load()(**(variant(options).arguments | width))
    return backbone.alone() if options.local_only else backbone


def encoder_name(options: Options) -> str | None:
    """What reads the texts, as --encoder says it; None where nothing does."""
    return (options.encoder or "sentence-t5") if options.items == "semantic" else None


def build_items(options: Options, data: Dataset, backbone: Backbone) -> SemanticTable | None:
    """What items start from; None for the backbone's own random numbers. The codes are as wide as its vectors."""
    name = encoder_name(options)
    if name is None:
        return None
    encoder: Encoder
    if name == "lsa":
        encoder = LSA(item_texts(data))
    elif name == "minilm":
        encoder = MiniLM()
    else:
        encoder = SentenceEncoder() if name == "sentence-t5" else SentenceEncoder(name)
    return SemanticTable(SemanticSpace.pretrained(data, encoder, widths=(512, 256, 128, backbone.tables["item"].dim)))


def local_training(
    options: Options, split: Split, backbone: Backbone, lr: float, lr_items: float | None
) -> LocalTraining:
    """How a client trains, with nothing left to a convention."""
    local = LocalTraining(options.local_epochs, options.batch, options.negatives, options.negatives_from, lr, lr_items,
                          optimizer(options), options.weight_decay, options.lr_decay)  # fmt: skip
    if isinstance(options, RunOptions):
        local = replace(local, step_decay=options.step_decay, stop=options.stop)
    return resolved(local, split, backbone, options.clients_per_round)


def setting(options: Options, split: Split, backbone: Backbone) -> Row:
    """What a row of the table of tuned rates says about the run it was made for (see :mod:`fedlib.run.rates`)."""
    same_name = ("dataset", "backbone", "local_only", "items", "select", "ratio", "reading", "llm", "n_prototypes",
                 "update_every", "sampled", "protocol", "clients_per_round", "local_epochs", "batch", "negatives",
                 "weight_decay", "lr_decay", "rounds", "seed", "split_seed", "stores", "partition",
                 "best")  # fmt: skip
    return {name: getattr(options, name) for name in same_name} | {
        "variant": options.variant or "original",
        "optimizer": optimizer(options),
        "negatives_from": local_training(options, split, backbone, 1.0, 1.0).negatives_from,
        "dim": backbone.dim,
        "evaluate_every": options.evaluate_every if options.best else None,
        "encoder": encoder_name(options),
    }


def places(options: Options, data: Dataset, backbone: Backbone) -> dict[str, Any]:
    """The loop's places behind --items and --select, as arguments of ``federate``."""
    items = build_items(options, data, backbone)
    return {"items": items, "select": build_selection(options, data, items)}


def protection(options: RunOptions) -> Place | None:
    """The place behind --protect, --clip and --dp-epsilon. Raises InputError where they mean nothing together."""
    clip, target = options.clip, options.dp_epsilon
    if options.protect in ("none", "noise", "secagg") and target is not None:
        raise InputError("--dp-epsilon is for --protect user-dp and local-dp.")
    if options.protect in ("none", "noise") and clip is not None:
        raise InputError("--clip is for --protect secagg, user-dp and local-dp.")
    if options.protect == "noise":
        return PlainNoise()
    if options.protect == "secagg":
        from fedlib.protect.secure import SecureAggregation

        return SecureAggregation() if clip is None else SecureAggregation(clip=clip)
    if options.protect == "local-dp":
        bound = LocalDP.clip if clip is None else clip
        return LocalDP(clip=bound, scale=LocalDP.scale if target is None else 2 * bound / target)
    if options.protect == "user-dp":
        if clip is None or target is None:
            raise InputError("--protect user-dp needs --clip, the bound of an update's norm, and --dp-epsilon.")
        return UserLevelDP(clip=clip, epsilon=target)
    return None


def train(options: Options, split: Split, backbone: Backbone, local: LocalTraining, **how: Any) -> Result:
    """One federated run."""
    names = ("clients_per_round", "rounds", "seed", "executor", "chunk", "device", "max_memory", "best")
    how |= {name: getattr(options, name) for name in names}
    return federate(split, backbone, local=local, progress=True, **how)
