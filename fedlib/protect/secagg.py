"""A secure sum from the first key to the unmasked total, with all clients and the server in one process."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedlib.errors import InputError
from fedlib.protect.keys import SeededEntropy
from fedlib.protect.messages import CLIENT_BYTES, KEYS_SIZE, ROUNDS, SEALED_SIZE, SIGNED_SIZE, Message
from fedlib.protect.quantize import Words
from fedlib.protect.roles import Client, Server, registered
from fedlib.protect.shamir import SHARE_BYTES
from fedlib.protect.thresholds import check_threshold, default_threshold, enough

MAX_COHORT = 256
"""The most clients the protocol is run for: its work grows with the square of their number."""

Bytes = dict[str, npt.NDArray[np.int64]]
"""Bytes of each client (K,) for each of the five rounds."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a secure sum leaves.

    ``total`` (D,): the sum of the survivors' vectors modulo R. ``survivors``: whose vectors are in it. ``up``,
    ``down``: bytes by round and client; what the server answers to a round counts as that round's "down". ``seen``:
    every message the server got, if a transcript was asked for.
    """

    total: Words
    survivors: tuple[int, ...]
    up: Bytes
    down: Bytes
    seen: tuple[Message, ...] = ()


def secure_sum(
    vectors: Words,
    threshold: int | None = None,
    *,
    dropouts: Mapping[str, Collection[int]] | None = None,
    seed: int | None = None,
    round: int = 0,
    transcript: bool = False,
    exact: bool = False,
) -> Outcome:
    """The sum of K clients' ``vectors`` (K, D) of unsigned words, without the server seeing any one of them.

    The sum is modulo R, the modulus of the word. ``threshold`` t: how many clients must last to the end, above K/2 and
    up to K; a server that lies needs 2t - K clients at its side to unmask one, so the default is the least t above two
    thirds of K, see :mod:`fedlib.protect.thresholds`. ``dropouts``: clients that fail before they speak in a round,
    such as ``{"share": [0], "mask": [4, 5], "unmask": [2]}``; those of "sign" and "unmask" are still in the sum.

    Keys, those to sign with included, come from the operating system. With ``seed`` they follow from seed and
    ``round``, so that a simulation can be repeated; real clients must never use that
    (:class:`~fedlib.protect.keys.SeededEntropy`), and are registered once for many sums.

    ``exact`` adds the vectors up without any protocol: the same total, survivors, bytes and refusals, at the price of
    the addition, for simulations that are not about the protocol.

    Raises InputError for a cohort above ``MAX_COHORT`` (unless ``exact``), an impossible threshold or unknown
    drop-outs, and :class:`~fedlib.errors.TooFewClients` where fewer than ``threshold`` clients last.
    """
    if exact and transcript:
        raise InputError("exact=True runs no protocol, so there is no transcript: ask for one of the two.")
    check_vectors(vectors, exact)
    k = len(vectors)
    threshold = default_threshold(k) if threshold is None else threshold
    check_threshold(threshold, k)
    speakers = attendance(k, dropouts or {})
    if exact:
        return _exact_sum(vectors, threshold, speakers)
    entropies = [os.urandom if seed is None else SeededEntropy(seed, round, number) for number in range(k)]
    return run_rounds(registered(threshold, entropies), Server(threshold), vectors, speakers, transcript=transcript)


def check_vectors(vectors: Words, exact: bool) -> None:
    """Raise InputError for what is no list of vectors of words, or one too long for the protocol (unless ``exact``)."""
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype.kind != "u":
        raise InputError(f"The vectors must be (K, D) unsigned words, not {vectors.shape} of {vectors.dtype}.")
    if len(vectors) > MAX_COHORT and not exact:
        raise InputError(
            f"A cohort of {len(vectors)} clients is too large for the protocol in one process (at most {MAX_COHORT}): "
            "choose fewer clients a round, or exact=True for the same sum without the protocol."
        )


def attendance(k: int, dropouts: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """The clients that speak in each round: who failed before an earlier one stays away."""
    if unknown := set(dropouts) - set(ROUNDS[1:]):
        raise InputError(f'Clients can drop out before {", ".join(ROUNDS[1:])}, not before "{min(unknown)}".')
    left, speakers = list(range(k)), {}
    for name in ROUNDS:
        gone = set(dropouts.get(name, ()))
        if not gone <= set(range(k)):
            raise InputError(f'The drop-outs before "{name}" name client {max(gone)}, but there are only 0 to {k - 1}.')
        speakers[name] = left = [number for number in left if number not in gone]
    return speakers


def run_rounds(
    clients: list[Client], server: Server, vectors: Words, speakers: dict[str, list[int]], *, transcript: bool
) -> Outcome:
    """The five rounds, as they would go over a network."""
    up, down = ({name: np.zeros(len(clients), np.int64) for name in ROUNDS} for _ in range(2))
    seen: list[Message] = []

    def sent(name: str, message: Message, number: int) -> None:
        up[name][number] += message.size
        if transcript:
            seen.append(message)

    advertised = [clients[u].advertise() for u in speakers["advertise"]]
    for keys in advertised:
        sent("advertise", keys, keys.client)
    roster = server.roster(advertised)
    down["advertise"][speakers["advertise"]] = sum(keys.size for keys in roster)

    sealed = [one for u in speakers["share"] for one in clients[u].share(roster)]
    for one in sealed:
        sent("share", one, one.sender)
    boxes = server.route(sealed)
    for u, received in boxes.items():
        down["share"][u] = sum(one.size for one in received)

    for u in speakers["mask"]:
        masked = clients[u].mask(vectors[u], boxes[u])
        sent("mask", masked, u)
        server.add(masked)
    request = server.request()
    down["mask"][speakers["mask"]] = request.size

    agreement = server.agreement([clients[u].sign(request) for u in speakers["sign"]])
    for signature in agreement:
        sent("sign", signature, signature.client)
    down["sign"][speakers["sign"]] = sum(signature.size for signature in agreement)

    revealed = [clients[u].unmask(agreement) for u in speakers["unmask"]]
    for answer in revealed:
        sent("unmask", answer, answer.client)
    return Outcome(server.total(revealed), request.survivors, up, down, tuple(seen))


def _exact_sum(vectors: Words, threshold: int, speakers: dict[str, list[int]]) -> Outcome:
    for name in ROUNDS:
        enough(speakers[name], threshold, name)
    survivors = speakers["mask"]
    up, down = traffic(len(vectors), vectors[0].nbytes, speakers)
    total = vectors[survivors].sum(0, dtype=vectors.dtype)
    return Outcome(total, tuple(survivors), up, down)


def traffic(k: int, vector_bytes: int, speakers: dict[str, list[int]]) -> tuple[Bytes, Bytes]:
    """The bytes up and down that the protocol takes for vectors of ``vector_bytes``, by round and client."""
    advertised, sharers = len(speakers["advertise"]), len(speakers["share"])
    each_up = {
        "advertise": KEYS_SIZE,
        "share": (advertised - 1) * SEALED_SIZE,
        "mask": CLIENT_BYTES + vector_bytes,
        "sign": SIGNED_SIZE,
        "unmask": CLIENT_BYTES + sharers * (CLIENT_BYTES + SHARE_BYTES),
    }
    each_down = {
        "advertise": advertised * KEYS_SIZE,
        "share": (sharers - 1) * SEALED_SIZE,
        "mask": sharers * CLIENT_BYTES,
        "sign": len(speakers["sign"]) * SIGNED_SIZE,
        "unmask": 0,
    }
    up, down = ({name: np.zeros(k, np.int64) for name in ROUNDS} for _ in range(2))
    for name in ROUNDS:
        up[name][speakers[name]], down[name][speakers[name]] = each_up[name], each_down[name]
    return up, down
