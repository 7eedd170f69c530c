"""What a Poisson sample costs that is hidden by a sum of discrete Gaussians: two upper bounds.

An integer vector x is released with noise. A record joins with probability q and then moves x by
an integer vector s of squared L2 norm at most S. G is N_Z(0, V) in each of d coordinates, G_s the
same moved by s, and r = G_s / G. Everybody else's randomness is fixed: a bound that holds for each
of its values holds for their mixture, as Renyi moments and hockey-stick divergences are jointly
convex. The noise itself, P, is a sum of discrete Gaussians of total variance V: by
`privacy.discrete_gaussian_divergence` log(P / G) ranges over at most d tau / 2, and since both sum
to one, exp(-t) <= P / G <= exp(t) with t = d tau / 2.

**Renyi, at whole orders a >= 2.** E_G[r^l] = exp(l (l - 1) |s|^2 / (2 V)) exactly, for whole l: the
sum over Z^d of exp(-|x - l s|^2 / (2 V)) does not depend on the integer shift l s. So the moment
of the record's presence over its absence,

    E_G[(1 - q + q r)^a] = sum_l binom(a, l) (1 - q)^(a - l) q^l exp(l (l - 1) |s|^2 / (2 V)),

is that of the Poisson-subsampled continuous Gaussian (Mironov, Talwar and Zhang 2019,
arXiv:1908.10530, section 3.3), and grows with |s|.

Absence over presence costs no more: E_G[h(1 - q + q r)] >= 0 for h(y) = y^a - y^(1 - a). The map
x -> s - x takes G to G_s and r to 1 / r, so it is enough that h(A) + r h(B) >= 0 for r >= 1, A = 1
- q + q r and B = 1 - q + q / r. With h(y) = 2 sqrt(y) sinh((a - 1/2) log y) that says sqrt(A)
sinh(k log A) >= r sqrt(B) sinh(-k log B), k = a - 1/2. At a = 1 both sides are equal, to q (r - 1)
/ 2. And A B >= 1, because r + 1 / r >= 2, so log A >= -log B, and the ratio of the two sinh grows
with k.

With P for G, mixtures M_P = (1 - q) P + q P_s: let m be the least log(P / G); m <= 0, and m + t is
at least the largest. Then M_P^a P^(1 - a) <= exp(a (m + t) + (1 - a) m) M_G^a G^(1 - a), and exp(a
t + m) <= exp(a t); the other direction alike. The divergence rises by at most a t / (a - 1).

**Privacy loss distributions.** A discrete Gaussian is a continuous one, rounded at random. Let Y be
N(x, V - w) and, given Y, X be the integer drawn with weight exp(-(X - Y)^2 / (2 w)). Completing the
square, X has the weight exp(-(X - x)^2 / (2 V)) times a mean of 1 / theta(Y), where theta(y) = sum
over k of exp(-(k - y)^2 / (2 w)) is a constant times 1 +- 2 rho, rho = sum over j >= 1 of exp(-2
pi^2 w j^2) (Poisson summation). So the law of X is within a factor exp(g) of N_Z(x, V), g = 5
exp(-2 pi^2 w), whatever the integer x. In d coordinates P is within exp(u), u = d (tau / 2 + g), of
a law made from the continuous Gaussian of deviation sqrt(V - w) without looking at x. Mixtures and
whole transcripts of c releases are then within exp(c u) of those made from the Poisson-subsampled
continuous Gaussian, also when later releases depend on earlier ones: if that has delta'(epsilon),

    delta(epsilon) <= exp(c u) delta'(epsilon - 2 c u).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from privacy.discrete_gaussian_divergence import Sensitivity, tau

Floats = npt.NDArray[np.float64]

ROUNDING_VARIANCE = 4
"""w: g is below 1e-33, and where V is thousands its part of the noise is not missed."""

_OUTWARD = 1 + 1e-10
"""More than the roundings below: logarithms up to 10^4 that nearly cancel are off by 1e-11."""


@dataclass(frozen=True, slots=True)
class ContinuousCounterpart:
    """A Poisson-subsampled continuous Gaussian, of which the release is nearly a function.

    Attributes:
        noise_multiplier: its deviation over the L2 sensitivity, > 0.
        log_ratio: u: the release's probabilities are within exp(u) of the function's; infinite
            where there is too little noise to say so.
    """

    noise_multiplier: float
    log_ratio: float


def renyi_divergence(
    orders: Sequence[int],
    sampling_rate: float,
    sensitivity: Sensitivity,
    variances: Sequence[Fraction],
) -> Floats:
    """Bound in both directions at each order, shape (len(orders),).

    Args:
        orders: whole numbers >= 2.
        sampling_rate: q in (0, 1].
        sensitivity: of the integer sum to one record of the sample.
        variances: of the independent discrete Gaussians in each coordinate; at least one.

    Raises:
        ValueError: a bound above is broken.
    """
    if not variances or not all(order == int(order) >= 2 for order in orders):
        raise ValueError(f"need a variance and whole orders >= 2: {len(variances)=}, {orders=}")
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate = {sampling_rate}: expected a number in (0, 1]")
    gap = sensitivity.dimension * tau(variances) / 2
    if math.isinf(gap):
        return np.full(len(orders), math.inf)
    squared_shift = float(sensitivity.squared_l2 / sum(variances))
    bounds = [
        (_log_moment(order, sampling_rate, squared_shift) + order * gap) / (order - 1)
        for order in orders
    ]
    return np.array(bounds) * _OUTWARD


def continuous_counterpart(
    sensitivity: Sensitivity, variances: Sequence[Fraction]
) -> ContinuousCounterpart:
    """What the release is nearly a function of; of use from a total variance of 2 w on.

    Args:
        sensitivity: of the integer sum to one record of the sample.
        variances: of the independent discrete Gaussians in each coordinate; at least one.
    """
    total = sum(variances, Fraction(0))
    if total < 2 * ROUNDING_VARIANCE:
        return ContinuousCounterpart(math.sqrt(total / sensitivity.squared_l2), math.inf)
    rounding = 5 * math.exp(-2 * math.pi**2 * ROUNDING_VARIANCE)
    return ContinuousCounterpart(
        math.sqrt((total - ROUNDING_VARIANCE) / sensitivity.squared_l2) / _OUTWARD,
        sensitivity.dimension * (tau(variances) / 2 + rounding) * _OUTWARD,
    )


def _log_moment(order: int, q: float, squared_shift: float) -> float:
    """Logarithm of E_G[(1 - q + q r)^order], where |s|^2 / V is `squared_shift`.

    As 1 + sum over l >= 2 of binom q^l (1 - q)^(order - l) (exp(...) - 1): nothing cancels, so a
    tiny moment keeps its digits.
    """
    if q == 1:
        return order * (order - 1) / 2 * squared_shift
    chosen = np.arange(2, order + 1, dtype=np.float64)
    exponents = chosen * (chosen - 1) / 2 * squared_shift
    with np.errstate(divide="ignore"):  # an exponent of zero adds nothing
        excess = exponents + np.log(-np.expm1(-exponents))
    weights = _log_binomials(order) + chosen * math.log(q) + (order - chosen) * math.log1p(-q)
    terms = weights + excess
    largest = terms.max()
    if largest == -math.inf:
        return 0.0
    # scipy's logsumexp takes ten times as long, and ledgers ask for every order of every event.
    return float(np.logaddexp(0.0, largest + np.log(np.exp(terms - largest).sum())))


@lru_cache(maxsize=128)
def _log_binomials(order: int) -> Floats:
    """Logarithm of binom(order, l) for l from 2 to `order`."""
    return np.array([math.log(math.comb(order, chosen)) for chosen in range(2, order + 1)])
