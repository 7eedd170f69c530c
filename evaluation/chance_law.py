"""What the distance of two histograms is by chance alone, when nothing has changed.

With d the difference of two windows' shares and p the shares themselves, both PSI and Pearson's
two-sample chi-square (over n m / (n + m)) are close to sum d^2 / p, a weighted sum of chi-squares
whose weights are the eigenvalues of D^-1/2 cov(d) D^-1/2, D = diag(p). Sampling gives B - 1 weights
1/n + 1/m: the law of Yurdakul 2018, section 3. Noise of variance v_b in a bin adds
(I - p 1') diag(v) (I - 1 p') / m^2 to cov(d): normalising by the noisy total is in it.

A law is its mean, deviation and skewness; tails are those of the gamma law with the same three
(Pearson type III), of which chi-square is one. Where few rows are expected in a bin, the three come
from a simulation instead, seeded by its own arguments.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincc, gammainccinv

from evaluation.group_metrics import Counts, Floats
from federation import canonical

FEW_EXPECTED = 30.0
"""Below as many rows expected in some bin the chi-square law of PSI is off by 10 % and more."""

NOISY = 0.02
"""From this noise on, deviation of a bin's noise times bins over rows, likewise."""

TOO_NOISY = 0.2
"""From this noise on no law holds: alarms without drift become twice and more as frequent."""

DRAWS = 10_000
_STEP, _COARSE_STEP = 1.25, 1.6
"""Simulated are rows, and shares and noise, rounded to powers of these: the moments, scaled to the
mean of the windows themselves, change little, and most comparisons meet one that was simulated."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Two windows that are compared bin by bin.

    Attributes:
        rows: of the reference and of the current window, > 0.
        shares: of the bins in both together, shape (B,), each > 0, B >= 2.
        noise: variance of the noise in each bin of the reference and of the current window,
            shape (2, B); zero where sums are exact.
    """

    rows: tuple[float, float]
    shares: Floats
    noise: Floats

    @property
    def sampling(self) -> float:
        """1/n + 1/m."""
        return 1 / self.rows[0] + 1 / self.rows[1]

    @property
    def noisiness(self) -> float:
        """Deviation of a bin's noise times the number of bins, over rows; the worse window's."""
        deviation = np.sqrt(self.noise.mean(axis=1))
        return float(np.max(len(self.shares) * deviation / np.array(self.rows)))


@dataclass(frozen=True, slots=True)
class ChanceLaw:
    """A law of values >= 0.

    Attributes:
        mean: of the value.
        deviation: its standard deviation.
        skewness: its third standardised moment, > 0.
    """

    mean: float
    deviation: float
    skewness: float

    def p_value(self, value: float) -> float:
        """Chance of a value as large or larger."""
        shape, scale, shift = self._gamma
        return float(gammaincc(shape, max(value - shift, 0.0) / scale))

    def critical(self, chance: float) -> float:
        """What is exceeded with this chance, in (0, 1)."""
        shape, scale, shift = self._gamma
        return shift + scale * float(gammainccinv(shape, chance))

    def scaled(self, factor: float) -> "ChanceLaw":
        """Law of the value times a factor > 0."""
        return ChanceLaw(self.mean * factor, self.deviation * factor, self.skewness)

    @property
    def _gamma(self) -> tuple[float, float, float]:
        """Shape, scale and shift."""
        shape, scale = 4 / self.skewness**2, self.deviation * self.skewness / 2
        return shape, scale, self.mean - shape * scale


def weighted_law(windows: Windows) -> ChanceLaw:
    """Law of sum d^2 / p: of PSI when no bin is small, and of chi-square over n m / (n + m)."""
    first, second, third = _weight_sums(windows)
    return ChanceLaw(first, math.sqrt(2 * second), 8 * third / (2 * second) ** 1.5)


def psi_law(windows: Windows) -> ChanceLaw:
    """Law of the population stability index with half a row added to every bin."""
    expected = float(windows.shares.min()) * min(windows.rows)
    if expected >= FEW_EXPECTED and windows.noisiness < NOISY:
        return weighted_law(windows)
    rounded = _rounded(windows)
    simulated = _simulated(
        rounded.rows, tuple(rounded.shares.tolist()), tuple(map(tuple, rounded.noise.tolist()))
    )
    # The rounding's own effect, to first order.
    return simulated.scaled(weighted_law(windows).mean / weighted_law(rounded).mean)


def pooled_windows(
    reference: Counts, current: Counts, noise_reference: Floats, noise_current: Floats
) -> Windows:
    """Two windows as they would be, were they alike.

    Args:
        reference: rows per bin, shape (B,); with noise perhaps negative.
        current: likewise.
        noise_reference: variance of the noise in each bin, shape (B,).
        noise_current: likewise.

    Raises:
        ValueError: a window has no rows, or a bin none in either.
    """
    rows = (float(reference.sum()), float(current.sum()))
    both = np.maximum(reference, 0) + np.maximum(current, 0)
    if min(rows) <= 0 or not np.all(both > 0) or len(both) < 2:
        raise ValueError(f"no law for windows of {rows} rows with {both.tolist()} per bin")
    return Windows(rows, both / both.sum(), np.stack([noise_reference, noise_current]))


def _weight_sums(windows: Windows) -> tuple[float, float, float]:
    """Sums of the weights, of their squares and of their cubes."""
    bins, sampling = len(windows.shares), windows.sampling
    if not windows.noise.any():
        return (bins - 1) * sampling, (bins - 1) * sampling**2, (bins - 1) * sampling**3
    shares = windows.shares
    per_bin = (windows.noise / np.square(windows.rows)[:, None]).sum(axis=0)
    centring = np.eye(bins) - np.outer(shares, np.ones(bins))
    covariance = sampling * (np.diag(shares) - np.outer(shares, shares))
    covariance += centring @ np.diag(per_bin) @ centring.T
    weights = np.linalg.eigvalsh(covariance / np.sqrt(np.outer(shares, shares)))
    weights = np.maximum(weights, 0.0)
    return float(weights.sum()), float(np.sum(weights**2)), float(np.sum(weights**3))


def _rounded(windows: Windows) -> Windows:
    order = np.argsort(windows.shares, kind="stable")
    shares = _to_power(windows.shares[order], _COARSE_STEP)
    rows = np.rint(_to_power(np.array(windows.rows), _STEP))
    # Noise matters relative to the rows and by the sum of variance over share: one number a window.
    common = np.sum(windows.noise / windows.shares, axis=1) / np.sum(1 / windows.shares)
    relative = common / np.square(windows.rows)
    noise = np.zeros_like(relative)
    noise[relative > 0] = _to_power(relative[relative > 0], _COARSE_STEP)
    per_bin = np.repeat((noise * np.square(rows))[:, None], len(shares), axis=1)
    return Windows((float(rows[0]), float(rows[1])), shares / shares.sum(), per_bin)


def _to_power(values: Floats, base: float) -> Floats:
    powers: Floats = base ** np.round(np.log(values) / math.log(base))
    return powers


@lru_cache(maxsize=4096)
def _simulated(
    rows: tuple[float, float], shares: tuple[float, ...], noise: tuple[tuple[float, ...], ...]
) -> ChanceLaw:
    seed = int(canonical.digest([rows, shares, noise]), 16)
    draws = np.random.default_rng(seed)
    logs, sides = [], []
    for window, variance in zip(rows, noise, strict=True):
        counts = draws.multinomial(int(window), shares, size=DRAWS).astype(np.float64)
        if any(variance):
            counts += np.rint(draws.normal(0.0, np.sqrt(variance), counts.shape))
        smoothed = np.maximum(counts, 0.0) + 0.5
        sides.append(smoothed / smoothed.sum(axis=1, keepdims=True))
        logs.append(np.log(sides[-1]))
    values = np.sum((sides[1] - sides[0]) * (logs[1] - logs[0]), axis=1)
    centred = values - values.mean()
    deviation = float(values.std())
    return ChanceLaw(
        float(values.mean()), deviation, max(float(np.mean(centred**3)) / deviation**3, 1e-3)
    )
