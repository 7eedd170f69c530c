"""What a dealer gives each holder: a share of each of its two secrets, and commitments to both.

The secrets are the self-mask seed, opened if the dealer survives, and the private mask key, opened
if it is lost. A holder checks its shares against the commitments when it gets them, so that whoever
later opens a share that does not fit is the one to blame. To the seed itself there is a commitment,
too, and to the mask key its public half: whether opened shares gave the right secret shows without
looking at every share.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from privacy.secure_sum import shamir
from privacy.secure_sum.keys import Direction
from privacy.secure_sum.shamir import SHARE_BYTES
from privacy.secure_sum.transcript import Label, digest, join

PAIR_BYTES = 2 * SHARE_BYTES
COMMITMENT_BYTES = 16
COMMITMENTS_BYTES = 2 * COMMITMENT_BYTES


class Secret(StrEnum):
    """What a share is a share of."""

    SEED = "seed"
    MASK_KEY = "mask-key"


@dataclass(frozen=True, slots=True)
class SharePair:
    """One holder's shares of one dealer's secrets, 33 bytes each."""

    seed: bytes = field(repr=False)
    mask_key: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """66 bytes."""
        return self.seed + self.mask_key

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Undo `to_bytes`.

        Raises:
            ProtocolViolation: `data` is not two field elements.
        """
        pair = cls(data[:SHARE_BYTES], data[SHARE_BYTES:])
        try:
            shamir.decode_share(pair.seed)
            shamir.decode_share(pair.mask_key)
        except ValueError as error:
            raise ProtocolViolation(f"pair of shares: {error}") from error
        return pair


@dataclass(frozen=True, slots=True)
class Pledge:
    """What a dealer is held to.

    Attributes:
        commitments: per holder (the dealer too), to its pair of shares.
        seed_commitment: to the seed that is shared.
        signature: the dealer's, on all of them.
    """

    commitments: Mapping[str, bytes]
    seed_commitment: bytes
    signature: bytes


def deal(
    seed: bytes, mask_key: bytes, threshold: int, points: Mapping[str, int], entropy: Entropy
) -> dict[str, SharePair]:
    """Per holder, shares of a 32-byte seed and a 32-byte private key at the holder's point.

    Raises:
        ValueError: as `shamir.split`.
    """
    at = list(points.values())
    seeds = shamir.split(seed, threshold, at, entropy)
    mask_keys = shamir.split(mask_key, threshold, at, entropy)
    return {holder: SharePair(seeds[point], mask_keys[point]) for holder, point in points.items()}


def seed_commitment(session: bytes, dealer: str, seed: bytes) -> bytes:
    """Bind a dealer to its self-mask seed, 32 bytes; the seed has 256 bits to hide in."""
    return digest(Label.SEED, session, dealer.encode(), seed)


def commitment(channel: Direction, secret: Secret, share: bytes) -> bytes:
    """Bind a dealer (the channel's sender) to one share of a holder (its receiver), 16 bytes.

    Shares have 256 bits to hide in. To pass another share off takes a second preimage, 2**128
    steps; a dealer could find a collision in 2**64 and gain nothing, as it may share any secret.
    """
    return digest(Label.SHARE, *channel.context, secret.encode(), share)[:COMMITMENT_BYTES]


def commitments(channel: Direction, pair: SharePair) -> bytes:
    """To both shares of a pair, seed first, 32 bytes."""
    return commitment(channel, Secret.SEED, pair.seed) + commitment(
        channel, Secret.MASK_KEY, pair.mask_key
    )


def fits(channel: Direction, secret: Secret, share: bytes, committed: bytes) -> bool:
    """Whether `share` is the one that `committed`, the dealer's `commitments`, is about."""
    halves = {
        Secret.SEED: committed[:COMMITMENT_BYTES],
        Secret.MASK_KEY: committed[COMMITMENT_BYTES:],
    }
    return hmac.compare_digest(commitment(channel, secret, share), halves[secret])


def commitment_body(
    session: bytes, dealer: str, by_holder: Mapping[str, bytes], seed: bytes
) -> tuple[bytes, bytes, bytes, bytes]:
    """What a dealer signs about its shares and its commitment to the seed."""
    entries = [join(holder.encode(), committed) for holder, committed in sorted(by_holder.items())]
    return session, dealer.encode(), join(*entries), seed
