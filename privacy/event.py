"""Privacy events: what was done, as parameters and never as an epsilon.

A ledger stores events, and every accountant, of today or later, says what they cost. An event's
JSON names a mechanism out of a fixed list; an unknown one is refused, never imported by name.
"""

from dataclasses import asdict, dataclass, fields
from fractions import Fraction

import dp_accounting

from federation.errors import PrivacyRefusal

MOST_REPETITIONS = 10**9
"""Of one event; far above any training, far below where an accountant's arithmetic overflows."""


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


@dataclass(frozen=True, slots=True)
class NonPrivate:
    """A release without any guarantee; costs an infinite epsilon."""

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The same in dp-accounting's terms."""
        return dp_accounting.NonPrivateDpEvent()


@dataclass(frozen=True, slots=True)
class DistributedDiscreteGaussian:
    """`count` sums that at least `honest` shares of discrete Gaussian noise hide a site in.

    Unit of privacy: one site. Neighbouring sums have one site's update replaced by zeros. Kairouz,
    Liu and Steinke 2021, arXiv:2102.06387; see `privacy.distributed_noise`.

    Attributes:
        dimension: coordinates of the sum, >= 1.
        squared_sensitivity: largest squared L2 norm of a site's rounded update, in whole units.
        noise_multiplier: deviation of the noise of `honest` shares over the L2 sensitivity, > 0.
        honest: fewest shares that hide a site, >= 1.
        count: how often, 1 to 10**9.

    Raises:
        PrivacyRefusal: a bound above is broken.
    """

    dimension: int
    squared_sensitivity: int
    noise_multiplier: float
    honest: int
    count: int

    def __post_init__(self) -> None:
        sound = min(self.dimension, self.squared_sensitivity, self.honest) >= 1
        finite = 0 < self.noise_multiplier < float("inf")
        if not (sound and finite and 1 <= self.count <= MOST_REPETITIONS):
            raise PrivacyRefusal(
                f"event {self}: expected whole numbers >= 1, a finite noise_multiplier > 0 and "
                "count from 1 to 10**9"
            )

    @property
    def share_variance(self) -> Fraction:
        """Of one share in each coordinate, in squared units; exact."""
        return Fraction(self.noise_multiplier) ** 2 * self.squared_sensitivity / self.honest

    def to_dp_event(self) -> dp_accounting.DpEvent:
        """The continuous mechanism it is near to, in dp-accounting's terms: for comparison only."""
        once = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        return dp_accounting.SelfComposedDpEvent(once, self.count)


PrivacyEvent = PoissonSampledGaussian | DistributedDiscreteGaussian | NonPrivate

_MECHANISMS: dict[str, type[PrivacyEvent]] = {
    "poisson_sampled_gaussian": PoissonSampledGaussian,
    "distributed_discrete_gaussian": DistributedDiscreteGaussian,
    "non_private": NonPrivate,
}


def to_plain(event: PrivacyEvent) -> dict[str, object]:
    """The event as JSON values; floats round-trip exactly."""
    (name,) = (name for name, kind in _MECHANISMS.items() if isinstance(event, kind))
    return {"mechanism": name, **asdict(event)}


def from_plain(plain: object) -> PrivacyEvent:
    """Undo `to_plain`.

    Raises:
        PrivacyRefusal: an unknown mechanism, or parameters that are not its own.
    """
    name = plain.get("mechanism") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(name, str) or name not in _MECHANISMS:
        raise PrivacyRefusal(
            f"event: unknown mechanism {name!r}; known are {', '.join(_MECHANISMS)}"
        )
    kind = _MECHANISMS[name]
    parameters = {key: value for key, value in plain.items() if key != "mechanism"}
    types = {field.name: field.type for field in fields(kind)}
    given = {key: type(value) for key, value in parameters.items()}
    if given != types:
        raise PrivacyRefusal(f"event {name}: expected the parameters {types}, got {parameters}")
    return kind(**parameters)
