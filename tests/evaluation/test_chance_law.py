"""The law of PSI and chi-square without drift: alarms are as frequent as they are said to be."""

import numpy as np
import pytest
from scipy.stats import chi2

from evaluation.chance_law import TOO_NOISY, Windows, pooled_windows, psi_law, weighted_law

TRIALS = 20_000


def windows(rows, bins, deviation=0.0):
    noise = np.full((2, bins), deviation**2)
    return Windows(rows, np.full(bins, 1 / bins), noise)


def drawn_psi(rng, law_windows, trials=TRIALS):
    sides = []
    for rows, variance in zip(law_windows.rows, law_windows.noise, strict=True):
        counts = rng.multinomial(int(rows), law_windows.shares, trials).astype(float)
        counts += np.rint(rng.normal(0, np.sqrt(variance), counts.shape))
        smoothed = np.maximum(counts, 0) + 0.5
        sides.append(smoothed / smoothed.sum(axis=1, keepdims=True))
    return np.sum((sides[1] - sides[0]) * np.log(sides[1] / sides[0]), axis=1)


CASES = [
    (rows, bins, deviation)
    for rows in ((10_000, 100), (10_000, 250), (10_000, 1000), (200, 200), (1000, 1000))
    for bins in (4, 10, 20)
    for deviation in (0.0, 1.36, 2.8)
    if bins * deviation / min(rows) <= TOO_NOISY
]


@pytest.mark.parametrize(("rows", "bins", "deviation"), CASES)
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_psi_alarms_as_often_as_it_should(rows, bins, deviation, alpha) -> None:
    """Within 12 % of alpha plus 4 deviations of the trials; expected rows per bin down to 5."""
    given_windows = windows(rows, bins, deviation)
    rate = np.mean(
        drawn_psi(np.random.default_rng(3), given_windows) > psi_law(given_windows).critical(alpha)
    )
    slack = 4 * np.sqrt(alpha / TRIALS)
    # Noise that is close to too much makes the tail a little heavier than the law's.
    upper = 1.4 if deviation else 1.12
    assert alpha * 0.8 - slack <= rate <= alpha * upper + slack


@pytest.mark.parametrize("bins", [2, 4, 10, 20])
def test_without_noise_the_law_is_chi_square(bins) -> None:
    law = weighted_law(windows((10_000, 100), bins))
    for alpha in (0.05, 1e-3, 1e-6):
        expected = chi2.isf(alpha, bins - 1) * (1 / 10_000 + 1 / 100)
        assert law.critical(alpha) == pytest.approx(expected, rel=1e-9)
        assert law.p_value(expected) == pytest.approx(alpha, rel=1e-6)


def test_critical_value_of_the_research_table() -> None:
    """Simulated 95 % quantile at n = 10,000, m = 100, B = 10: .1616; the chi-square law's .1709."""
    assert psi_law(windows((10_000, 100), 10)).critical(0.05) == pytest.approx(0.163, abs=0.006)


def test_noise_moves_the_mean_by_bins_squared_over_rows_squared() -> None:
    exact, noised = (weighted_law(windows((1e9, 1000), 10, sd)).mean for sd in (0.0, 5.0))
    assert noised - exact == pytest.approx(10 * 9 * 25 / 1000**2, rel=1e-3)


def test_a_scaled_law_scales_its_values() -> None:
    law = weighted_law(windows((500, 300), 6))
    assert law.scaled(3.0).critical(0.01) == pytest.approx(3 * law.critical(0.01))


def test_windows_that_have_no_law_are_refused() -> None:
    nothing = np.zeros(2)
    for before, now in (([0, 0], [3, 4]), ([5, 0], [6, 0]), ([5], [6])):
        with pytest.raises(ValueError, match="no law"):
            pooled_windows(
                np.array(before), np.array(now), nothing[: len(now)], nothing[: len(now)]
            )
