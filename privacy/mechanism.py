"""Events as what accountants cost: one repetition of a few mechanisms, as the neighbours see it.

Many events are one mechanism: noise without sampling is a sample of rate 1, shares of Laplace noise
are Laplace noise. And neighbours that are further apart than one record are one record's neighbours
under less noise, where nothing is sampled: replaced rows move a sum by up to two sensitivities, k
rows by up to k. That is exact for additive noise, and never true of sampling: who doubles the
sensitivity of a sampled Gaussian, or forgets to (dp-accounting's Renyi accountant says 4.73 under
replace-one where 9.997 is exact), has no bound.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from privacy.event import (
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    DistributedDiscreteLaplace,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
    PrivacyEvent,
    RepeatAndSelect,
    SingleEvent,
)
from privacy.neighbours import Neighbours

MOST_NOISE, LEAST_RATE = 1e5, 1e-9
"""Beyond these the arithmetic of dp-accounting breaks down; what lies beyond is costed as if it
stood at the bound on its expensive side."""

SampledGaussian = PoissonSampledGaussian | PoissonSampledDistributedGaussian


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """A sampled Gaussian, as neighbours see it that are further apart than one record.

    Attributes:
        one: what one record would see; of a rate below 1.
        neighbours: with a stretch above 1.
    """

    one: SampledGaussian
    neighbours: Neighbours


@dataclass(frozen=True, slots=True)
class Selection:
    """One selection of the best of a random number of repetitions; see `event.RepeatAndSelect`."""

    repeated: "tuple[Loss, ...]"
    mean: float
    shape: float


Additive = SampledGaussian | Laplace | DiscreteLaplace
Mechanism = Additive | SampledGroup | Selection
Loss = tuple[Mechanism, int]
"""A mechanism of count 1, how often."""


def merged(events: Iterable[PrivacyEvent], neighbours: Neighbours) -> tuple[Loss, ...] | None:
    """Equal mechanisms added up, in order of first appearance; None if one is not private.

    Raises:
        PrivacyRefusal: a sensitivity to so many records is beyond what events allow.
    """
    counts = Counter[Mechanism]()
    for event in singles(events):
        if isinstance(event, NonPrivate):
            return None
        once = _once(event, neighbours)
        if once is None:
            return None
        counts[once] += event.count
    return tuple(counts.items())


def singles(events: Iterable[PrivacyEvent]) -> Iterator[SingleEvent]:
    """Releases one by one; none of them may be site-level."""
    for event in events:
        assert not isinstance(event, DistributedDiscreteGaussian)
        yield from event.events if isinstance(event, Composed) else (event,)


def pure_epsilon(mechanism: Laplace | DiscreteLaplace) -> Fraction:
    """Of one release, exact."""
    if isinstance(mechanism, Laplace):
        return 1 / Fraction(mechanism.noise_multiplier)
    return Fraction(mechanism.sensitivity) / Fraction(mechanism.scale)


def rounded_up(epsilon: Fraction) -> float:
    """Least float that is no less; infinite where there is none."""
    try:
        nearest = float(epsilon)
    except OverflowError:
        return math.inf
    return nearest if nearest >= epsilon else math.nextafter(nearest, math.inf)


def further_apart(
    event: DistributedDiscreteGaussian, neighbours: Neighbours
) -> DistributedDiscreteGaussian:
    """What neighbours see of a site's sum that are more than one sensitivity apart.

    The site's update replaced by another instead of by zeros; a site is one unit of privacy.
    """
    factor = neighbours.stretch
    if factor == 1:
        return event
    return replace(
        event,
        squared_sensitivity=event.squared_sensitivity * factor**2,
        noise_multiplier=_divided(event.noise_multiplier, factor),
    )


def _once(event: SingleEvent, neighbours: Neighbours) -> Mechanism | None:
    """One repetition; None where nothing is private."""
    if isinstance(event, RepeatAndSelect):
        repeated = merged(event.parts(), neighbours)
        return None if repeated is None else Selection(repeated, event.mean, event.shape)
    assert not isinstance(event, NonPrivate)
    additive = _canonical(event)
    if neighbours.stretch == 1:
        return additive
    if isinstance(additive, SampledGaussian) and additive.sampling_rate < 1:
        return SampledGroup(additive, neighbours)
    return _stretched(additive, neighbours.stretch)


def _canonical(
    event: SampledGaussian | Gaussian | Laplace | DiscreteGaussian | DiscreteLaplace
    | DistributedDiscreteLaplace,
) -> Additive:  # fmt: skip
    """One repetition, within what dp-accounting can cost."""
    if isinstance(event, DistributedDiscreteLaplace):
        event = event.at_once()
    if isinstance(event, DiscreteLaplace | Laplace):
        return replace(event, count=1)
    noise = min(event.noise_multiplier, MOST_NOISE)
    if isinstance(event, Gaussian):
        return PoissonSampledGaussian(1.0, noise, 1)
    if isinstance(event, DiscreteGaussian):
        return PoissonSampledDistributedGaussian(
            1.0, noise, event.dimension, event.squared_sensitivity, honest=1, count=1
        )
    rate = max(event.sampling_rate, LEAST_RATE)
    return replace(event, sampling_rate=rate, noise_multiplier=noise, count=1)


def _stretched(mechanism: Additive, factor: int) -> Additive:
    """What neighbours see that are `factor` sensitivities apart; nothing is sampled."""
    if isinstance(mechanism, DiscreteLaplace):
        return replace(mechanism, sensitivity=mechanism.sensitivity * factor)
    noise = _divided(mechanism.noise_multiplier, factor)
    if isinstance(mechanism, PoissonSampledDistributedGaussian):
        squared = mechanism.squared_sensitivity * factor**2
        return replace(mechanism, noise_multiplier=noise, squared_sensitivity=squared)
    return replace(mechanism, noise_multiplier=noise)


def _divided(noise: float, factor: int) -> float:
    """The quotient, rounded down."""
    quotient = noise / factor
    return (
        quotient if Fraction(quotient) * factor <= Fraction(noise) else math.nextafter(quotient, 0)
    )
