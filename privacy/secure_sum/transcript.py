"""What is hashed, signed or derived: one injective encoding, under one label per purpose.

Two different lists of byte strings never encode alike, and no two purposes share a label, so that
a digest, key or signature of one kind can never stand in for one of another.
"""

import hashlib
import struct
from enum import StrEnum

DOMAIN = b"hedgerow/secure-sum/v3/"
DIGEST_BYTES = 32
_length = struct.Struct(">I").pack


class Label(StrEnum):
    """What a digest, key or signature is for."""

    TERMS = "terms"
    SESSION = "session"
    GRAPH = "graph"
    SHARE = "share-commitment"
    SEED = "seed-commitment"
    CHANNEL = "channel"
    ROUND = "round"
    SELF_MASK = "self-mask"
    PAIRWISE_MASK = "pairwise-mask"
    MASKED = "masked"
    ADVERT = "advert"
    VOUCHER = "voucher"
    DEALT = "dealt-commitments"
    SURVIVORS = "survivors"
    ENLIST = "enlist"
    MODEL = "model"


def join(*parts: bytes) -> bytes:
    """Their count, and each after its length (four bytes each, big endian).

    >>> join(b"ab", b"") == join(b"a", b"b")
    False
    """
    framed = [_length(len(parts))]
    for part in parts:
        framed += (_length(len(part)), part)
    return b"".join(framed)


def bind(label: Label, *parts: bytes) -> bytes:
    """The encoding of `parts` for one purpose of this protocol."""
    return join(DOMAIN + label.encode(), *parts)


def digest(label: Label, *parts: bytes) -> bytes:
    """SHA-256 (FIPS 180-4) of `parts` bound to a purpose, 32 bytes."""
    return hashlib.sha256(bind(label, *parts)).digest()
