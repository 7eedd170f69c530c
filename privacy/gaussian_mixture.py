"""Privacy loss distribution of a Poisson-sampled Gaussian for a person with up to k records.

Each record of the person is in the sample with probability q and moves the sum by a vector of norm
at most 1 (in units of the sensitivity), so the sum moves by one of norm at most j with probability
B(j), j binomial of k and q. Neighbours under add-or-remove-one have the noised sum's law

    P = sum_j B(j) N(u_j, sigma^2 I), |u_j| <= j,    and    Q = N(0, sigma^2 I),

or the other way round; under replace-one both are such mixtures. The law of everybody else's part
is the same on both sides and may be taken as fixed: hockey-stick divergences are jointly convex.

That the worst case is one-dimensional, u_j = j in P and -j in Q: let S be any set of outcomes, a
its probability under N(0, sigma^2 I) and z = Phi^-1(a). By the Neyman-Pearson lemma N(u, sigma^2 I)
gives S at most Phi(z + |u| / sigma) and at least Phi(z - |u| / sigma). So for every alpha >= 0

    P(S) - alpha Q(S) <= sum_j B(j) Phi(z + j / sigma) - alpha sum_j B(j) Phi(z - j / sigma),

which the one-dimensional pair attains on a half-line. Dominating pairs compose, also adaptively
(Zhu, Dong and Wang 2022, arXiv:2106.08567, Theorem 10). For add-or-remove-one this is Corollary 4.7
of Choquette-Choo, Ganesh, Steinke and Thakurta 2023, arXiv:2310.15526; for k = 1 and replace-one it
is dp-accounting's REPLACE adjacency.

dp-accounting finds where a mixture's loss has a given value by bisection, one value after another
(10 s and more for k = 8); here all are found at once, to float precision.
"""

import math

import numpy as np
import numpy.typing as npt
from dp_accounting.pld import pld_pmf
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.special import gammaln, log_ndtr, logsumexp

from privacy.connect_dots import connect_dots
from privacy.neighbours import ADD_OR_REMOVE_ONE, Neighbours

Floats = npt.NDArray[np.float64]

_TAIL = 10.0
"""Noise beyond so many deviations has a probability below 1e-23: loss counts as infinite there."""
_FAR = 37.0
"""Beyond so many deviations a float holds no probability of noise any more."""
_GRID = 2**12
_NEWTON_STEPS = 6
"""From a start that is off by 1e-3 deviations, each squares the error; three suffice."""
_ROUNDING = 1e-15
"""More than the rounding of a difference of two probabilities."""


class Mixture:
    """sum_j weight_j N(centre_j, sigma^2) on the line."""

    __slots__ = ("_centres", "_log_weights", "_sigma")

    def __init__(self, log_weights: Floats, centres: Floats, sigma: float) -> None:
        self._log_weights, self._centres, self._sigma = log_weights, centres, sigma

    def log_ratio(self, x: Floats) -> tuple[Floats, Floats]:
        """Logarithm of the density over that of N(0, sigma^2), and its derivative, at each x."""
        exponents = self._log_weights + self._centres * (x[:, None] - self._centres / 2) / (
            self._sigma**2
        )
        total = logsumexp(exponents, axis=1)
        slope = np.exp(exponents - total[:, None]) @ self._centres / self._sigma**2
        return total, slope

    def log_tail(self, x: Floats) -> Floats:
        """Logarithm of the probability of [x, inf), at each x."""
        tails = log_ndtr((self._centres - x[:, None]) / self._sigma)
        beyond: Floats = logsumexp(self._log_weights + tails, axis=1)
        return beyond


def from_sampled_group(
    sampling_rate: float, noise_multiplier: float, neighbours: Neighbours, discretisation: float
) -> pld.PrivacyLossDistribution:
    """Connect-the-dots PLD, an upper bound, of one Poisson-sampled Gaussian.

    Args:
        sampling_rate: q in (0, 1).
        noise_multiplier: deviation over the L2 sensitivity to one record, > 0.
        neighbours: the person's records, and whether they are replaced.
        discretisation: width of a bin.
    """
    present = _binomial(sampling_rate, neighbours.records, noise_multiplier)
    absent = Mixture(np.zeros(1), np.zeros(1), noise_multiplier)
    mirrored = _binomial(sampling_rate, neighbours.records, noise_multiplier, sign=-1.0)
    reach = neighbours.records / noise_multiplier
    if neighbours.relation == ADD_OR_REMOVE_ONE:
        return pld.PrivacyLossDistribution(
            pessimistic(present, absent, noise_multiplier, reach, discretisation),
            pessimistic(absent, mirrored, noise_multiplier, reach, discretisation),
        )
    return pld.PrivacyLossDistribution(
        pessimistic(present, mirrored, noise_multiplier, reach, discretisation)
    )


def _binomial(rate: float, records: int, sigma: float, sign: float = 1.0) -> Mixture:
    chosen = np.arange(records + 1, dtype=np.float64)
    log_binomials = gammaln(records + 1) - gammaln(chosen + 1) - gammaln(records - chosen + 1)
    log_weights = log_binomials + chosen * math.log(rate) + (records - chosen) * math.log1p(-rate)
    return Mixture(log_weights - logsumexp(log_weights), sign * chosen, sigma)


def pessimistic(
    upper: Mixture, lower: Mixture, sigma: float, reach: float, discretisation: float
) -> pld_pmf.PLDPmf:
    """Connect the dots of two mixtures.

    Args:
        upper: what is released, and
        lower: what it is told from; the logarithm of their ratio grows with x.
        sigma: of both.
        reach: largest distance of a centre from 0, in sigmas.
        discretisation: width of a bin.
    """
    ends = sigma * np.array([-reach - _TAIL, reach + _TAIL])
    least, most = _loss(upper, lower, ends)[0] / discretisation
    bins = np.arange(math.floor(least), math.ceil(most) + 1)
    at = _inverse(upper, lower, bins * discretisation, sigma * (reach + _FAR))
    log_upper = upper.log_tail(at)
    log_lower = bins * discretisation + lower.log_tail(at)
    deltas = np.clip(np.exp(log_upper) - np.exp(log_lower) + _ROUNDING, 0.0, 1.0)
    return connect_dots(discretisation, int(bins[0]), deltas)


def _loss(upper: Mixture, lower: Mixture, x: Floats) -> tuple[Floats, Floats]:
    above, slope_above = upper.log_ratio(x)
    below, slope_below = lower.log_ratio(x)
    return above - below, slope_above - slope_below


def _inverse(upper: Mixture, lower: Mixture, losses: Floats, far: float) -> Floats:
    """Where the loss has each of these values: `far` to one side where it has not."""
    grid = np.linspace(-far, far, _GRID)
    values, _ = _loss(upper, lower, grid)
    x = np.interp(losses, values, grid)
    inside = (losses > values[0]) & (losses < values[-1])
    # Newton, kept between the grid points around the value.
    index = np.clip(np.searchsorted(values, losses[inside]), 1, _GRID - 1)
    low, high, found = grid[index - 1], grid[index], x[inside]
    for _ in range(_NEWTON_STEPS):
        value, slope = _loss(upper, lower, found)
        step = np.divide(losses[inside] - value, slope, out=np.zeros_like(value), where=slope > 0)
        found = np.clip(found + step, low, high)
    x[inside] = found
    return x
