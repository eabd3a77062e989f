"""Secure aggregation as a place of the loop: the server gets the sum of the updates and none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlib import rng
from fedlib.errors import InputError, TooFewClients
from fedlib.places import Place, Plan
from fedlib.protect.packing import pack, unpack
from fedlib.protect.quantize import Quantizer, check
from fedlib.protect.secagg import MAX_COHORT, Outcome, secure_sum
from fedlib.protect.thresholds import check_majority
from fedlib.server.sums import SeparateUploads, Sums

if TYPE_CHECKING:
    from fedlib.engine.state import State


@dataclass
class Masked(SeparateUploads):
    """The uploads of a round before they are masked, and the seed their rounding and keys follow from."""

    seed: int = 0
    round: int = 0


@dataclass(frozen=True, kw_only=True)
class SecureAggregation(Place):
    r"""The server learns the sum of what the round's clients send, and nothing else of any one of them.

    Each client turns its whole update into whole numbers (:class:`~fedlib.protect.quantize.Quantizer` with ``clip``
    and ``bits``), times its weight, adds the weight itself, and takes part in the five rounds of
    :func:`~fedlib.protect.secagg.secure_sum`; the server divides the sums. Rows of items a client did not touch are
    sent like all others, so the set of touched rows is hidden too. What other places send joins the vector.

    ``threshold``: how many clients must last, by default the least number above two thirds of those that send (the
    reason is in :mod:`fedlib.protect.thresholds`); one that is given must be above half of the cohort. Clients that
    fail (:class:`~fedlib.run.faults.Faults`) are gone before the protocol begins; ``secure_sum`` has drop-outs inside
    it. A simulation's check of uploads, refusals by ``broken`` and ``norm``, happens before the masks, where a real
    server could see nothing: under this protection its figures are too kind. ``exact`` asks for the same sum without
    the protocol, for simulations with many clients; the default refuses cohorts above
    :data:`~fedlib.protect.secagg.MAX_COHORT`. Keys follow from the run's seed, so that a run can be repeated; real
    clients draw theirs from their operating system. "clipped" in the history counts numbers outside [-clip, clip].

    The weights' bound is public: the power of two above the largest weight of the round.
    Source: Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*, CCS 2017.
    """

    clip: float = 1.0
    bits: int = 20
    threshold: int | None = None
    exact: bool = False

    def plan(self, plan: Plan) -> dict[str, Tensor]:
        """Room for the number of clipped values; InputError for too large a cohort, or too small a threshold."""
        check(Quantizer(self.clip, self.bits))
        if self.threshold is not None:
            check_majority(self.threshold, plan.cohort)
        if plan.cohort > MAX_COHORT and not self.exact:
            raise InputError(
                f"Secure aggregation of {plan.cohort:g} clients is too large for the protocol in one process (at most "
                f"{MAX_COHORT}): choose fewer clients a round, or exact=True for the same sum without the protocol."
            )
        return {"clipped": torch.zeros((), dtype=torch.int64)}

    def uploads_held(self, plan: Plan) -> float:
        """Those of a round, and a second time while they are put together."""
        return 2 * plan.cohort

    def collect(self, sums: Sums, seed: int, round: int) -> Sums:
        """Every client's update by itself."""
        return Masked(sums.delta, sums.weight, seed=seed, round=round)

    def server(self, own: dict[str, Tensor], uploads: dict[str, Tensor], sums: Sums, state: State) -> dict[str, Tensor]:
        """Run the protocol, and put the sums it gives where the loop looks for them."""
        assert isinstance(sums, Masked)
        needed = self.threshold or 2  # a sum over one client is that client's update
        if sums.clients < needed:
            raise TooFewClients(f"Only {sums.clients} clients have sent something, and {needed} are needed.")
        quantizer, stream = Quantizer(self.clip, self.bits), rng.key(sums.seed, "quantize", sums.round)
        codes, clipped = encoded(sums, quantizer, stream)
        highest = max((int(w.max()) for name, w in codes.items() if name.startswith("weight/")), default=1)
        largest = quantizer.largest * 2 ** highest.bit_length()
        vectors = pack(codes, n_max=sums.clients, largest=largest)
        # Where clients are drawn by coins, more may have come than was planned for.
        threshold = self.threshold and max(self.threshold, sums.clients // 2 + 1)
        outcome = secure_sum(vectors, threshold, seed=sums.seed, round=sums.round, exact=self.exact)
        totals = unpack(outcome.total, {name: tuple(value.shape[1:]) for name, value in codes.items()})
        for name, delta in sums.delta.items():
            weight = totals[f"weight/{name}"]
            delta.copy_(quantizer.decode(totals[f"value/{name}"], weight).to(delta))
            sums.weight[name] = weight.to(delta)
        for name in sums.apart:
            sums.uploads[name] = quantizer.decode(totals[f"upload/{name}"], sums.clients).to(state.device)
        sums.sent = protocol_bytes(outcome, vectors.shape[1], str(vectors.dtype))
        return {"clipped": torch.tensor(clipped)}

    def report(self, own: dict[str, Tensor]) -> dict[str, float]:
        """How many numbers of the round lay outside [-clip, clip] and were cut off."""
        return {"clipped": int(own["clipped"])}


def encoded(sums: Masked, quantizer: Quantizer, stream: int) -> tuple[dict[str, Tensor], int]:
    """What each client sends as whole numbers (K, ...), by name, and how many values were clipped."""
    codes: dict[str, Tensor] = {}
    clipped = 0
    for name in sums.delta:
        values, weights = torch.cat(sums.values[name]), torch.cat(sums.weights[name])
        found = quantizer.encode(values, rng.key(stream, name), numbers(values), weights)
        codes |= {f"value/{name}": found.codes, f"weight/{name}": weights.to(torch.int64)}
        clipped += found.clipped
    for name, parts in sums.apart.items():
        values = torch.cat(parts)
        found = quantizer.encode(values, rng.key(stream, name), numbers(values))
        if found.clipped:
            raise InputError(
                f"{name} holds numbers beyond {quantizer.clip:g}, and a clipped statistic is a wrong one: raise clip."
            )
        codes[f"upload/{name}"] = found.codes
    return codes, clipped


def numbers(values: Tensor) -> Tensor:
    """The clients' numbers in the protocol, for values (K, ...) and where these are."""
    return torch.arange(len(values), device=values.device)


def protocol_bytes(outcome: Outcome, length: int, dtype: str) -> list[tuple[str, str, str, float]]:
    """What a client sends in each of the protocol's rounds, as rows of the ledger."""
    told = {"advertise": "keys, signed", "share": "sealed shares", "sign": "a signature", "unmask": "shares"}
    shapes = {name: (what, "bytes") for name, what in told.items()} | {"mask": (f"({length},)", dtype)}
    return [(f"secure aggregation: {name}", *shapes[name], float(sizes.mean())) for name, sizes in outcome.up.items()]
