"""The cryptography that secure aggregation stands on: key agreement, a sealed box, signatures, and masks from keys.

Nothing is invented here: X25519 (RFC 7748), HKDF with SHA-256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439), Ed25519 (RFC
8032) and AES-256 in counter mode, all from the package ``cryptography``. Every key but the one a client signs with is
made for one sum, and under none of them is a nonce used twice: a box's nonce says who sends it to whom, and a mask's
key makes that one mask.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np

from fedlib.errors import InputError
from fedlib.protect.quantize import Words

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as missing:
    raise InputError('Secure aggregation needs the package cryptography: pip install "fedlib[privacy]".') from missing

KEY_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 16
"""By how much a sealed box is longer than its content."""


class KeyPair:
    """A secret of 32 bytes and its X25519 public key."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, peer: bytes, purpose: str) -> bytes:
        """The key of 32 bytes that the owner of the public key ``peer`` agrees on for this purpose, too."""
        try:
            return derive(self._key.exchange(X25519PublicKey.from_public_bytes(peer)), purpose)
        except ValueError as err:
            raise InputError("A public key is not 32 bytes long or no point to agree on: it was altered.") from err


def derive(shared: bytes, purpose: str) -> bytes:
    """A uniform key of 32 bytes for one purpose (HKDF)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"fedlib secure aggregation: {purpose}".encode()).derive(shared)


class Signer:
    """A secret of 32 bytes to sign with, kept for many sums, and the Ed25519 public key that others know it by."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, purpose: str, content: bytes) -> bytes:
        """A signature of 64 bytes on the content, good for this purpose alone."""
        return self._key.sign(_stated(purpose, content))


def is_signed(public: bytes, signature: bytes, purpose: str, content: bytes) -> bool:
    """Whether the owner of the public key has signed this content for this purpose."""
    return _verified(public, signature, _stated(purpose, content))


# In a simulation all clients check the same few signatures; over a network each of them pays for its own checks.
@lru_cache(maxsize=1024)
def _verified(public: bytes, signature: bytes, content: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _stated(purpose: str, content: bytes) -> bytes:
    return f"fedlib secure aggregation: {purpose}\0".encode() + content


def seal(key: bytes, sender: int, receiver: int, content: bytes) -> bytes:
    """A box that only the key opens and nobody can alter unnoticed; one box a key and direction."""
    return ChaCha20Poly1305(key).encrypt(_nonce(sender, receiver), content, None)


def unseal(key: bytes, sender: int, receiver: int, box: bytes) -> bytes | None:
    """What is in the box; None where it was altered, or sealed with another key or in another direction."""
    try:
        return ChaCha20Poly1305(key).decrypt(_nonce(sender, receiver), box, None)
    except InvalidTag:
        return None


def _nonce(sender: int, receiver: int) -> bytes:
    return struct.pack("<III", sender, receiver, 0)


class Masks:
    """Masks for one running ``total`` (D,) of words, each stretched from a seed of 32 bytes (AES-256-CTR)."""

    def __init__(self, total: Words) -> None:
        self.total = total
        # Older releases of cryptography ask for room for one more block of 16 bytes, less one, whatever they write.
        self._room = np.empty(total.nbytes + 15, dtype=np.uint8)
        self._mask = self._room[: total.nbytes].view(total.dtype)
        self._zeros = bytes(total.nbytes)

    def add(self, seed: bytes) -> None:
        """total += PRG(seed) mod R, in place."""
        np.add(self.total, self._expand(seed), out=self.total)

    def subtract(self, seed: bytes) -> None:
        """total -= PRG(seed) mod R, in place."""
        np.subtract(self.total, self._expand(seed), out=self.total)

    def _expand(self, seed: bytes) -> Words:
        _keystream(seed).update_into(self._zeros, self._room.data)
        return self._mask


class SeededEntropy:
    """Random bytes that follow from seed, round and client, so that a simulation can be repeated.

    Whoever knows the seed knows every key and can take off every mask: never for clients that have something to hide.
    They take theirs from the operating system (``os.urandom``), which is the default everywhere.
    """

    def __init__(self, seed: int, round: int, client: int) -> None:
        self._stream = _keystream(derive(str(seed).encode(), f"simulation, round {round}, client {client}"))

    def __call__(self, n: int) -> bytes:
        return self._stream.update(bytes(n))


def _keystream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
