"""Privacy events: what was done, as parameters and never as an epsilon.

A ledger stores events, and every accountant, of today or later, says what they cost. An event's
JSON names a mechanism out of a fixed list; an unknown one is refused, never imported by name.
"""

import math
from dataclasses import MISSING, asdict, dataclass, fields, replace
from fractions import Fraction

import dp_accounting

from federation.errors import PrivacyRefusal
from privacy.discrete_gaussian_divergence import Sensitivity
from privacy.surplus_noise import SurplusNoisePlan

HonestNoise = tuple[tuple[Fraction, ...], ...]
"""Variances of the discrete Gaussians that hide the unit, for each set of survivors that may be the
worst: one set where no surplus is removed."""

MOST_REPETITIONS = 10**9
"""Of one event; far above any training, far below where an accountant's arithmetic overflows."""

LARGEST_SENSITIVITY = 2**62
LARGEST_DIMENSION = 2**40
"""Far above any model; up to here a vector of discrete Gaussians is as good as its law."""
MOST_SHARES = 10**5
"""Of one sum's noise; far above any federation, and costed in a moment."""
LARGEST_EXPONENT = 700.0
"""Above it exp overflows; an epsilon this large protects nothing either way."""


@dataclass(frozen=True, slots=True)
class PoissonSampledGaussian:
    """`count` times the Gaussian mechanism on a Poisson sample.

    Attributes:
        sampling_rate: q in (0, 1].
        noise_multiplier: standard deviation / L2 sensitivity, finite, > 0.
        count: how often, 1 to 10**9.

    Raises:
        PrivacyRefusal: a bound above is broken.
    """

    sampling_rate: float
    noise_multiplier: float
    count: int

    def __post_init__(self) -> None:
        sound = 0 < self.sampling_rate <= 1 and 0 < self.noise_multiplier < float("inf")
        if not (sound and 1 <= self.count <= MOST_REPETITIONS):
            raise PrivacyRefusal(
                f"event {self}: expected 0 < sampling_rate <= 1, a finite noise_multiplier > 0 and "
                "count from 1 to 10**9"
            )

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The same in dp-accounting's terms."""
        once = dp_accounting.PoissonSampledDpEvent(
            self.sampling_rate, dp_accounting.GaussianDpEvent(self.noise_multiplier)
        )
        return dp_accounting.SelfComposedDpEvent(once, self.count)


class _NoiseInShares:
    """What events of sums have in common whose noise is in shares, whichever unit it hides."""

    __slots__ = ()

    noise_multiplier: float
    dimension: int
    squared_sensitivity: int
    honest: int
    dropouts: int

    @property
    def share_variance(self) -> Fraction:
        """Of one share in each coordinate, in squared units; exact."""
        return Fraction(self.noise_multiplier) ** 2 * self.squared_sensitivity / self.honest

    @property
    def sensitivity(self) -> Sensitivity:
        """How far one unit of privacy moves the integer sum."""
        return Sensitivity(self.dimension, self.squared_sensitivity)

    def honest_noise(self) -> HonestNoise:
        """See `HonestNoise`."""
        if not self.dropouts:
            return ((self.share_variance,) * self.honest,)
        target, most = self.share_variance * self.honest, self.honest + self.dropouts
        return SurplusNoisePlan(target, most, self.dropouts, colluders=0).honest_noise()


@dataclass(frozen=True, slots=True)
class PoissonSampledDistributedGaussian(_NoiseInShares):
    """`count` sums over Poisson samples that `honest` shares of discrete Gaussian noise hide.

    Unit of privacy: one record, added or removed. See `privacy.sampled_discrete_gaussian`.

    Attributes:
        sampling_rate: q in (0, 1].
        noise_multiplier: deviation of the noise of `honest` shares over the L2 sensitivity, finite,
            > 0.
        dimension: coordinates of the sum, 1 to 2**40.
        squared_sensitivity: largest squared L2 norm by which one record of the sample moves the
            integer sum, in whole units, 1 to 2**62.
        honest: fewest shares that hide a record, 1 to 10**5.
        count: how often, 1 to 10**9.
        dropouts: up to so many more shares, of which the surplus is removed (`privacy.
            surplus_noise`), 0 to 10**5; 0 where nothing is removed.

    Raises:
        PrivacyRefusal: a bound above is broken.
    """

    sampling_rate: float
    noise_multiplier: float
    dimension: int
    squared_sensitivity: int
    honest: int
    count: int
    dropouts: int = 0

    def __post_init__(self) -> None:
        sound = 0 < self.sampling_rate <= 1 and 0 < self.noise_multiplier < float("inf")
        whole = (
            1 <= self.dimension <= LARGEST_DIMENSION
            and 1 <= self.squared_sensitivity <= LARGEST_SENSITIVITY
            and 1 <= self.honest <= MOST_SHARES
            and 0 <= self.dropouts <= MOST_SHARES
            and 1 <= self.count <= MOST_REPETITIONS
        )
        if not (sound and whole):
            raise PrivacyRefusal(
                f"event {self}: expected 0 < sampling_rate <= 1, a finite noise_multiplier > 0, "
                "dimension from 1 to 2**40, squared_sensitivity from 1 to 2**62, honest from 1 to "
                "10**5, dropouts up to as many and count from 1 to 10**9"
            )

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The continuous mechanism it is near to, in dp-accounting's terms: for comparison only."""
        once = dp_accounting.PoissonSampledDpEvent(
            self.sampling_rate, dp_accounting.GaussianDpEvent(self.noise_multiplier)
        )
        return dp_accounting.SelfComposedDpEvent(once, self.count)


@dataclass(frozen=True, slots=True)
class DiscreteLaplace:
    """`count` times whole numbers released with noise P[x] proportional to exp(-|x| / scale).

    Costed as the worst mechanism of its pure epsilon, sensitivity / scale: binary randomised
    response (Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, Theorem 3.2), which it is where the
    sensitivity is 1. The continuous Laplace mechanism is no bound for it: at delta 1e-3 that one
    costs 0.4980 where this one, with epsilon 1/2, costs 0.4984.

    Attributes:
        sensitivity: how far one record moves all the numbers together (L1), from 1 to 2**62.
        scale: finite, > 0.
        count: how often, 1 to 10**9.

    Raises:
        PrivacyRefusal: a bound above is broken.
    """

    sensitivity: int
    scale: float
    count: int

    def __post_init__(self) -> None:
        sound = 1 <= self.sensitivity <= LARGEST_SENSITIVITY and 0 < self.scale < float("inf")
        if not (sound and 1 <= self.count <= MOST_REPETITIONS):
            raise PrivacyRefusal(
                f"event {self}: expected a whole sensitivity from 1 to 2**62, a finite scale > 0 "
                "and count from 1 to 10**9"
            )

    @property
    def epsilon(self) -> float:
        """Of one of the `count` releases, rounded up; infinite where no float holds it."""
        exact = Fraction(self.sensitivity) / Fraction(self.scale)
        try:
            nearest = float(exact)
        except OverflowError:
            return math.inf
        return nearest if nearest >= exact else math.nextafter(nearest, math.inf)

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The same in dp-accounting's terms, as the mechanism that bounds it."""
        lie = 2 / (1 + math.exp(min(self.epsilon, LARGEST_EXPONENT)))
        once = dp_accounting.RandomizedResponseDpEvent(lie, 2)
        return dp_accounting.SelfComposedDpEvent(once, self.count)


@dataclass(frozen=True, slots=True)
class NonPrivate:
    """A release without any guarantee; costs an infinite epsilon."""

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The same in dp-accounting's terms."""
        return dp_accounting.NonPrivateDpEvent()


@dataclass(frozen=True, slots=True)
class DistributedDiscreteGaussian(_NoiseInShares):
    """`count` sums that at least `honest` shares of discrete Gaussian noise hide a site in.

    Unit of privacy: one site. Neighbouring sums have one site's update replaced by zeros. Kairouz,
    Liu and Steinke 2021, arXiv:2102.06387; see `privacy.distributed_noise`.

    Attributes:
        dimension: coordinates of the sum, >= 1.
        squared_sensitivity: largest squared L2 norm of a site's rounded update, in whole units.
        noise_multiplier: deviation of the noise of `honest` shares over the L2 sensitivity, > 0.
        honest: fewest shares that hide a site, >= 1.
        count: how often, 1 to 10**9.
        dropouts: up to so many more shares, of which the surplus is removed (`privacy.
            surplus_noise`), >= 0; 0 where nothing is removed.

    Raises:
        PrivacyRefusal: a bound above is broken.
    """

    dimension: int
    squared_sensitivity: int
    noise_multiplier: float
    honest: int
    count: int
    dropouts: int = 0

    def __post_init__(self) -> None:
        sound = min(self.dimension, self.squared_sensitivity, self.honest, self.dropouts + 1) >= 1
        finite = 0 < self.noise_multiplier < float("inf")
        if not (sound and finite and 1 <= self.count <= MOST_REPETITIONS):
            raise PrivacyRefusal(
                f"event {self}: expected whole numbers >= 1, a finite noise_multiplier > 0 and "
                "count from 1 to 10**9"
            )

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The continuous mechanism it is near to, in dp-accounting's terms: for comparison only."""
        once = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        return dp_accounting.SelfComposedDpEvent(once, self.count)


SingleEvent = (
    PoissonSampledGaussian | PoissonSampledDistributedGaussian | DiscreteLaplace | NonPrivate
)
"""One release, of which the unit of privacy is a record."""


@dataclass(frozen=True, slots=True)
class Composed:
    """Several releases of the same rows that are made, and charged, together.

    Raises:
        PrivacyRefusal: there are none.
    """

    events: tuple[SingleEvent, ...]

    def __post_init__(self) -> None:
        if not self.events:
            raise PrivacyRefusal("event composed: expected one event at least")

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The same in dp-accounting's terms."""
        return dp_accounting.ComposedDpEvent([event.to_dp_event() for event in self.events])


PrivacyEvent = SingleEvent | DistributedDiscreteGaussian | Composed

_MECHANISMS: dict[str, type[SingleEvent] | type[DistributedDiscreteGaussian]] = {
    "poisson_sampled_gaussian": PoissonSampledGaussian,
    "poisson_sampled_distributed_gaussian": PoissonSampledDistributedGaussian,
    "discrete_laplace": DiscreteLaplace,
    "distributed_discrete_gaussian": DistributedDiscreteGaussian,
    "non_private": NonPrivate,
}
_COMPOSED = "composed"
PURE = frozenset({"discrete_laplace"})
"""Names of mechanisms of which delta is 0."""


def repeated(event: PrivacyEvent, times: int) -> PrivacyEvent:
    """The event, so many times.

    Raises:
        PrivacyRefusal: that is more often than an event can say.
    """
    if isinstance(event, Composed):
        return Composed(tuple(_repeated_single(part, times) for part in event.events))
    if isinstance(event, DistributedDiscreteGaussian):
        return replace(event, count=event.count * times)
    return _repeated_single(event, times)


def _repeated_single(event: SingleEvent, times: int) -> SingleEvent:
    if isinstance(event, NonPrivate):
        return event
    return replace(event, count=event.count * times)


def mechanism_name(event: SingleEvent | DistributedDiscreteGaussian) -> str:
    """What the mechanism is called in JSON."""
    (name,) = (name for name, kind in _MECHANISMS.items() if isinstance(event, kind))
    return name


def to_plain(event: PrivacyEvent) -> dict[str, object]:
    """The event as JSON values; floats round-trip exactly."""
    if isinstance(event, Composed):
        return {"mechanism": _COMPOSED, "events": [to_plain(part) for part in event.events]}
    return {"mechanism": mechanism_name(event), **asdict(event)}


def from_plain(plain: object) -> PrivacyEvent:
    """Undo `to_plain`.

    Raises:
        PrivacyRefusal: an unknown mechanism, or parameters that are not its own.
    """
    if isinstance(plain, dict) and plain.get("mechanism") == _COMPOSED:
        parts = plain.get("events")
        if set(plain) != {"mechanism", "events"} or not isinstance(parts, list):
            raise PrivacyRefusal("event composed: expected a list of events and nothing else")
        singles = tuple(_single(part) for part in parts)
        of_records = tuple(event for event in singles if isinstance(event, SingleEvent))
        if len(of_records) < len(singles):
            raise PrivacyRefusal("event composed: expected events of record-level privacy only")
        return Composed(of_records)
    return _single(plain)


def _single(plain: object) -> SingleEvent | DistributedDiscreteGaussian:
    name = plain.get("mechanism") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(name, str) or name not in _MECHANISMS:
        raise PrivacyRefusal(
            f"event: unknown mechanism {name!r}; known are {', '.join(_MECHANISMS)}"
        )
    kind = _MECHANISMS[name]
    parameters = {key: value for key, value in plain.items() if key != "mechanism"}
    types = {field.name: field.type for field in fields(kind)}
    # Of an entry that is older than a parameter.
    usual = {field.name: field.type for field in fields(kind) if field.default is not MISSING}
    given = {key: type(value) for key, value in parameters.items()}
    if usual | given != types:
        raise PrivacyRefusal(f"event {name}: expected the parameters {types}, got {parameters}")
    return kind(**parameters)
