"""Shamir's secret sharing over the prime 2**256 + 297 (Shamir 1979, doi:10.1145/359168.359176).

The prime is the first above 2**256, so that any 32-byte secret is one field element; plain Python
integers are fast enough for hundreds of holders.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import prod

from federation.entropy import Entropy

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
_COEFFICIENT_BYTES = 48
"""384 random bits reduced modulo a 257-bit prime are uniform up to 2**-127."""


def split(
    secret: bytes, threshold: int, points: Sequence[int], entropy: Entropy
) -> dict[int, bytes]:
    """One share per point; any `threshold` of them give the secret back, fewer say nothing.

    Args:
        secret: 32 bytes.
        threshold: 2 to len(points).
        points: distinct, from 1 to PRIME - 1.
        entropy: of the polynomial's coefficients.

    Returns:
        per point a share of 33 bytes, little-endian.

    Raises:
        ValueError: a bound above is broken.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret of {len(secret)} bytes: expected {SECRET_BYTES}")
    if not 2 <= threshold <= len(points):
        raise ValueError(f"threshold {threshold}: expected 2 to {len(points)}")
    _require_points(points)
    coefficients = [
        int.from_bytes(entropy.bytes(_COEFFICIENT_BYTES), "little") % PRIME
        for _ in range(threshold - 1)
    ]
    constant = int.from_bytes(secret, "little")
    return {
        point: _evaluate(coefficients, constant, point).to_bytes(SHARE_BYTES, "little")
        for point in points
    }


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret, 32 bytes, from exactly `threshold` shares by point.

    Raises:
        ValueError: a share is no field element, or the shares belong to no 32-byte secret (they
            were not dealt together).
    """
    points = tuple(sorted(shares))
    values = [decode_share(shares[point]) for point in points]
    secret = sum(w * y for w, y in zip(_weights_at_zero(points), values, strict=True)) % PRIME
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise ValueError("shares: they belong to no 32-byte secret")
    return secret.to_bytes(SECRET_BYTES, "little")


def decode_share(share: bytes) -> int:
    """The field element of a share.

    Raises:
        ValueError: wrong length, or not below the prime.
    """
    value = int.from_bytes(share, "little")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise ValueError("share: not a field element")
    return value


def _evaluate(coefficients: Sequence[int], constant: int, point: int) -> int:
    value = 0
    for coefficient in coefficients:
        value = (value * point + coefficient) % PRIME
    return (value * point + constant) % PRIME


@lru_cache(maxsize=4096)
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange coefficients at 0; the same holders open many secrets, so they are cached.

    Weight i is the product of all other points over the product of their distances to point i. All
    quotients are taken with one inversion (Montgomery 1987, doi:10.1090/S0025-5718-1987-0866113-7,
    section 10.3.1).
    """
    _require_points(points)
    everything = prod(points) % PRIME
    divisors = [
        mine * prod(other - mine for other in points if other != mine) % PRIME for mine in points
    ]
    before = list(accumulate(divisors, lambda a, b: a * b % PRIME, initial=1))
    inverse = pow(before.pop(), -1, PRIME)
    weights = []
    for divisor, product in zip(reversed(divisors), reversed(before), strict=True):
        weights.append(everything * product * inverse % PRIME)
        inverse = inverse * divisor % PRIME
    return tuple(reversed(weights))


def _require_points(points: Sequence[int]) -> None:
    if len(set(points)) != len(points) or not all(1 <= point < PRIME for point in points):
        raise ValueError("points: expected distinct numbers from 1 to the prime")
