"""The least noise on counts that keeps all releases within a target, and the law that takes less.

Solved for by the accountant that ledgers are judged by (`privacy.accountant`), so a plan's epsilon
is its ledger's.
"""

import math
from collections.abc import Callable
from functools import lru_cache

from dp_accounting.gaussian_mechanism import get_sigma_gaussian

from federation.errors import ConfigError, PrivacyRefusal
from privacy.count_noise import CountNoisePlan, CountRelease, check_target
from privacy.count_shares import GaussianShares, LaplaceShares

SCALE = 10_000
"""Noise is a whole multiple of 1 / SCALE: exactly printable."""
LARGEST_NOISE_MULTIPLIER = 10_000


def choose_count_noise(epsilon: float, delta: float, release: CountRelease) -> CountNoisePlan:
    """The plan of least variance at which all releases cost a record at most `epsilon`.

    Args:
        epsilon: of all releases together, > 0.
        delta: in (0, 1); the ledger's.
        release: what is released.

    Raises:
        ConfigError: epsilon or delta out of range.
        PrivacyRefusal: no noise meets the target.
    """
    check_target(epsilon, delta)
    found, refusals = [], []
    for plan in (laplace_count_noise, gaussian_count_noise):
        try:
            found.append(plan(epsilon, delta, release))
        except (ConfigError, PrivacyRefusal) as error:
            refusals.append(str(error))
    if not found:
        raise PrivacyRefusal("; ".join(refusals))
    # Of equals the first: its delta is 0.
    return min(found, key=lambda plan: plan.variance(release.honest))


@lru_cache(maxsize=32)
def laplace_count_noise(epsilon: float, delta: float, release: CountRelease) -> CountNoisePlan:
    """The plan with the least discrete Laplace noise, in shares of Polya variables.

    Raises:
        ConfigError: epsilon or delta out of range, or the scale that it takes.
    """

    def plan(units: int) -> CountNoisePlan:
        shares = LaplaceShares(units / SCALE, release.honest)
        return CountNoisePlan(epsilon, delta, release, shares)

    check_target(epsilon, delta)
    # At this scale the epsilons of all tables and releases add up to the target.
    pure = math.ceil(sum(release.sensitivities) * release.charges / epsilon * SCALE) + 1
    return plan(_least(_is_within(plan), max(release.sensitivities) * SCALE // 64, pure))


@lru_cache(maxsize=32)
def gaussian_count_noise(epsilon: float, delta: float, release: CountRelease) -> CountNoisePlan:
    """The plan with the least discrete Gaussian noise.

    Raises:
        ConfigError: epsilon or delta out of range.
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """

    def plan(units: int) -> CountNoisePlan:
        shares = GaussianShares(units / SCALE, release.squared_sensitivity, release.honest)
        return CountNoisePlan(epsilon, delta, release, shares)

    check_target(epsilon, delta)
    fits = _is_within(plan)
    # Continuous noise needs no more: so from there upwards, in growing steps.
    continuous = get_sigma_gaussian(epsilon, delta) * math.sqrt(release.charges)
    low = math.floor(min(continuous, LARGEST_NOISE_MULTIPLIER) * SCALE * (1 - 1e-3))
    step = max(1, low // 100)
    high = low + step
    while not fits(high):
        low, high, step = high, high + step, 2 * step
        if high > LARGEST_NOISE_MULTIPLIER * SCALE:
            raise PrivacyRefusal(
                f"count_noise.epsilon = {epsilon:g} at delta = {delta:g}: found no noise "
                f"multiplier up to {LARGEST_NOISE_MULTIPLIER} that meets it; raise epsilon or "
                "lower releases, tables or honest"
            )
    return plan(_least(fits, low, high))


def _is_within(plan: Callable[[int], CountNoisePlan]) -> Callable[[int], bool]:
    def holds(units: int) -> bool:
        try:
            plan(units)
        except (ConfigError, PrivacyRefusal):
            return False
        return True

    return holds


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Least number in (low, high] from which on `holds` does; taken to hold at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
