"""The place behind --select: which of its samples a client trains on."""

from __future__ import annotations

from typing import Any

from fedlib.commands.models import BY_PROTOTYPES, SELECTORS
from fedlib.commands.options import Options, flag
from fedlib.data.interactions import Dataset
from fedlib.errors import InputError
from fedlib.items import SemanticTable
from fedlib.prototypes.sets import Writer
from fedlib.select import Selection

OF_TEXTS = ("llm", "prototypes")  # options of --select prototypes alone
OF_PROTOTYPES = ("reading", "update_every", "sampled", "n_prototypes")  # options of both kinds of prototypes


def check_selection(options: Options) -> None:
    """Raise InputError for options of a selection that mean nothing together."""
    name = options.select
    allowed: tuple[str, ...] = () if name == "none" else ("ratio",)
    if name in BY_PROTOTYPES:
        allowed += OF_PROTOTYPES + (OF_TEXTS if name == "prototypes" else ())
    for option in ("ratio", *OF_PROTOTYPES, *OF_TEXTS):
        if getattr(options, option) not in (None, False) and option not in allowed:
            raise InputError(f"{flag(option)} is not for --select {name}.")
    if name == "none":
        return
    if options.stores is not None:
        raise InputError("--select chooses among the samples of one user: leave out --stores.")
    if options.ratio is None:
        raise InputError(f"--select {name} needs --ratio, the share of its positives that a client keeps.")
    if name in BY_PROTOTYPES:
        if options.items != "semantic":
            raise InputError(f"--select {name} compares items by their texts: add --items semantic.")
        if options.reading is None:
            raise InputError(f"--select {name} needs --reading: hard_min, literal_desc or intent.")
    if name == "prototypes" and options.llm is None:
        raise InputError("--select prototypes needs --llm: recorded, keyword, a model's name or folder, or URL#MODEL.")
    if options.prototypes is not None and options.llm != "recorded":
        raise InputError("--prototypes FILE is for --llm recorded.")
    if options.llm is not None and options.llm.startswith("http") and "#" not in options.llm:
        raise InputError(f"--llm {options.llm} needs the model's name at the server: {options.llm}#MODEL.")


def build_selection(options: Options, data: Dataset, items: SemanticTable | None) -> Selection | None:
    """The selector; None where clients train on all their samples."""
    if options.select == "none":
        return None
    selector = SELECTORS[options.select].load()
    if options.select not in BY_PROTOTYPES:
        return selector(options.ratio)
    from fedlib.prototypes import ClusterPrototypes, TextPrototypes

    assert items is not None  # check_selection has seen to it
    number: dict[str, Any] = {} if options.n_prototypes is None else {"count": options.n_prototypes}
    cluster = options.select == "cluster"
    source = ClusterPrototypes(items.space, **number) if cluster else TextPrototypes(writer(options), items.space, data,
                                                                                     **number)  # fmt: skip
    return selector(
        options.ratio, reading=options.reading, prototypes=source, update_every=options.update_every,
        sampled=options.sampled,
    )  # fmt: skip


def writer(options: Options) -> Writer:
    """What writes the prototypes."""
    from fedlib.prototypes import ChatModel, ChatServer, KeywordPrototyper, RecordedAnswers

    assert options.llm is not None
    if options.llm == "recorded":
        return RecordedAnswers(options.prototypes)
    if options.llm == "keyword":
        return KeywordPrototyper()
    if options.llm.startswith("http"):
        url, _, model = options.llm.partition("#")
        return ChatServer(url, model)
    return ChatModel(options.llm, device=options.device)
