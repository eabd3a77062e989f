"""What the clients of a secure sum sign, and what they check before they go on."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from fedlib.errors import InputError
from fedlib.protect.keys import is_signed
from fedlib.protect.messages import Keys, Signed, UnmaskRequest

KEYS, LIST = "keys", "list of survivors"
"""The two purposes of a signature: one made for the first says nothing about the second."""


def statement(roster: Sequence[Keys], request: UnmaskRequest) -> bytes:
    """What a client signs in round 3: a digest of this sum's keys, so that it fits no other sum, and the list."""
    keys = sha256(b"".join(one.content for one in sorted(roster, key=lambda one: one.client))).digest()
    numbers = (len(request.survivors), *request.survivors, *request.dropped)
    return keys + struct.pack(f"<{len(numbers)}I", *numbers)


def check_roster(own: Keys, roster: Sequence[Keys], register: Mapping[int, bytes]) -> None:
    """Raise InputError unless all keys differ, each is signed by whom it names, and the own ones are among them."""
    numbers = {keys.client for keys in roster}
    publics = {public for keys in roster for public in (keys.sealing, keys.masking)}
    if own not in roster or len(numbers) < len(roster) or len(publics) < 2 * len(roster):
        raise InputError(
            f"Client {own.client} finds a key repeated in the list, or its own altered: it goes no further."
        )
    for keys in roster:
        public = register.get(keys.client)
        if public is None or not is_signed(public, keys.signature, KEYS, keys.content):
            raise InputError(
                f"Client {own.client} finds keys in the list as client {keys.client}'s, which are not signed by a "
                "registered client of that number: it goes no further."
            )


def check_agreement(
    number: int, told: bytes, signatures: Iterable[Signed], publics: Mapping[int, bytes], threshold: int
) -> None:
    """Raise InputError unless ``threshold`` owners of ``publics`` have signed what client ``number`` was told."""
    given = {one.client: one.signature for one in signatures if one.client in publics}
    agree = sum(is_signed(publics[client], signature, LIST, told) for client, signature in given.items())
    if agree < threshold:
        raise InputError(
            f"The list that client {number} has signed bears {agree} of the {threshold} signatures it must have: "
            "others may have been told another list, so the client reveals nothing."
        )
