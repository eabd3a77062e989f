r"""The two roles of a secure sum, each with what it may know and nothing else.

Five rounds, in each of which clients may fail. Sets as in the source: U1 advertise keys, U2 of them share, U3 of those
send a masked vector, U4 of those sign the list of U3, U5 of those unmask. The server learns the sum over U3.

.. math:: y_u = x_u + \mathrm{PRG}(b_u) + \sum_{v \in U_2, v > u} \mathrm{PRG}(s_{uv})
   - \sum_{v \in U_2, v < u} \mathrm{PRG}(s_{uv}) \mod R

The masks of pairs cancel in the sum. Those a drop-out left behind are made anew from its mask key, of which every
client holds a share. A vector that arrives late would then lie bare, so each client has a second mask of its own seed
:math:`b_u`, revealed only for U3. Nobody may learn both secrets of one client, and clients see to that.

Any t - 1 clients together with a server that keeps to the protocol learn no more than the sum over the others. Against
a server that lies there are three things. Keys are signed, with keys that somebody trusted has registered, so that it
cannot invent clients. Clients sign the list of U3 and reveal nothing without t signatures on the very list they have
signed: told a list each, they would give away the sum over fewer than t of them. And t is large: two lists can both
find t signatures if 2t - n clients sign whatever the server likes, so with t > 2n/3, the default of
:mod:`fedlib.protect.thresholds`, more than a third of the n clients.

Not built: the register itself, and whatever keeps an attacker from registering many clients; proofs that a vector is
well-formed, so that a client can spoil a sum; a server that finds out which client sent wrong shares and goes on
without it. Nor is this code hardened: Python's arithmetic on shares takes a time that depends on them. It is for
studying the protocol and for simulations.

Source: Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*, CCS 2017, Figure 4.
That a signature also names the sum, by a digest of its keys, is ours: the source's is good for the same list again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fedlib.errors import InputError
from fedlib.protect.keys import KeyPair, Masks, Signer, seal, unseal
from fedlib.protect.messages import ROUNDS, Keys, Masked, Revealed, SealedShares, Signed, UnmaskRequest
from fedlib.protect.quantize import Words
from fedlib.protect.shamir import SECRET_BYTES, SHARE_BYTES, Entropy, combine_all, share
from fedlib.protect.signatures import KEYS, LIST, check_agreement, check_roster, statement
from fedlib.protect.thresholds import check_threshold, enough


class Client:
    """One client for one sum; it does each round once and in order. All of it but its messages stays on the device.

    ``signer`` and ``register``, the public signing key of each client's number, are older than the sum, and do not come
    from the server.
    """

    def __init__(
        self, number: int, threshold: int, signer: Signer, register: Mapping[int, bytes], entropy: Entropy = os.urandom
    ) -> None:
        self.number, self.threshold, self.entropy = number, threshold, entropy
        self.signer, self.register = signer, register
        self._done = 0
        self._peers: dict[int, Keys] = {}
        self._channels: dict[int, bytes] = {}  # the key shared with each peer, for sealing
        self._held: dict[int, tuple[int, int]] = {}  # shares of (own seed, mask key) of everyone in U2
        self._signed: UnmaskRequest | None = None

    def advertise(self) -> Keys:
        """Round 0: make two key pairs and show their public halves, signed."""
        self._begin("advertise")
        self._sealing, self._masking = KeyPair(self.entropy(SECRET_BYTES)), KeyPair(self.entropy(SECRET_BYTES))
        bare = Keys(self.number, self._sealing.public, self._masking.public, b"")
        self._keys = replace(bare, signature=self.signer.sign(KEYS, bare.content))
        return self._keys

    def share(self, roster: Sequence[Keys]) -> tuple[SealedShares, ...]:
        """Round 1: cut the own seed and the mask key into shares and seal one of each for every peer of U1."""
        self._begin("share")
        enough(roster, self.threshold, "advertise")
        check_threshold(self.threshold, len(roster))
        check_roster(self._keys, roster, self.register)
        everyone = sorted(keys.client for keys in roster)
        points = [number + 1 for number in everyone]
        self._seed = self.entropy(SECRET_BYTES)
        seed, key = (
            share(secret, points, self.threshold, self.entropy) for secret in (self._seed, self._masking.secret)
        )
        pairs = {number: (b.y, s.y) for number, b, s in zip(everyone, seed, key, strict=True)}
        self._held[self.number] = pairs.pop(self.number)
        self._roster = tuple(roster)
        self._peers = {keys.client: keys for keys in roster if keys.client != self.number}
        self._channels = {number: self._sealing.agree(keys.sealing, "shares") for number, keys in self._peers.items()}
        return tuple(self._seal(number, pair) for number, pair in pairs.items())

    def _seal(self, receiver: int, pair: tuple[int, int]) -> SealedShares:
        content = b"".join(y.to_bytes(SHARE_BYTES, "little") for y in pair)
        return SealedShares(self.number, receiver, seal(self._channels[receiver], self.number, receiver, content))

    def _open(self, sealed: SealedShares) -> tuple[int, int]:
        known = sealed.sender in self._channels
        content = unseal(self._channels[sealed.sender], sealed.sender, self.number, sealed.box) if known else None
        if content is None or len(content) != 2 * SHARE_BYTES:
            raise InputError(
                f"The shares that client {self.number} received as client {sealed.sender}'s were altered on their way "
                "or are not for it: it goes no further."
            )
        return int.from_bytes(content[:SHARE_BYTES], "little"), int.from_bytes(content[SHARE_BYTES:], "little")

    def mask(self, vector: Words, sealed: Iterable[SealedShares]) -> Masked:
        """Round 2: keep the shares of the peers in U2, and send the vector (D,) under its masks."""
        self._begin("mask")
        if vector.ndim != 1 or vector.dtype.kind != "u":
            raise InputError(
                f"Only a vector of unsigned words can be masked, not {vector.ndim} dimensions of {vector.dtype}."
            )
        self._held |= {one.sender: self._open(one) for one in sealed}
        enough(self._held, self.threshold, "share")
        masks = Masks(vector.copy())
        masks.add(self._seed)
        for peer in self._held.keys() - {self.number}:
            seed = self._masking.agree(self._peers[peer].masking, "mask")
            (masks.add if peer > self.number else masks.subtract)(seed)
        return Masked(self.number, masks.total)

    def sign(self, request: UnmaskRequest) -> Signed:
        """Round 3: sign the list of survivors and drop-outs, once and for all.

        Raises InputError for a list that would give away both secrets of somebody, that leaves out or makes up clients,
        or that calls this client dropped though it has sent its vector.
        """
        self._begin("sign")
        named = sorted((*request.survivors, *request.dropped))
        if set(request.survivors) & set(request.dropped):
            raise InputError(
                f"Client {self.number} was asked for both secrets of one client, which would unmask it: refused."
            )
        if named != sorted(self._held) or self.number not in request.survivors:
            raise InputError(
                f"Client {self.number} was asked about other clients than those that shared secrets: refused."
            )
        enough(request.survivors, self.threshold, "mask")
        self._signed = request
        return Signed(self.number, self.signer.sign(LIST, statement(self._roster, request)))

    def unmask(self, signatures: Iterable[Signed]) -> Revealed:
        """Round 4: give the shares of the survivors' seeds and of the drop-outs' mask keys, by the list it signed.

        Raises InputError unless at least ``threshold`` of the survivors have signed the same list.
        """
        self._begin("unmask")
        if self._signed is None:
            raise InputError(f"Client {self.number} has refused the list it was asked to sign: it reveals nothing.")
        told = statement(self._roster, self._signed)
        asked = {number: self.register[number] for number in self._signed.survivors}
        check_agreement(self.number, told, signatures, asked, self.threshold)
        seeds = {number: self._held[number][0] for number in self._signed.survivors}
        return Revealed(self.number, seeds, {number: self._held[number][1] for number in self._signed.dropped})

    def _begin(self, name: str) -> None:
        if ROUNDS[self._done] != name:
            raise InputError(f"Client {self.number} was asked for round {name} out of turn: each comes once, in order.")
        # The last round may be repeated, by the same list: an answer can get lost.
        self._done = min(self._done + 1, ROUNDS.index("unmask"))


class Server:
    """The server of one sum. It routes boxes it cannot open, adds up vectors it cannot read, and learns the sum."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self._keys: dict[int, Keys] = {}
        self._sharers: set[int] = set()
        self._masked: set[int] = set()
        self._sum: Words | None = None

    def roster(self, advertised: Iterable[Keys]) -> tuple[Keys, ...]:
        """Round 0: the public keys of U1, for each of them."""
        listed = sorted(advertised, key=lambda keys: keys.client)
        self._keys = {keys.client: keys for keys in listed}
        if len(self._keys) < len(listed):
            raise InputError("Two clients advertise keys under one number: every client needs its own.")
        enough(listed, self.threshold, "advertise")
        return tuple(listed)

    def route(self, sealed: Iterable[SealedShares]) -> dict[int, list[SealedShares]]:
        """Round 1: the boxes for each client of U2, from all others of U2."""
        listed = list(sealed)
        self._sharers = {one.sender for one in listed}
        wanted = [(u, v) for u in sorted(self._sharers) for v in self._keys if u != v]
        if not self._sharers <= set(self._keys) or sorted((one.sender, one.receiver) for one in listed) != wanted:
            raise InputError("A client has not sent exactly one box of shares to each of its peers.")
        enough(self._sharers, self.threshold, "share")
        boxes: dict[int, list[SealedShares]] = {number: [] for number in sorted(self._sharers)}
        for one in listed:
            if one.receiver in boxes:
                boxes[one.receiver].append(one)
        return boxes

    def add(self, masked: Masked) -> None:
        """Round 2: one vector; vectors are added up as they come, none is kept."""
        if masked.client not in self._sharers - self._masked:
            raise InputError(f"Client {masked.client} sent a second vector, or one without having shared its secrets.")
        if self._sum is None:
            self._sum = np.zeros_like(masked.vector)
        if (masked.vector.shape, masked.vector.dtype) != (self._sum.shape, self._sum.dtype):
            raise InputError(f"Client {masked.client} sent a vector of another length or word than those before it.")
        self._sum += masked.vector
        self._masked.add(masked.client)

    def request(self) -> UnmaskRequest:
        """End of round 2: who is in the sum and who is not, the same list for each of U3."""
        enough(self._masked, self.threshold, "mask")
        return UnmaskRequest(tuple(sorted(self._masked)), tuple(sorted(self._sharers - self._masked)))

    def agreement(self, signed: Iterable[Signed]) -> tuple[Signed, ...]:
        """Round 3: the signatures of U4, for each of them."""
        listed = sorted(signed, key=lambda one: one.client)
        enough(listed, self.threshold, "sign")
        return tuple(listed)

    def total(self, revealed: Iterable[Revealed]) -> Words:
        """Round 4: the sum over U3, from what at least t of them reveal."""
        answers = sorted(revealed, key=lambda one: one.client)
        enough(answers, self.threshold, "unmask")
        points, request = [one.client + 1 for one in answers], self.request()
        asked = (set(request.survivors), set(request.dropped))
        if any((set(one.seeds), set(one.mask_keys)) != asked for one in answers):
            raise InputError("A client revealed shares of other secrets than it was asked for.")
        seeds = combine_all(points, ([one.seeds[u] for one in answers] for u in request.survivors), self.threshold)
        secrets = combine_all(points, ([one.mask_keys[u] for one in answers] for u in request.dropped), self.threshold)
        assert self._sum is not None  # request() has seen at least t vectors
        masks = Masks(self._sum.copy())
        for seed in seeds:
            masks.subtract(seed)
        for number, secret in zip(request.dropped, secrets, strict=True):
            pair = KeyPair(secret)
            if pair.public != self._keys[number].masking:
                raise InputError(f"The revealed mask key of client {number} is not the one it advertised.")
            for peer in request.survivors:  # each took this mask with the opposite sign
                seed = pair.agree(self._keys[peer].masking, "mask")
                (masks.add if peer > number else masks.subtract)(seed)
        return masks.total


def registered(threshold: int, entropies: Sequence[Entropy]) -> list[Client]:
    """Clients 0, 1, ... for one sum, with new signing keys that each knows of the others: a simulation's register."""
    signers = [Signer(entropy(SECRET_BYTES)) for entropy in entropies]
    register = {number: signer.public for number, signer in enumerate(signers)}
    return [
        Client(number, threshold, signer, register, entropy)
        for number, (signer, entropy) in enumerate(zip(signers, entropies, strict=True))
    ]
