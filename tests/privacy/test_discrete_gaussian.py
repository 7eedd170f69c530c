"""The discrete Gaussian: tables against exact probabilities, draws against other samplers."""

import math
import random
from bisect import bisect_right
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.entropy import SeededEntropy, SystemEntropy
from privacy.mechanisms import discrete_gaussian as module
from privacy.mechanisms.cumulative_table import CumulativeTable
from privacy.mechanisms.discrete_gaussian import discrete_gaussian
from privacy.mechanisms.keystream import Keystream

ONE = 1 << 192


def weight(x: int, variance: Fraction) -> Decimal:
    with localcontext(prec=100):
        exponent = Fraction(x * x) / (2 * variance)
        return (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()


def probability(x: int, variance: Fraction) -> Decimal:
    reach = math.ceil(25 * math.sqrt(variance)) + 2
    with localcontext(prec=100):
        return weight(x, variance) / sum(weight(y, variance) for y in range(-reach, reach + 1))


def table_probabilities(table: CumulativeTable) -> dict[int, int]:
    """Value -> probability in units of 2^-192."""
    ends = (*table.thresholds, ONE)
    return {
        table.least + i: end - begin
        for i, (begin, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True))
    }


def chi_square(values: np.ndarray, deviation: float) -> float:
    """p-value against the exact law, in up to 60 bins of whole numbers."""
    reach = math.ceil(6 * deviation) + 1
    width = max(1, 2 * reach // 60)
    edges = np.arange(-reach, reach + width, width)
    expected = len(values) * np.diff([0, *cumulative(edges - 1, deviation), 1])
    observed = np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
    many = expected >= 10
    rest = observed[~many].sum(), expected[~many].sum()
    terms = [(o, e) for o, e in zip(observed[many], expected[many], strict=True)]
    if rest[1] >= 1:
        terms.append(rest)
    else:
        assert rest[0] < 10
    statistic = sum((o - e) ** 2 / e for o, e in terms)
    return float(stats.chi2.sf(statistic, len(terms) - 1))


def cumulative(at: np.ndarray, deviation: float) -> np.ndarray:
    """P[X <= at]; Euler and Maclaurin call both the same beyond a deviation of 2,000."""
    if deviation > 2_000:
        return stats.norm.cdf((at + 0.5) / deviation)
    reach = math.ceil(9 * deviation) + 1
    support = np.arange(-reach, reach + 1)
    pmf = np.exp(-(support**2) / (2 * deviation**2))
    return np.cumsum(pmf / pmf.sum())[np.clip(at, -reach, reach) + reach]


def bernoulli_exp(exponent: Fraction, coin: random.Random) -> bool:
    """Canonne, Kamath and Steinke 2020, Algorithm 1: true with probability exp(-exponent)."""
    while exponent > 1:
        if not bernoulli_exp(Fraction(1), coin):
            return False
        exponent -= 1
    tries = 1
    while coin.randrange(tries * exponent.denominator) < exponent.numerator:
        tries += 1
    return tries % 2 == 1


def discrete_laplace(scale: int, coin: random.Random) -> int:
    """Algorithm 2."""
    while True:
        low = coin.randrange(scale)
        if not bernoulli_exp(Fraction(low, scale), coin):
            continue
        high = 0
        while bernoulli_exp(Fraction(1), coin):
            high += 1
        magnitude, negative = low + scale * high, coin.randrange(2)
        if magnitude or not negative:
            return -magnitude if negative else magnitude


def slow_exact_sample(variance: Fraction, coin: random.Random) -> int:
    """Algorithm 3, with rational numbers only."""
    scale = math.isqrt(math.floor(variance)) + 1
    while True:
        candidate = discrete_laplace(scale, coin)
        if bernoulli_exp((abs(candidate) - variance / scale) ** 2 / (2 * variance), coin):
            return candidate


@pytest.mark.parametrize("deviation", [0.1, 0.4, 1.0, 2.5, 7.0])
def test_a_table_holds_the_exact_probabilities(deviation: float) -> None:
    variance = Fraction(deviation) ** 2
    table = table_probabilities(module._table(variance))
    assert sum(table.values()) == ONE
    with localcontext(prec=100):
        distance = sum(
            abs(Decimal(units) / ONE - probability(x, variance)) for x, units in table.items()
        )
        assert distance / 2 < Decimal(2) ** -173


def test_a_wide_table_is_right_from_the_middle_to_its_end() -> None:
    variance = Fraction(127**2)
    table = table_probabilities(module._table(variance))
    assert len(table) == 2 * (math.ceil(16.5 * 127) + 1) + 1
    for x in (0, 1, -1, 127, -500, 2000):
        with localcontext(prec=100):
            expected = probability(x, variance)
            assert abs(Decimal(table[x]) / ONE - expected) < Decimal(2) ** -180


def test_two_layers_make_one_discrete_gaussian() -> None:
    deviation = 129
    step = 5
    near = table_probabilities(module._table(Fraction(16 * step**2)))
    far = table_probabilities(module._table(Fraction(deviation**2, step**2) - 16))
    for z in (0, 1, 2, 3, 64, -129, 700):
        both = sum(far[y] * near.get(z - step * y, 0) for y in far)
        with localcontext(prec=100):
            relative = Decimal(both) / ONE**2 / probability(z, Fraction(deviation**2)) - 1
            assert abs(relative) < Decimal(2) ** -140


@pytest.mark.parametrize("deviation", [0.5, 1.0, 5.0, 50.0, 128.0, 129.0, 700.0, 2.0**20])
def test_draws_follow_the_exact_law(deviation: float) -> None:
    values = discrete_gaussian(200_000, deviation**2, SeededEntropy(11))
    assert values.dtype == np.int64
    assert chi_square(values, deviation) > 0.001


def test_the_chi_square_sees_a_wrong_law() -> None:
    values = discrete_gaussian(200_000, 25.0, SeededEntropy(12))
    assert chi_square(values, 5.1) < 1e-6
    assert chi_square(np.rint(stats.norm.rvs(0, 0.5, 200_000, random_state=1)), 0.5) < 1e-6


@pytest.mark.parametrize("deviation", [0.7, 3.0, 200.0])
def test_draws_agree_with_a_slow_exact_sampler(deviation: float) -> None:
    coin = random.Random(5)
    slow = [slow_exact_sample(Fraction(deviation) ** 2, coin) for _ in range(4_000)]
    fast = discrete_gaussian(40_000, deviation**2, SeededEntropy(13))
    assert chi_square(np.array(slow), deviation) > 0.001
    edges = np.unique(np.quantile(slow, np.linspace(0, 1, 12)))
    counted = [np.histogram(values, [-np.inf, *edges[1:-1], np.inf])[0] for values in (slow, fast)]
    assert stats.chi2_contingency(counted).pvalue > 0.001


@pytest.mark.parametrize("deviation", [1.0, 30.0, 1000.0, 2.0**20])
def test_variance_symmetry_and_tails(deviation: float) -> None:
    values = discrete_gaussian(400_000, deviation**2, SeededEntropy(14)) / deviation
    assert abs(values.mean()) < 4 / math.sqrt(len(values))
    assert abs((values**2).mean() - 1) < 4 * math.sqrt(2 / len(values))
    assert abs((values**3).mean()) < 4 * math.sqrt(15 / len(values))
    assert abs((values**4).mean() - 3) < 4 * math.sqrt(96 / len(values))
    if deviation > 1:
        far = np.count_nonzero(np.abs(values) > 4 + 0.5 / deviation)
        expected = 2 * stats.norm.sf(4 + 0.5 / deviation) * len(values)
        assert abs(far - expected) < 4.5 * math.sqrt(expected)


def test_neighbouring_values_and_chunks_are_independent() -> None:
    values = discrete_gaussian(300_000, 500.0**2, SeededEntropy(15)).astype(float)
    for lag in (1, 2, 1 << 16):
        correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
        assert abs(correlation) < 4 / math.sqrt(len(values) - lag)


def test_known_answers() -> None:
    # Frozen: a version that draws other values could not take away what this one added.
    for variance, values in KNOWN.items():
        drawn = discrete_gaussian(len(values), variance, SeededEntropy(2021))
        assert drawn.tolist() == values


KNOWN = {
    Fraction(1, 4): [0, 0, 0, 0, 0, 1, 0, 0, -1, 0],
    Fraction(30): [-6, -4, -5, -4, 0, 8, -2, -5, -8, 3],
    Fraction(10**6): [792, -2008, -417, 992, 434, -692],
    Fraction(2**40): [892304, -2060213, -384936, 1090121, 464340, -812088],
}


def test_noise_is_a_function_of_the_keys_and_longer_vectors_begin_alike() -> None:
    for variance in (4.0, 1e6):
        long, short = (discrete_gaussian(n, variance, SeededEntropy(1)) for n in (150_000, 70_000))
        assert np.array_equal(long[:70_000], short)
        assert not np.array_equal(short[:50], discrete_gaussian(50, variance, SeededEntropy(2)))
    assert not np.array_equal(*(discrete_gaussian(50, 9.0, SystemEntropy()) for _ in range(2)))
    assert discrete_gaussian(0, 4.0, SystemEntropy()).shape == (0,)


@given(st.sampled_from([0.1, 1.0, 90.0]), st.integers(0, 2**64 - 1), st.data())
def test_a_draw_counts_the_thresholds_up_to_u(deviation: float, word: int, data) -> None:
    table = module._table(Fraction(deviation) ** 2)
    if data.draw(st.booleans()):
        word = int(data.draw(st.sampled_from(table.heads.tolist())))
    further = data.draw(st.integers(0, 2**128 - 1))
    expected = table.least + bisect_right(table.thresholds, (word << 128) | further)
    assert table.look_up(np.array([word], np.uint64), lambda: further).tolist() == [expected]


def test_a_tie_of_64_bits_is_decided_by_the_next_128() -> None:
    table = module._table(Fraction(4))
    at = len(table.thresholds) // 2
    threshold = table.thresholds[at]
    word, tail = np.array([threshold >> 128], np.uint64), threshold % 2**128
    assert 0 < tail < 2**128 - 1
    assert table.look_up(word, lambda: tail - 1).tolist() == [table.least + at]
    assert table.look_up(word, lambda: tail).tolist() == [table.least + at + 1]


def test_further_bits_are_drawn_for_ties_only() -> None:
    table = module._table(Fraction(4))

    def refuse() -> int:
        raise AssertionError

    word = table.heads[len(table.heads) // 2]
    table.look_up(np.array([word - 1, word + 1], np.uint64), refuse)
    with pytest.raises(AssertionError):
        table.look_up(np.array([word]), refuse)


@pytest.mark.parametrize(
    ("size", "variance"), [(-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, 2.0**48 * 1.001),
                           (1, math.inf)]
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(size: int, variance: float) -> None:
    with pytest.raises(ValueError, match="variance"):
        discrete_gaussian(size, variance, SystemEntropy())


def test_a_keystream_is_aes_256_in_counter_mode() -> None:
    # NIST SP 800-38A, F.5.5 has another counter; this is FIPS 197's cipher of zero under zero.
    stream = Keystream(bytes(32))
    assert stream.words(2).tobytes().hex() == "dc95c078a2408989ad48a21492842087"
    whole = Keystream(bytes(32)).words(5)
    assert np.array_equal(whole[2:], stream.words(3))
    with pytest.raises(ValueError, match="31 bytes"):
        Keystream(bytes(31))
