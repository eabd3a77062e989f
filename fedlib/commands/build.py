"""From options to objects: all that the loop is given is made here, by the names in :mod:`fedlib.commands.models`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fedlib.backbones import Backbone
from fedlib.commands.fields import LOOP, SELECTOR, passed
from fedlib.commands.models import AUGMENTS, BY_PROTOTYPES, MODELS, PROTECTIONS, SELECTORS, SERVERS
from fedlib.commands.options import Options, RunOptions, TuneOptions
from fedlib.commands.rates import default_lr, encoder_name, local_training, rates_of, variant
from fedlib.data import load
from fedlib.data.interactions import Dataset, Split
from fedlib.data.partition import at_random, by_degree, share_edges
from fedlib.engine.training import LocalTraining
from fedlib.items import LSA, MiniLM, SemanticSpace, SemanticTable, SentenceEncoder, item_texts
from fedlib.items.cache import Encoder
from fedlib.places import Place
from fedlib.prototypes.sets import Writer
from fedlib.run.arguments import resolved
from fedlib.run.rates import as_row, rates_in
from fedlib.select import Selection
from fedlib.shapes import Rates


@dataclass(frozen=True)
class Experiment:
    """The arguments of :func:`~fedlib.federation.federate`; ``how`` are those that are no objects.

    ``settings`` says where the learning rates of ``local`` come from: "given", "tuned" or "default".
    """

    split: Split
    backbone: Backbone
    items: SemanticTable | None
    augment: Place | None
    select: Selection | None
    protect: Place | None
    server: Any
    local: LocalTraining
    how: dict[str, Any]
    settings: str

    @property
    def rates(self) -> Rates:
        """The learning rates of ``local``."""
        return rates_in(vars(self.local))

    def at(self, rates: Rates) -> Experiment:
        """The same at other learning rates; the backbone's rule stands in for that of the items."""
        local = replace(self.local, **as_row(rates))
        return replace(self, local=resolved(local, self.split, self.backbone, self.how["clients_per_round"]))


def build(options: RunOptions | TuneOptions, split: Split | None = None) -> Experiment:
    """What the options describe, on their own data or on a ``split`` of it that is at hand."""
    split = read_split(options) if split is None else split
    backbone = build_backbone(options)
    rates, settings = Rates(default_lr(options)), "default"
    if isinstance(options, RunOptions):
        rates, settings = rates_of(options, split, backbone)
    items = build_items(options, split.data, backbone)
    return Experiment(
        split, backbone, items,
        augment=build_augment(options),
        select=build_selection(options, split.data, items),
        protect=build_protection(options) if isinstance(options, RunOptions) else None,
        server=build_server(options),
        local=local_training(options, split, backbone, rates),
        how=passed(options, LOOP) | {"ks": options.ks, "progress": True},
        settings=settings,
    )  # fmt: skip


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
    split = split.with_stores(stores)
    shared = options.global_share > 0
    return share_edges(split, share=options.global_share, seed=options.split_seed) if shared else split


def build_backbone(options: Options) -> Backbone:
    """The model of one client."""
    width = {} if options.dim is None else {"dim": options.dim}
    backbone: Backbone = MODELS[options.backbone].load()(**(variant(options).arguments | width))
    return backbone.alone() if options.local_only else backbone


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


def build_augment(options: Options) -> Place | None:
    """Which outside interactions join a store; None for none."""
    if options.augment == "none":
        return None
    share = () if options.augment_share is None else (options.augment_share,)
    return AUGMENTS[options.augment].load()(*share)


def build_selection(options: Options, data: Dataset, items: SemanticTable | None) -> Selection | None:
    """The selector; None where clients train on all their samples."""
    if options.select == "none":
        return None
    selector = SELECTORS[options.select].load()
    how: dict[str, Any] = {"over": options.select_over}
    if options.positive_share is not None:
        how["positive_share"] = options.positive_share
    if options.select not in BY_PROTOTYPES:
        return selector(options.ratio, **how)
    from fedlib.prototypes import ClusterPrototypes, TextPrototypes

    assert items is not None  # check_selection has seen to it
    number: dict[str, Any] = {} if options.n_prototypes is None else {"count": options.n_prototypes}
    source: ClusterPrototypes | TextPrototypes
    if options.select == "cluster":
        source = ClusterPrototypes(items.space, **number)
    else:
        source = TextPrototypes(build_writer(options), items.space, data, **number)
    return selector(options.ratio, **how, prototypes=source, **passed(options, SELECTOR))


def build_writer(options: Options) -> Writer:
    """What writes the prototypes."""
    from fedlib.prototypes import ChatModel, ChatServer, KeywordPrototyper, RecordedAnswers

    assert options.llm is not None  # check_selection has seen to it
    if options.llm == "recorded":
        return RecordedAnswers(options.prototypes)
    if options.llm == "keyword":
        return KeywordPrototyper()
    if options.llm.startswith("http"):
        url, _, model = options.llm.partition("#")
        return ChatServer(url, model)
    return ChatModel(options.llm, device=options.device)


def build_protection(options: RunOptions) -> Place | None:
    """What may leave a device; None for all that is sent."""
    if options.protect == "none":
        return None
    place = PROTECTIONS[options.protect].load()
    given: dict[str, Any] = {} if options.clip is None else {"clip": options.clip}
    if options.dp_epsilon is None:
        return place(**given)
    if options.protect == "user-dp":
        return place(**given, epsilon=options.dp_epsilon)
    return place(**given, scale=2 * given.get("clip", place.clip) / options.dp_epsilon)  # of Laplace noise on a number


def build_server(options: Options) -> Any:
    """How the server steps; None for the plain mean."""
    if options.server_optimizer == "mean":
        return None
    rate = {} if options.server_lr is None else {"lr": options.server_lr}
    return SERVERS[options.server_optimizer].load()(**rate)
