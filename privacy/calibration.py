"""The least noise that keeps a whole run within a target, by the accountant that will judge it."""

import math
from collections.abc import Callable
from dataclasses import replace

from federation.errors import PrivacyRefusal
from privacy.accountant import (
    cost,
    is_affordable,
    quick_epsilon,
    renyi_epsilon,
)
from privacy.distributed_noise import DistributedNoisePlan
from privacy.event import PoissonSampledGaussian
from privacy.shared_record_noise import SharedRecordNoisePlan

SCALE = 10_000
"""The result is a whole multiple of 1 / SCALE: the least such, and exactly printable."""
LARGEST_NOISE_MULTIPLIER = 10_000
LINE_MARGIN = 5e-5
"""Of the noise multiplier, relative: how near `quick_noise_multiplier` goes to its bound."""


def noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Least noise multiplier, rounded up to 4 decimals, at which `steps` steps cost `epsilon`.

    Args:
        epsilon: target, > 0.
        delta: in (0, 1).
        sampling_rate: in (0, 1].
        steps: of the whole run, >= 1.

    Raises:
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """

    def event(units: int) -> PoissonSampledGaussian:
        return PoissonSampledGaussian(sampling_rate, units / SCALE, steps)

    def fits(units: int) -> bool:
        return is_affordable([event(units)], delta, epsilon)

    # Every question takes the accountant up to half a second. The fast bound over-states a little:
    # near it epsilon is nearly a power of the noise, with the exponent that Renyi DP has there.
    quick = quick_noise_multiplier(epsilon, delta, sampling_rate, steps, "privacy.epsilon")
    near = round(quick * SCALE)
    further = math.ceil(1.01 * near)
    here, there = (renyi_epsilon([event(units)], delta) for units in (near, further))
    exact = cost([event(near)], delta).epsilon
    guess = float(near)
    if 0 < there < here < math.inf and 0 < exact < math.inf:
        exponent = math.log(there / here) / math.log(further / near)
        guess *= (exact / epsilon) ** (-1 / exponent)
    return _least_near(fits, max(1, math.ceil(guess))) / SCALE


def quick_noise_multiplier(
    epsilon: float, delta: float, sampling_rate: float, steps: int, name: str = "epsilon"
) -> float:
    """As `noise_multiplier`, by a bound that is ten times faster and hardly looser: for planning.

    Never less than that one, and usually within a thousandth of it.

    Args:
        epsilon: target, > 0.
        delta: in (0, 1).
        sampling_rate: in (0, 1].
        steps: of the whole run, >= 1.
        name: of the target, where it is refused.

    Raises:
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """

    def excess(log_noise: float, bound: Callable[..., float] = quick_epsilon) -> float:
        event = PoissonSampledGaussian(sampling_rate, math.exp(log_noise), steps)
        # Far off, what matters is on which side.
        return math.log(max(min(bound([event], delta), 1e3), 1e-9) / epsilon)

    low, high = math.log(1 / SCALE), math.log(LARGEST_NOISE_MULTIPLIER)
    if excess(high, renyi_epsilon) > 0:
        raise PrivacyRefusal(
            f"{name} = {epsilon:g} at delta = {delta:g}: found no noise multiplier up to "
            f"{LARGEST_NOISE_MULTIPLIER} that meets it; raise epsilon or lower rounds, local steps "
            "or the sampling rate"
        )
    # Renyi DP is fast and a little above: bisect by it, then find the root of the other below.
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle, renyi_epsilon) > 0 else (low, middle)
    low = high - 0.15
    while excess(low) <= 0 and low > math.log(1 / SCALE):
        low, high = low - 0.3, low
    # It costs tens of milliseconds, and is nearly a power of the noise: so by straight lines, each
    # a hair to the safe side.
    below, above = excess(low), excess(high)
    while above < 0 < below:
        middle = low + (high - low) * below / (below - above) + LINE_MARGIN
        if middle >= high - LINE_MARGIN:
            break
        off = excess(middle)
        if off > 0:
            low, below = middle, off
        else:
            high, above = middle, off
    return math.ceil(math.exp(high) * SCALE) / SCALE


def site_level_noise_multiplier(
    plan: Callable[[float], DistributedNoisePlan], rounds: int, epsilon: float, delta: float
) -> float:
    """Least noise multiplier, rounded up to 4 decimals, at which `rounds` sums cost `epsilon`.

    Args:
        plan: of one sum, for a noise multiplier; raises ConfigError where there is none.
        rounds: >= 1.
        epsilon: target, > 0.
        delta: in (0, 1).

    Raises:
        ConfigError: as `plan`, for the noise that it takes.
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """
    refusal = (
        f"privacy.site_level.epsilon = {epsilon:g} at delta = {delta:g}: found no noise "
        f"multiplier up to {LARGEST_NOISE_MULTIPLIER} that meets it; raise epsilon or "
        "lower rounds"
    )
    return least_units(_affordable(plan, rounds, epsilon, delta), refusal) / SCALE


def shared_noise_multiplier(
    plan: Callable[[float], SharedRecordNoisePlan],
    epsilon: float,
    delta: float,
    sampling_rate: float,
    rounds: int,
) -> float:
    """Least noise multiplier, rounded up to 4 decimals, at which `rounds` sums cost `epsilon`.

    No less than that of continuous noise, and hardly more: so it is looked for from there upwards.

    Args:
        plan: of one sum, for a noise multiplier; raises ConfigError where there is none.
        epsilon: target, > 0.
        delta: in (0, 1).
        sampling_rate: of the plan, in (0, 1].
        rounds: >= 1.

    Raises:
        ConfigError: as `plan`, for the noise that it takes.
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """
    fits = _affordable(plan, rounds, epsilon, delta)
    high = round(noise_multiplier(epsilon, delta, sampling_rate, rounds) * SCALE)
    low, step = high - 1, 1
    while not fits(high):
        low, high, step = high, high + step, 2 * step
    return _least(fits, low, high) / SCALE


def _affordable(
    plan: Callable[[float], DistributedNoisePlan | SharedRecordNoisePlan],
    rounds: int,
    epsilon: float,
    delta: float,
) -> Callable[[int], bool]:
    """Whether so many sums cost at most epsilon, given the noise multiplier times SCALE."""

    def fits(units: int) -> bool:
        event = replace(plan(units / SCALE).event(), count=rounds)
        return is_affordable([event], delta, epsilon)

    return fits


def least_units(fits: Callable[[int], bool], refusal: str) -> int:
    """The least noise multiplier, times SCALE, that meets a target.

    Args:
        fits: whether a noise multiplier, times SCALE, does; it does from some number on.
        refusal: what to say if none does.

    Raises:
        PrivacyRefusal: no noise multiplier up to LARGEST_NOISE_MULTIPLIER meets it.
    """
    high = SCALE // 2
    while not fits(high):
        high *= 2
        if high > LARGEST_NOISE_MULTIPLIER * SCALE:
            raise PrivacyRefusal(refusal)
    return _least(fits, 0, high)


def _least_near(fits: Callable[[int], bool], guess: int) -> int:
    """Least number > 0 from which on `fits` does, looked for from a guess in ever longer steps."""
    low, high, step = guess - 1, guess, 1
    if fits(guess):
        while low > 0 and fits(low):
            low, high, step = low - 2 * step, low, 2 * step
        return _least(fits, max(low, 0), high)
    low, high = guess, guess + 1
    while not fits(high):
        low, high, step = high, high + 2 * step, 2 * step
    return _least(fits, low, high)


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Least number in (low, high] from which on `holds` does; taken to hold at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
