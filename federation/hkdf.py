"""HKDF with SHA-256 and no salt (RFC 5869), for keys of at most one hash.

A simulation derives a dozen keys for every client and step, and an object of `cryptography` for
each derivation costs more than the hashes in it. These are its bytes: the tests compare them with
that library and with the RFC's own vector.
"""

from hashlib import sha256

HASH_BYTES = 32

_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_UNSALTED_INNER, _UNSALTED_OUTER = (
    bytes(_BLOCK_BYTES).translate(table) for table in (_INNER, _OUTER)
)


def extract(key: bytes) -> bytes:
    """The pseudorandom key of RFC 5869 section 2.2, 32 bytes; the salt is one hash of zeros."""
    return sha256(_UNSALTED_OUTER + sha256(_UNSALTED_INNER + key).digest()).digest()


def expand(pseudorandom_key: bytes, info: bytes) -> bytes:
    """The first 32 bytes of output for the purpose `info` (section 2.3).

    Args:
        pseudorandom_key: 32 bytes, from `extract`.
        info: what the output is for.
    """
    padded = pseudorandom_key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(padded.translate(_INNER) + info + b"\x01").digest()
    return sha256(padded.translate(_OUTER) + inner).digest()
