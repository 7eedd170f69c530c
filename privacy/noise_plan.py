"""What a federation could choose before it begins: noise, sampling rate; and what if shares fail.

For planning: by the quick bound, hardly looser than the accountant's. A run solves for its noise
again, and its sites' ledgers judge it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from federation.errors import ConfigError
from privacy.accountant import quick_epsilon
from privacy.calibration import quick_noise_multiplier
from privacy.event import Gaussian, PoissonSampledGaussian, SingleEvent

USUAL_RATES = (0.01, 0.05, 0.2)
"""Tried where no sampling rate is given."""

CURVE = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Multiples of the noise at which epsilon is shown."""

MOST_NOISE_OF_LEAST = 1.5
"""The smallest rate is chosen whose noise on the mean is at most so many times the least found."""


@dataclass(frozen=True, slots=True)
class NoiseRequest:
    """What a federation wants.

    Attributes:
        epsilon: target of the whole run, > 0, at `delta` in (0, 1).
        delta: as above.
        rows: public estimate of each site's rows, >= 1.
        sites: >= 1.
        rounds: >= 1.
        local_steps: of each round, >= 1.
        quorum: fewest sites that a sum is of, 1 to `sites`.
        colluders: of those, how many may tell their noise, below `quorum`.

    Raises:
        ConfigError: a bound above is broken.
    """

    epsilon: float
    delta: float
    rows: int
    sites: int
    rounds: int
    local_steps: int
    quorum: int
    colluders: int

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ConfigError("--epsilon", self.epsilon, "a finite number > 0", "usual: 1 to 8")
        check_delta(self.delta)
        for name in ("rows", "sites", "rounds", "local_steps"):
            if getattr(self, name) < 1:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(option, getattr(self, name), "a whole number >= 1")
        if not 1 <= self.quorum <= self.sites:
            raise ConfigError("--quorum", self.quorum, f"1 to the {self.sites} sites")
        if not 0 <= self.colluders < self.quorum:
            raise ConfigError(
                "--colluders", self.colluders, f"0 to {self.quorum - 1}, below quorum"
            )

    @property
    def steps(self) -> int:
        """Of the whole run, at each site."""
        return self.rounds * self.local_steps

    @property
    def honest(self) -> int:
        """Fewest shares of noise that nobody can subtract."""
        return self.quorum - self.colluders


@dataclass(frozen=True, slots=True)
class NoiseChoice:
    """One way to meet the target.

    Attributes:
        sampling_rate: q.
        noise_multiplier: of each step at each site.
        batch: rows of a site's batch, on average.
        own_noise: deviation of the noise on the mean of all sites' clipped gradients of one step,
            in units of the clip norm, where every site adds its whole noise.
        shared_noise: the same where sites share it: enough if quorum sites are left and the
            colluders among them subtract their part, and all sites are there.
    """

    sampling_rate: float
    noise_multiplier: float
    batch: float
    own_noise: float
    shared_noise: float


@dataclass(frozen=True, slots=True)
class MissingShares:
    """What is left of noise that was calibrated for some shares, when more are missing.

    Attributes:
        missing: shares dropped out or told by colluders beyond what was allowed for.
        variance: left, as a share of what was planned.
        epsilon: what the run then costs.
    """

    missing: int
    variance: float
    epsilon: float


def check_delta(delta: float) -> None:
    """Raise ConfigError where it is no delta."""
    if not 0 < delta < 1:
        raise ConfigError("--delta", delta, "a number in (0, 1)", "usual: below 1 / rows")


def choices(request: NoiseRequest, rates: Sequence[float]) -> list[NoiseChoice]:
    """One for each rate that samples a row at least, in their order.

    Raises:
        ConfigError: a rate is out of range, or none samples a row.
        PrivacyRefusal: no noise meets the target.
    """
    if not all(0 < rate <= 1 for rate in rates):
        raise ConfigError("--sampling-rate", rates[0], "a number in (0, 1]", "usual: 0.01 to 0.2")
    found = [choice(request, rate) for rate in rates if rate * request.rows >= 1]
    if not found:
        raise ConfigError(
            "--sampling-rate", max(rates), f"at least 1 / {request.rows}, one row of a site's"
        )
    return found


def choice(request: NoiseRequest, rate: float) -> NoiseChoice:
    """The least noise that meets the target at one sampling rate in (0, 1]."""
    noise = quick_noise_multiplier(request.epsilon, request.delta, rate, request.steps)
    batch, sites = rate * request.rows, request.sites
    shared = noise * math.sqrt(sites / request.honest) / (sites * batch)
    return NoiseChoice(rate, noise, batch, noise / (math.sqrt(sites) * batch), shared)


def chosen(found: Sequence[NoiseChoice]) -> NoiseChoice:
    """The smallest rate whose noise on the mean is within `MOST_NOISE_OF_LEAST` of the least."""
    least = min(each.own_noise for each in found)
    near = [each for each in found if each.own_noise <= MOST_NOISE_OF_LEAST * least]
    return min(near, key=lambda each: each.sampling_rate)


def curve(request: NoiseRequest, choice: NoiseChoice) -> list[tuple[float, float]]:
    """(noise multiplier, epsilon) around the choice."""
    noises = [choice.noise_multiplier * factor for factor in CURVE]
    rate, steps = choice.sampling_rate, request.steps
    return [
        (noise, quick_epsilon([PoissonSampledGaussian(rate, noise, steps)], request.delta))
        for noise in noises
    ]


def missing_shares(
    event: PoissonSampledGaussian | Gaussian, honest: int, delta: float
) -> list[MissingShares]:
    """What if 0, 1, 2, half or all but one of the `honest` shares are missing.

    Every share has the same variance, so what is left is Gaussian with that many of them.
    """
    counts = sorted({0, 1, 2, honest // 2, honest - 1} & set(range(honest)))
    return [
        MissingShares(missing, left, quick_epsilon([_with_less_noise(event, left)], delta))
        for missing, left in ((count, (honest - count) / honest) for count in counts)
    ]


def _with_less_noise(event: PoissonSampledGaussian | Gaussian, left: float) -> SingleEvent:
    noise = event.noise_multiplier * math.sqrt(left)
    if isinstance(event, Gaussian):
        return Gaussian(noise, event.count)
    return PoissonSampledGaussian(event.sampling_rate, noise, event.count)
