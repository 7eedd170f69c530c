"""Shares of discrete Laplace noise: tables and coins against exact laws, sums against the law."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from federation.entropy import SeededEntropy, SystemEntropy
from privacy.mechanisms import polya as module
from privacy.mechanisms.cumulative_table import CumulativeTable
from privacy.mechanisms.discrete_laplace import discrete_laplace, variance
from privacy.mechanisms.keystream import Keystream
from privacy.mechanisms.polya import polya_difference

ONE = 1 << 192


def sums(size: int, scale: float, honest: int, contributors: int, seed: int = 7) -> np.ndarray:
    """What so many sites add to each coordinate, shape (size,)."""
    entropy = SeededEntropy(seed)
    shares = (
        polya_difference(size, scale, honest, entropy.child("site", site))
        for site in range(contributors)
    )
    return sum(shares, np.zeros(size, np.int64))


def cumulative(at: np.ndarray, scale: float) -> np.ndarray:
    """P[X <= at] of the discrete Laplace."""
    q = math.exp(-1 / scale)
    below = np.exp(np.minimum(at, 0) / scale) / (1 + q)
    return np.where(at < 0, below, 1 - np.exp(-(at + 1.0) / scale) / (1 + q))


def chi_square(values: np.ndarray, scale: float) -> float:
    """p-value against the discrete Laplace, in bins that expect 60 values at least."""
    reach = max(1, math.floor(scale * math.log(len(values) / 200)))
    width = max(1, reach // 40)
    edges = np.arange(-reach, reach + 1, width)
    expected = len(values) * np.diff([0, *cumulative(edges - 1, scale), 1])
    observed = np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
    rare = expected < 60
    if rare.any():
        expected = np.append(expected[~rare], expected[rare].sum())
        observed = np.append(observed[~rare], observed[rare].sum())
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, len(expected) - 1))


def table_probabilities(table: CumulativeTable) -> list[int]:
    """In units of 2^-192, from `least` on."""
    ends = (*table.thresholds, ONE)
    return [end - begin for begin, end in zip((0, *ends[:-1]), ends, strict=True)]


SCALES = [0.36, 1.0, 7.5, 200.0, 256.0, 300.0, 2.0**20, 2.0**40]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("honest", [1, 3, 20])
def test_honest_shares_add_up_to_a_discrete_laplace(scale: float, honest: int) -> None:
    values = sums(100_000, scale, honest, honest)
    assert values.dtype == np.int64
    assert chi_square(values, scale) > 1e-3


def test_the_chi_square_sees_a_wrong_law() -> None:
    assert chi_square(sums(100_000, 200.0, 3, 3), 207.0) < 1e-6
    assert chi_square(sums(100_000, 200.0, 3, 2), 200.0) < 1e-6
    assert chi_square(sums(100_000, 0.36, 4, 3), 0.36) < 1e-6


@pytest.mark.parametrize("scale", [0.36, 1.0, 28.3, 200.0, 1000.0, 2.0**20])
@pytest.mark.parametrize(("honest", "contributors"), [(3, 1), (3, 3), (3, 4), (3, 10), (8, 9)])
def test_variances_are_within_three_percent(scale, honest, contributors) -> None:
    # One share of little noise is almost always 0, so its variance takes a large sample to see.
    size = 1_000_000 if contributors == 1 or scale < 1 else 100_000
    values = sums(size, scale, honest, contributors).astype(np.float64)
    expected = contributors / honest * variance(scale)
    assert np.mean(values**2) == pytest.approx(expected, rel=0.03)
    assert abs(values.mean()) < 4.5 * math.sqrt(expected / size)


def test_shares_of_one_hand_agree_with_the_slow_exact_sampler() -> None:
    slow = discrete_laplace(20_000, 12.5, SeededEntropy(3))
    fast = polya_difference(20_000, 12.5, 1, SeededEntropy(4))
    edges = np.unique(np.quantile(slow, np.linspace(0, 1, 20)))
    counted = [np.histogram(values, [-np.inf, *edges[1:-1], np.inf])[0] for values in (slow, fast)]
    assert stats.chi2_contingency(counted).pvalue > 1e-3


@pytest.mark.parametrize(("scale", "honest"), [(0.5, 3), (4.0, 5), (40.0, 2)])
def test_one_share_is_a_difference_of_scipys_negative_binomials(scale, honest) -> None:
    reach = math.ceil(45 * scale)
    one = stats.nbinom.pmf(np.arange(reach), 1 / honest, -math.expm1(-1 / scale))
    law = np.convolve(one, one[::-1])
    values = polya_difference(300_000, scale, honest, SeededEntropy(9))
    observed = np.bincount(values + reach - 1, minlength=len(law))
    many = len(values) * law >= 20
    expected = np.append(len(values) * law[many], len(values) * law[~many].sum())
    seen = np.append(observed[many], observed[~many].sum())
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(seen) - 1) > 1e-3


@pytest.mark.parametrize("scale", [2.0**-5, 0.36, 3.3, 250.0])
def test_single_jumps_have_the_exact_probabilities(scale: float) -> None:
    jumps = module._jumps(Fraction(scale))
    assert not jumps.decays
    found = table_probabilities(jumps.blocks)
    with localcontext(prec=100):
        q = (-1 / Decimal(scale)).exp()
        norm = -(1 - q).ln()
        exact = [q**k / (k * norm) for k in range(1, len(found) + 1)]
        distance = sum(abs(Decimal(f) / ONE - e) for f, e in zip(found, exact, strict=True)) / 2
        beyond = 1 - sum(exact)
    assert distance + beyond < Decimal(2) ** -174


@pytest.mark.parametrize("scale", [257.0, 5000.25, 2.0**20, 2.0**40])
def test_blocks_cover_every_jump_once_and_weigh_as_they_should(scale: float) -> None:
    jumps = module._jumps(Fraction(scale))
    starts, lengths = jumps.starts.tolist(), [1 << int(bits) for bits in jumps.bits]
    assert starts[0] == 1
    assert [a + n for a, n in zip(starts, lengths, strict=True)][:-1] == starts[1:]
    assert all(n <= a for a, n in zip(starts, lengths, strict=True))
    assert starts[-1] + lengths[-1] > 133 * scale
    found = table_probabilities(jumps.blocks)
    with localcontext(prec=100):
        weights = [
            n * (-Decimal(a) / Decimal(scale)).exp() / a
            for a, n in zip(starts, lengths, strict=True)
        ]
        total = sum(weights)
        distance = sum(
            abs(Decimal(f) / ONE - w / total) for f, w in zip(found, weights, strict=True)
        )
    assert distance < Decimal(2) ** -176


@pytest.mark.parametrize("scale", [300.0, 2.0**20, 2.0**40])
def test_the_coins_of_decay_are_exact(scale: float) -> None:
    jumps = module._jumps(Fraction(scale))
    for place, decay in enumerate(jumps.decays):
        for digit in (1, 2, 500, 1023):
            with localcontext(prec=100):
                exact = (-Decimal(digit << 10 * place) / Decimal(scale)).exp()
                assert abs(Decimal(decay.thresholds[digit]) / ONE - exact) < Decimal(2) ** -191


@pytest.mark.parametrize(("scale", "honest"), [(2.0**-5, 10**5), (1.0, 3), (2.0**40, 1)])
def test_the_number_of_jumps_is_poisson_of_the_exact_mean(scale: float, honest: int) -> None:
    found = table_probabilities(module._number_of_jumps(Fraction(scale), honest))
    with localcontext(prec=100):
        mean = -2 * (1 - (-1 / Decimal(scale)).exp()).ln() / honest
        exact, term = [], (-mean).exp()
        for number in range(1, len(found) + 1):
            exact.append(term)
            term = term * mean / number
        distance = sum(abs(Decimal(f) / ONE - e) for f, e in zip(found, exact, strict=True)) / 2
        beyond = 1 - sum(exact)
    assert distance + beyond < Decimal(2) ** -184


class Further(Keystream):
    """The next bits of a tie are these, 128 at a time."""

    def __init__(self, *further: int) -> None:
        self._left = [half for each in further for half in (each >> 64, each % 2**64)]

    def words(self, count: int) -> np.ndarray:
        drawn, self._left = self._left[:count], self._left[count:]
        return np.array(drawn, np.uint64)


@given(st.integers(1, 1023), st.integers(-1, 1), st.integers(-1, 1))
def test_a_coin_of_decay_compares_all_its_bits(digit: int, off: int, further_off: int) -> None:
    decay = module._jumps(Fraction(300)).decays[0]
    word = int(decay.heads[digit]) + off
    further = decay.thresholds[digit] % 2**128 + further_off

    class Fixed(Keystream):
        def __init__(self) -> None: ...

        def words(self, count: int) -> np.ndarray:
            return np.full(count, word, np.uint64)

    fallen = decay.throw(np.array([digit]), Fixed(), Further(further))
    assert fallen[0] == ((word << 128 | further) < decay.thresholds[digit])


@settings(deadline=None)
@given(st.sampled_from([300.0, 2.0**20, 2.0**40]), st.data())
def test_the_coin_of_a_over_k_compares_integers(scale: float, data) -> None:
    jumps = module._jumps(Fraction(scale))
    block = data.draw(st.integers(0, len(jumps.starts) - 1))
    start, length = int(jumps.starts[block]), 1 << int(jumps.bits[block])
    jump = start + data.draw(st.integers(0, length - 1))
    bits = 62 - int(2 * jumps.starts[-1]).bit_length()
    # In units of 2^-(bits + 256): where the decision turns, or as far off as is drawn.
    spread = data.draw(st.sampled_from([1, 2**255, 2**258, 2 ** (bits + 256)]))
    turning = -(-(start << bits + 256) // jump)
    uniform = turning + data.draw(st.integers(-spread, spread))
    uniform = min(max(uniform, 0), (1 << bits + 256) - 1)
    word = (uniform >> 256 << 64 - bits) | data.draw(st.integers(0, 2 ** (64 - bits) - 1))
    further = Further(uniform >> 128 & 2**128 - 1, uniform & 2**128 - 1)
    kept = jumps._is_harmonic(
        np.array([word], np.uint64), np.array([start]), np.array([jump]), further
    )
    assert bool(kept[0]) == (uniform * jump < start << bits + 256)


def test_shares_are_a_function_of_the_keys() -> None:
    for scale in (0.5, 40.0, 5e5):
        one, again = (polya_difference(70_000, scale, 3, SeededEntropy(1)) for _ in range(2))
        assert np.array_equal(one, again)
        assert not np.array_equal(one, polya_difference(70_000, scale, 3, SeededEntropy(2)))
    assert not np.array_equal(*(polya_difference(99, 9.0, 2, SystemEntropy()) for _ in range(2)))
    assert polya_difference(0, 1.0, 2, SystemEntropy()).shape == (0,)


def test_coordinates_are_independent_across_chunks_too() -> None:
    values = polya_difference(300_000, 60.0, 2, SeededEntropy(5)).astype(float)
    for lag in (1, 2, 1 << 16):
        correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
        assert abs(correlation) < 5 / math.sqrt(len(values) - lag)


def test_known_answers() -> None:
    # Frozen: a version that draws other values could not repeat what was simulated with this one.
    for (scale, honest), values in KNOWN.items():
        assert polya_difference(len(values), scale, honest, SeededEntropy(2026)).tolist() == values


KNOWN: dict[tuple[float, int], list[int]] = {
    (0.5, 1): [0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0],
    (4.0, 3): [0, 0, 0, -2, 0, -3, 2, -1, -1, -1, -1, 1],
    (200.0, 3): [-8, 57, 32, 51, 4, 9, 13, -271, 21, 108],
    (1048576.0, 3): [-90814, 6123, 4469, -2022349, -180130, -158847],
}


@pytest.mark.parametrize(
    ("size", "scale", "honest"),
    [(-1, 1.0, 1), (1, 0.03, 1), (1, 2.0**41, 1), (1, math.nan, 1), (1, math.inf, 1),
     (1, 1.0, 0), (1, 1.0, 10**5 + 1)],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(size: int, scale: float, honest: int) -> None:
    with pytest.raises(ValueError, match="honest"):
        polya_difference(size, scale, honest, SystemEntropy())
