"""FedSLLM's place in the loop: prototypes of the server say which samples a client trains on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from fedlib.data.interactions import Split
from fedlib.engine.received import only_table
from fedlib.errors import InputError
from fedlib.items.autoencoder import align
from fedlib.places import Plan
from fedlib.prototypes.sets import PrototypeSet
from fedlib.select.base import Selection, chance, gumbel
from fedlib.select.scores import check_reading, cosine, counts, discrepancy, log_weight, score_by, similarity
from fedlib.shapes import Samples, Work, real_of

if TYPE_CHECKING:
    from fedlib.engine.state import State
    from fedlib.server.sums import Sums


class Source(Protocol):
    """What writes prototypes: a language model, rules, or clusters (see ``fedlib.prototypes``)."""

    @property
    def source(self) -> str: ...
    @property
    def space(self) -> Any: ...
    def first(self, seed: int) -> PrototypeSet: ...
    def next(
        self, current: PrototypeSet, counts: Tensor, table: Tensor, weights: dict[str, Tensor], round: int
    ) -> PrototypeSet: ...


class PrototypeSelection(Selection):
    r"""Keep the samples that the server's prototypes call informative (FedSLLM, sections 4.2 to 4.5).

    The server sends J prototype vectors. A client compares them with the vectors of its items, which it was sent as
    part of the whole table (Eq. 8; the server never learns which rows it looked up), and with the probabilities the
    received model gives to both (Eqs. 9 and 10), and ranks its samples by ``reading``
    (:func:`~fedlib.select.scores.score_by`). There is no default: the paper's sentences contradict each other, and each
    reading keeps some of them.

    ``update_every`` rounds the server aligns the encoder with the item table (Eq. 16) and asks ``prototypes`` for the
    next set; None keeps the first one for ever. For the update every client uploads how many of *all* it chooses from,
    not only of the kept, fall to each prototype (Eq. 14), which the server adds up (Eq. 15); those of the last round
    are told.
    ``sampled`` draws without replacement in proportion to the score (for "hard_min" to 1 / Score) in the place of
    keeping the best; that is no part of the method.

    **What leaves the device.** The counts, (J,) whole numbers. The paper says they disclose nothing. They do: their sum
    is the client's number of interactions, and which prototypes they fall to is a rough profile of taste. Secure
    aggregation hides all but the sum over the round's clients (its clip must not be below a client's count). User-level
    differential privacy does not cover what a place sends and refuses it. With ``update_every=None`` nothing is sent.
    """

    def __init__(
        self,
        ratio: float,
        *,
        over: str,
        reading: str,
        prototypes: Source,
        update_every: int | None = None,
        sampled: bool = False,
    ) -> None:
        super().__init__(ratio, over=over)
        self.reading, self.prototypes, self.update_every = reading, prototypes, update_every
        self.sampled = sampled

    def init(self, split: Split, seed: int) -> dict[str, Tensor]:
        """The first prototypes, no counts, and the encoder as it was trained."""
        check_reading(self.reading)
        if self.update_every is not None and self.update_every < 1:
            raise InputError(f"update_every must be a whole number of rounds of at least 1, not {self.update_every}.")
        own = stored(self.prototypes.first(seed))
        if self.update_every is None:
            return own
        weights = {f"encoder/{name}": value for name, value in self.prototypes.space.weights.items()}
        return own | weights | {"touched": torch.zeros(split.data.n_items, dtype=torch.bool)}

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Nothing; InputError for a backbone whose items have more than one vector, or one that no server has."""
        only_table(plan.backbone)
        if plan.backbone.is_alone and self.update_every is not None:
            raise InputError("Clients that share nothing send no counts either: leave update_every out.")
        if plan.backbone.mixes and self.update_every is not None:
            raise InputError("An update aligns the encoder with the server's item vectors (Eq. 16), and what is read "
                             "of an item here depends on each client: leave update_every or items out.")  # fmt: skip
        return super().plan(plan)

    def broadcast(self, own: dict[str, Tensor], state: State, chosen: Tensor) -> dict[str, Tensor]:
        """The prototype vectors (J, d)."""
        return {"prototypes": own["vectors"]}

    def judge(self, work: Work, among: Samples, message: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Eqs. 8 to 14 for K clients."""
        vectors = work.received.vectors(among.items)
        prototypes = message["prototypes"].to(vectors)
        r_item, r_prototype = torch.sigmoid(work.score(among.items)), torch.sigmoid(work.score_vectors(prototypes))
        div = discrepancy(r_item, r_prototype)
        ranked, nearest = score_by(self.reading, similarity(cosine(vectors, prototypes)), div)
        uploads = {}
        if self.update_every is not None:
            uploads["counts"] = counts(nearest, real_of(nearest, among.count), len(prototypes))
        if self.sampled:
            ranked = gumbel(log_weight(self.reading, ranked), chance(work, "draw", among.number))
        return ranked, uploads

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Eq. 15 and, every ``update_every`` rounds, Eq. 16 and the next prototypes."""
        if not uploads:
            return own
        (table,) = [value for name, value in sums.delta.items() if name in state.tables]
        own = own | {
            "counts": uploads["counts"].round().to(own["counts"]),
            "touched": own["touched"] | (table != 0).any(1).to(own["touched"].device),
        }
        if (state.round + 1) % self.update_every:  # type: ignore[operator]  # a static set has no counts
            return own
        return own | self.renewed(own, state)

    def renewed(self, own: dict[str, Tensor], state: State) -> dict[str, Tensor]:
        """The encoder after alignment (Eq. 16), and the prototypes that follow from the counts."""
        (table,) = state.tables.values()
        weights = {name.removeprefix("encoder/"): v for name, v in own.items() if name.startswith("encoder/")}
        weights = align(weights, self.prototypes.space.x, table, own["touched"])
        following = self.prototypes.next(restored(own), own["counts"], table, weights, state.round + 1)
        return stored(following) | {f"encoder/{name}": value for name, value in weights.items()}

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """Coverage, how many prototypes there are, and the mean length of their vectors."""
        length = float(own["vectors"].norm(dim=1).mean())
        return super().report(own) | {"prototypes": len(own["vectors"]), "prototype norm": length}


def stored(prototypes: PrototypeSet) -> dict[str, Tensor]:
    """A set as tensors: its vectors, counts of zero, and its texts and note as the bytes of their JSON."""
    words = json.dumps({"texts": list(prototypes.texts), "note": prototypes.note}, ensure_ascii=False).encode()
    return {
        "vectors": prototypes.vectors,
        "words": torch.frombuffer(bytearray(words), dtype=torch.uint8),
        "counts": torch.zeros(len(prototypes.vectors), dtype=torch.int64),
    }


def restored(own: dict[str, Tensor]) -> PrototypeSet:
    """The set that :func:`stored` took apart."""
    words = json.loads(bytes(own["words"].tolist()))
    return PrototypeSet(tuple(words["texts"]), own["vectors"], words["note"])
