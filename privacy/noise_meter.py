"""Does a sum carry the noise it should? Measured on coordinates that hold nothing else.

A layout can reserve coordinates to which every site adds its noise and no signal. Their sum over
`contributors` sites has the variance of that many shares. The sum of its squares over the promised
variance is chi-square with as many degrees of freedom as there are coordinates, as sums of discrete
Gaussians of a few units and more are Gaussian to far below what could be seen here
(`privacy.discrete_gaussian_divergence`); below a variance of 1 nothing is measured.

It finds faults: a site that forgot its noise, added it twice, with another scale or with the same
key as another site. It is no proof against a malicious site, which could noise these coordinates
and no others.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

FALSE_ALARM = 1e-6
"""Usual probability that a round without fault is called faulty."""

LEAST_VARIANCE = 1.0
MOST_PADDING = 10**9


@dataclass(frozen=True, slots=True)
class NoiseReading:
    """What one sum says about its noise.

    Attributes:
        coordinates: how many were measured.
        ratio: measured over promised variance; 1 is right.
        p_too_little: chance of so little noise or less, were all as promised.
        p_value: chance of a ratio as far out on either side: twice the lesser tail, at most 1.
        false_alarm: the chance, were all as promised, that `alarm` is true.
    """

    coordinates: int
    ratio: float
    p_too_little: float
    p_value: float
    false_alarm: float

    @property
    def alarm(self) -> bool:
        """The noise is not as promised, too little or too much."""
        return self.p_value <= self.false_alarm

    @property
    def is_too_little(self) -> bool:
        """The alarm is about privacy: there is less noise than was paid for."""
        return self.alarm and self.ratio < 1


def read_noise(
    padding: Floats,
    share_variance: float,
    contributors: int,
    rounding_variance: float = 0.0,
    false_alarm: float = FALSE_ALARM,
) -> NoiseReading:
    """Compare the noise in reserved coordinates with what `contributors` shares make.

    Args:
        padding: shape (m,), m >= 1, float64: the decoded sum in these coordinates, in units.
        share_variance: of one site's noise in each of them, in squared units.
        contributors: sites in the sum, >= 1.
        rounding_variance: what rounding may add to a coordinate of the sum, at most; more than the
            noise is called too much only beyond it.
        false_alarm: in (0, 1).

    Raises:
        ValueError: a bound above is broken, or the promised variance is below 1.
    """
    promised = contributors * share_variance
    if padding.ndim != 1 or len(padding) < 1 or padding.dtype != np.float64:
        raise ValueError(f"expected (m >= 1,) float64, got {padding.shape} {padding.dtype}")
    if not (contributors >= 1 and LEAST_VARIANCE <= promised < math.inf and 0 < false_alarm < 1):
        raise ValueError(
            "need contributors >= 1, a finite sum's variance >= 1 and false_alarm in (0, 1): "
            f"{contributors=}, {share_variance=}, {false_alarm=}"
        )
    m = len(padding)
    ratio = float(np.mean(padding**2)) / promised
    too_little = float(special.gammainc(m / 2, m * ratio / 2))
    most = promised + rounding_variance
    too_much = float(special.gammaincc(m / 2, m * ratio * promised / most / 2))
    both = min(1.0, 2 * min(too_little, too_much))
    return NoiseReading(m, ratio, too_little, both, false_alarm)


def power(
    coordinates: int, contributors: int, missing: int, false_alarm: float = FALSE_ALARM
) -> float:
    """Probability of an alarm when `missing` of `contributors` shares were not added.

    Args:
        coordinates: m >= 1.
        contributors: >= 1.
        missing: 1 to `contributors`.
        false_alarm: in (0, 1).

    Raises:
        ValueError: a bound above is broken.
    """
    if not (coordinates >= 1 and 1 <= missing <= contributors and 0 < false_alarm < 1):
        raise ValueError(
            "need coordinates >= 1, 1 <= missing <= contributors and false_alarm in (0, 1): "
            f"{coordinates=}, {contributors=}, {missing=}, {false_alarm=}"
        )
    if missing == contributors:
        return 1.0
    left = 1 - missing / contributors
    below = float(special.gammaincinv(coordinates / 2, false_alarm / 2)) / left
    above = float(special.gammainccinv(coordinates / 2, false_alarm / 2)) / left
    caught = special.gammainc(coordinates / 2, below) + special.gammaincc(coordinates / 2, above)
    return float(caught)


def padding_needed(
    contributors: int,
    missing: int = 1,
    least_power: float = 0.99,
    false_alarm: float = FALSE_ALARM,
) -> int:
    """Fewest reserved coordinates at which that many missing shares raise an alarm.

    About 2 ((a + b) contributors / missing)^2, where a and b are the normal quantiles of half the
    false alarm and of the power: for one of ten some ten thousand, for one of a hundred a million,
    which is more than most models have. Over k rounds with as much noise each, the coordinates of
    all of them may be joined, with shares and contributors as in each.

    Raises:
        ValueError: as for `power`, or no number up to 10^9 is enough.
    """
    if not 0 < least_power < 1:
        raise ValueError(f"least_power = {least_power}: expected a number in (0, 1)")
    low, high = 0, 1
    while power(high, contributors, missing, false_alarm) < least_power:
        low, high = high, 2 * high
        if high > MOST_PADDING:
            raise ValueError(f"{missing} of {contributors} cannot be seen in {MOST_PADDING}")
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(middle, contributors, missing, false_alarm) >= least_power
        low, high = (low, middle) if enough else (middle, high)
    return high
