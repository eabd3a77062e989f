"""What passes between the clients and the server of a secure sum: nothing else is ever sent.

``size`` is a message's length in bytes: fixed fields one after the other, client numbers in four bytes each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fedlib.protect.keys import KEY_BYTES, SIGNATURE_BYTES, TAG_BYTES
from fedlib.protect.quantize import Words
from fedlib.protect.shamir import SHARE_BYTES

ROUNDS = ("advertise", "share", "mask", "sign", "unmask")
CLIENT_BYTES = 4
KEYS_SIZE = CLIENT_BYTES + 2 * KEY_BYTES + SIGNATURE_BYTES
SEALED_SIZE = 2 * CLIENT_BYTES + 2 * SHARE_BYTES + TAG_BYTES
SIGNED_SIZE = CLIENT_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class Keys:
    """Round 0, up; the list of all, down: a client's public keys, one to seal shares with and one to agree on masks.

    The signature says that they are this client's.
    """

    client: int
    sealing: bytes
    masking: bytes
    signature: bytes

    @property
    def content(self) -> bytes:
        """What is signed."""
        return struct.pack("<I", self.client) + self.sealing + self.masking

    @property
    def size(self) -> int:
        return CLIENT_BYTES + len(self.sealing) + len(self.masking) + len(self.signature)


@dataclass(frozen=True)
class SealedShares:
    """Round 1, up and then down: shares of ``sender``'s two secrets, for ``receiver`` alone to read and keep."""

    sender: int
    receiver: int
    box: bytes

    @property
    def size(self) -> int:
        return 2 * CLIENT_BYTES + len(self.box)


@dataclass(frozen=True, eq=False)
class Masked:
    """Round 2, up: a client's vector under its masks."""

    client: int
    vector: Words

    @property
    def size(self) -> int:
        return CLIENT_BYTES + self.vector.nbytes


@dataclass(frozen=True)
class UnmaskRequest:
    """Round 2, down: whose vectors are in the sum, and who shared secrets but sent no vector."""

    survivors: tuple[int, ...]
    dropped: tuple[int, ...]

    @property
    def size(self) -> int:
        return CLIENT_BYTES * (len(self.survivors) + len(self.dropped))


@dataclass(frozen=True)
class Signed:
    """Round 3, up; those of all, down: a client's signature on the list it was told."""

    client: int
    signature: bytes

    @property
    def size(self) -> int:
        return CLIENT_BYTES + len(self.signature)


@dataclass(frozen=True)
class Revealed:
    """Round 4, up: a client's shares of the survivors' own seeds and of the drop-outs' mask keys, never both of one."""

    client: int
    seeds: dict[int, int]
    mask_keys: dict[int, int]

    @property
    def size(self) -> int:
        return CLIENT_BYTES + (CLIENT_BYTES + SHARE_BYTES) * (len(self.seeds) + len(self.mask_keys))


Message = Keys | SealedShares | Masked | UnmaskRequest | Signed | Revealed
