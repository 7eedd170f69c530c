"""Shamir's sharing: t shares give the secret, t - 1 fit every secret."""

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from federation.entropy import SeededEntropy
from privacy.secure_sum import shamir
from privacy.secure_sum.shamir import PRIME, combine, decode_share, split

secrets = st.binary(min_size=32, max_size=32)


@st.composite
def dealings(draw: st.DrawFn) -> tuple[bytes, int, list[int], int]:
    points = draw(st.lists(st.integers(1, 200), min_size=2, max_size=12, unique=True))
    threshold = draw(st.integers(2, len(points)))
    return draw(secrets), threshold, points, draw(st.integers(0, 2**32))


def interpolate(shares: dict[int, int], at: int) -> int:
    """Neville's scheme over the field: an interpolation that shares no code with ours."""
    points = sorted(shares)
    column = [shares[point] for point in points]
    for width in range(1, len(points)):
        column = [
            ((at - points[i + width]) * column[i] + (points[i] - at) * column[i + 1])
            * pow(points[i] - points[i + width], -1, PRIME)
            % PRIME
            for i in range(len(points) - width)
        ]
    return column[0]


def test_the_prime_is_the_first_above_2_to_the_256() -> None:
    assert sympy.nextprime(2**256) == PRIME


@given(dealings(), st.randoms(use_true_random=False))
def test_any_threshold_of_the_shares_gives_the_secret(dealing, random) -> None:
    secret, threshold, points, seed = dealing
    shares = split(secret, threshold, points, SeededEntropy(seed))
    chosen = random.sample(points, threshold)
    assert combine({point: shares[point] for point in chosen}) == secret
    integers = {point: decode_share(shares[point]) for point in chosen}
    assert interpolate(integers, 0) == int.from_bytes(secret, "little")


@given(dealings())
def test_all_shares_lie_on_one_polynomial_of_degree_below_the_threshold(dealing) -> None:
    secret, threshold, points, seed = dealing
    dealt = split(secret, threshold, points, SeededEntropy(seed))
    shares = {point: decode_share(share) for point, share in dealt.items()}
    first = {point: shares[point] for point in points[:threshold]}
    assert all(interpolate(first, point) == shares[point] for point in points)


@given(dealings(), secrets)
def test_one_share_fewer_fits_every_secret(dealing, other: bytes) -> None:
    """Whatever `other` is, one more share would have made it the secret."""
    secret, threshold, points, seed = dealing
    shares = split(secret, threshold, points, SeededEntropy(seed))
    known = {point: decode_share(shares[point]) for point in points[: threshold - 1]}
    missing = points[threshold - 1]
    fitting = interpolate(known | {0: int.from_bytes(other, "little")}, missing)
    completed = {point: shares[point] for point in known} | {
        missing: fitting.to_bytes(33, "little")
    }
    assert combine(completed) == other


def test_coefficients_are_drawn_48_bytes_each_highest_power_first() -> None:
    """The polynomial written out from the same stream: 384 bits reduced, then Horner's order."""
    stream = SeededEntropy(3)
    a, b = (int.from_bytes(stream.bytes(48), "little") % PRIME for _ in range(2))
    secret = bytes(range(32))
    for point, share in split(secret, 3, [1, 7, 9], SeededEntropy(3)).items():
        value = (a * point**2 + b * point + int.from_bytes(secret, "little")) % PRIME
        assert share == value.to_bytes(33, "little")


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_the_extreme_secrets_come_back(secret: bytes) -> None:
    shares = split(secret, 2, [1, 2, 3], SeededEntropy(0))
    assert combine({1: shares[1], 3: shares[3]}) == secret


@pytest.mark.parametrize(
    ("secret", "threshold", "points", "why"),
    [
        (bytes(31), 2, [1, 2], "secret of 31 bytes"),
        (bytes(33), 2, [1, 2], "secret of 33 bytes"),
        (bytes(32), 1, [1, 2], "threshold 1"),
        (bytes(32), 3, [1, 2], "threshold 3: expected 2 to 2"),
        (bytes(32), 2, [1, 1], "distinct"),
        (bytes(32), 2, [0, 1], "from 1"),
        (bytes(32), 2, [1, PRIME], "from 1"),
    ],
)
def test_a_broken_bound_is_refused(secret, threshold, points, why) -> None:
    with pytest.raises(ValueError, match=why):
        split(secret, threshold, points, SeededEntropy(0))


def test_the_bounds_themselves_are_allowed() -> None:
    shares = split(bytes(32), 2, [1, PRIME - 1], SeededEntropy(0))
    assert combine(shares) == bytes(32)


def test_the_largest_field_element_is_a_share_and_the_prime_is_not() -> None:
    assert decode_share((PRIME - 1).to_bytes(33, "little")) == PRIME - 1
    for wrong in (PRIME.to_bytes(33, "little"), bytes(32), bytes(34)):
        with pytest.raises(ValueError, match="not a field element"):
            decode_share(wrong)


def test_combining_checks_points_and_shares() -> None:
    shares = split(bytes(32), 2, [1, 2], SeededEntropy(0))
    with pytest.raises(ValueError, match="from 1"):
        combine({0: shares[1], 2: shares[2]})
    with pytest.raises(ValueError, match="not a field element"):
        combine({1: shares[1], 2: PRIME.to_bytes(33, "little")})


def test_shares_of_no_32_byte_secret_are_refused() -> None:
    """A constant polynomial at 2**256, the smallest value that is no secret."""
    above = (2**256).to_bytes(33, "little")
    with pytest.raises(ValueError, match="no 32-byte secret"):
        combine({1: above, 2: above})
    below = (2**256 - 1).to_bytes(33, "little")
    assert combine({1: below, 2: below}) == b"\xff" * 32


def test_fewer_shares_than_the_threshold_give_another_secret() -> None:
    secret = bytes(range(32))
    shares = split(secret, 3, [1, 2, 3], SeededEntropy(0))
    assert combine({1: shares[1], 2: shares[2]}) != secret


def test_the_weights_of_a_set_of_holders_are_computed_once() -> None:
    shamir._weights_at_zero.cache_clear()
    for seed in range(3):
        combine(split(bytes(32), 2, [4, 9], SeededEntropy(seed)))
    assert shamir._weights_at_zero.cache_info().misses == 1
