"""The least noise that keeps a whole run within a target, by the accountant that will judge it."""

from federation.errors import PrivacyRefusal
from privacy.accountant import DISCRETISATION, epsilon_by_pld
from privacy.event import PoissonSampledGaussian

SCALE = 10_000
"""The result is a whole multiple of 1 / SCALE: the least such, and exactly printable."""
COARSE = 1e-3
"""Bin width of the search; ten times faster than the accountant's, and never optimistic."""
LARGEST_NOISE_MULTIPLIER = 10_000


def noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Least noise multiplier, rounded up, at which `steps` steps cost at most `epsilon`.

    Args:
        epsilon: target, > 0.
        delta: in (0, 1).
        sampling_rate: in (0, 1].
        steps: of the whole run, >= 1.

    Raises:
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """

    def fits(units: int, discretisation: float) -> bool:
        event = PoissonSampledGaussian(sampling_rate, units / SCALE, steps)
        return epsilon_by_pld(event, delta, discretisation) <= epsilon

    high = SCALE // 2
    while not fits(high, COARSE):
        high *= 2
        if high > LARGEST_NOISE_MULTIPLIER * SCALE:
            raise PrivacyRefusal(
                f"privacy.epsilon = {epsilon:g} at delta = {delta:g}: no noise multiplier up to "
                f"{LARGEST_NOISE_MULTIPLIER} meets it; raise epsilon or lower rounds, local_steps "
                "or sampling_rate"
            )
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle, COARSE) else (middle, high)
    # The coarse bins over-state: what fits them fits the fine ones, and a little less may, too.
    while high > 1 and fits(high - 1, DISCRETISATION):
        high -= 1
    return high / SCALE
