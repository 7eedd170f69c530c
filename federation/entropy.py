"""Randomness as an argument: the operating system's, or a seed's, as different types.

A deployed agent (`client.home_opening.open_agent`) takes no randomness from anyone; what a seed can
repeat is asked for by name (`open_simulated_agent`). Seeded streams are AES-256-CTR keystreams
(NIST SP 800-38A) under keys derived by HKDF (RFC 5869), one per label, so that two purposes never
share a stream.
"""

import os
from functools import lru_cache
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from federation.hkdf import expand, extract

_COUNTER_FROM_ZERO = modes.CTR(bytes(16))


class Entropy(Protocol):
    """A source of uniformly random bytes."""

    def bytes(self, n: int) -> bytes:
        """The next `n` bytes."""
        ...

    def child(self, *labels: str | int) -> "Entropy":
        """An independent source for the purpose that `labels` name."""
        ...


class SystemEntropy:
    """The operating system's cryptographic generator."""

    def bytes(self, n: int) -> bytes:
        """`n` bytes nobody can predict or repeat."""
        return os.urandom(n)

    def child(self, *labels: str | int) -> "SystemEntropy":  # noqa: ARG002 - one source serves every purpose
        """This source: the operating system's bytes are independent already."""
        return self


class SeededEntropy:
    """A repeatable source, for simulations only.

    >>> a, b = SeededEntropy(7).child("noise", 3), SeededEntropy(7).child("noise", 3)
    >>> a.bytes(4) == b.bytes(4)
    True
    """

    def __init__(self, seed: int | bytes) -> None:
        key = seed if isinstance(seed, bytes) else f"hedgerow seed {seed}".encode()
        self._key = extract(key)
        # Of most sources only children are asked for, and a cipher costs more than they do.
        self._keystream: CipherContext | None = None

    def bytes(self, n: int) -> bytes:
        """The next `n` bytes of this seed's stream."""
        if self._keystream is None:
            stream = algorithms.AES256(expand(self._key, b"hedgerow/v1/stream"))
            self._keystream = Cipher(stream, _COUNTER_FROM_ZERO).encryptor()
        return self._keystream.update(bytes(n))

    def child(self, *labels: str | int) -> "SeededEntropy":
        """The source for `labels`; it does not depend on how much was drawn from this one."""
        info = b"hedgerow/v1/child" + b"".join(map(_length_prefixed, labels))
        return SeededEntropy(expand(self._key, info))


def keystream(entropy: Entropy, n: int) -> bytes:
    """`n` bytes of an AES-256-CTR keystream under a key from `entropy`: for many bytes at once.

    Where a system's generator gives some hundred megabytes a second, this gives gigabytes.
    """
    cipher = Cipher(algorithms.AES256(entropy.bytes(32)), _COUNTER_FROM_ZERO)
    return cipher.encryptor().update(bytes(n))


# Typed: 1 and True are equal, and yet two labels.
@lru_cache(maxsize=4096, typed=True)
def _length_prefixed(label: str | int) -> bytes:
    text = f"{type(label).__name__}:{label}".encode()
    return len(text).to_bytes(4, "big") + text
