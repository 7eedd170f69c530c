"""A lower bound on epsilon from one run, into which each of many canaries went by a fair coin.

Two tests of the same guesses. Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, Theorem 5.2 and
Appendix D, test (epsilon, delta). Mahloujifar, Melis and Chaudhuri 2024, arXiv:2410.22235,
Algorithm 3 (`audit_rh_with_cap`), test a whole trade-off curve, which refutes more. A guess
may be "in" or "out", or be withheld; it may look at the whole output, but not at the coins. How
many guesses are made is fixed beforehand, or each number tried is a look of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit

from privacy.audit.split_sample import confidence_of_each
from privacy.audit.trade_off import TradeOff

Floats = npt.NDArray[np.float64]
Coins = npt.NDArray[np.bool_]

SHARES_GUESSED = (0.05, 0.1, 0.2, 0.4)
"""Of the canaries, those with the highest and the lowest scores, half of each: one look each."""
TOLERANCE = 1e-4
"""Of a bound on epsilon, relative above 1."""
CURVE_TOLERANCE = 0.01
"""Of a curve's parameter: each further digit costs curves, which take a moment each."""
MOST_EPSILON = 64.0
MOST_PARAMETER = 8.0
"""Up to which bounds are looked for; curves of an eighth of the noise and less take minutes."""


@dataclass(frozen=True, slots=True)
class Guesses:
    """How an attacker fared.

    Attributes:
        canaries: m, each in by a fair coin.
        made: r, how many were guessed at, 0 to m.
        correct: v, 0 to r.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries:
            raise ValueError(f"expected 0 <= correct <= made <= canaries, got {self}")


def guesses(scores: Floats, coins: Coins, share: float) -> Guesses:
    """Guess "in" for the highest scores and "out" for the lowest, together a share of all.

    Args:
        scores: shape (m,), none NaN; high ones speak for "in".
        coins: whether each canary was in, shape (m,).
        share: in (0, 1].
    """
    if scores.shape != coins.shape or np.isnan(scores).any():
        raise ValueError("expected one score per coin, and none that is NaN")
    each = max(1, int(share * len(scores) / 2))
    order = np.argsort(scores, kind="stable")
    correct = int(coins[order[-each:]].sum()) + int((~coins[order[:each]]).sum())
    return Guesses(len(scores), 2 * each, correct)


def p_value(seen: Guesses, epsilon: float, delta: float) -> float:
    """Most chance of so many correct guesses under any (epsilon, delta)-DP mechanism."""
    accuracy = float(expit(epsilon))
    tail = float(stats.binom.sf(seen.correct - 1, seen.made, accuracy))
    if delta == 0 or seen.correct == 0:
        return min(tail, 1.0)
    fewer = np.arange(1, seen.correct + 1)
    nearly = stats.binom.sf(seen.correct - fewer - 1, seen.made, accuracy) - tail
    slack = max(0.0, float(np.max(nearly / fewer)))
    return min(tail + 2 * seen.canaries * delta * slack, 1.0)


def epsilon_lower_bound(seen: Guesses, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that (epsilon, delta)-DP is refuted for; 0 if none is.

    Args:
        seen: guesses whose number was fixed beforehand.
        delta: in [0, 1).
        confidence: in (0, 1).
    """
    significance = 1 - confidence
    return _largest(lambda e: p_value(seen, e, delta) <= significance, MOST_EPSILON, TOLERANCE)


def refutes(seen: Guesses, curve: TradeOff, confidence: float = 0.95) -> bool:
    """Whether no mechanism with this trade-off curve is guessed so well, but for 1 - confidence.

    Args:
        seen: guesses whose number was fixed beforehand.
        curve: claimed.
        confidence: in (0, 1).
    """
    significance = 1 - confidence
    right = significance * seen.correct / seen.canaries
    wrong = significance * (seen.made - seen.correct) / seen.canaries
    for correct in range(seen.correct - 1, -1, -1):
        least = max(wrong, curve.least_alarm(right))
        if least == wrong:  # nothing changes from here on
            break
        right = min(right + correct / (seen.made - correct) * (least - wrong), 1.0)
        wrong = least
    return right + wrong > seen.made / seen.canaries


def most_refuted(
    scores: Floats, coins: Coins, curve: Callable[[float], TradeOff], confidence: float = 0.95
) -> float:
    """The largest parameter whose curve is refuted, over several shares of guesses; 0 if none is.

    Args:
        scores: shape (m,), high ones speak for "in".
        coins: shape (m,).
        curve: of a parameter up to MOST_PARAMETER, with which more and more is allowed.
        confidence: in (0, 1), of the whole; every share in SHARES_GUESSED is one look.
    """
    each = confidence_of_each(confidence, len(SHARES_GUESSED))
    looks = [guesses(scores, coins, share) for share in SHARES_GUESSED]

    def refuted(parameter: float) -> bool:
        allowed = curve(parameter)
        return any(refutes(look, allowed, each) for look in looks)

    return _largest(refuted, MOST_PARAMETER, CURVE_TOLERANCE)


def _largest(refuted: Callable[[float], bool], most: float, tolerance: float) -> float:
    """The largest number, up to `most`, up to which a claim is refuted; by a tolerance too low."""
    low, high = 0.0, 1.0
    while high <= most and refuted(high):
        low, high = high, 2 * high
    if high > most:
        return low
    while high - low > tolerance * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
