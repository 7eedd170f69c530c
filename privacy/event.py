"""Privacy events: what was done, as parameters and never as an epsilon.

A ledger stores events, and every accountant, of today or later, says what they cost. An event's
JSON names a mechanism out of a fixed list; an unknown one is refused, never imported by name.
"""

from dataclasses import asdict, dataclass

import dp_accounting

from federation.errors import PrivacyRefusal


@dataclass(frozen=True, slots=True)
class PoissonSampledGaussian:
    """`count` times the Gaussian mechanism on a Poisson sample.

    Attributes:
        sampling_rate: q in (0, 1].
        noise_multiplier: standard deviation / L2 sensitivity, > 0.
        count: how often, >= 1.
    """

    sampling_rate: float
    noise_multiplier: float
    count: int

    def __post_init__(self) -> None:
        sound = 0 < self.sampling_rate <= 1 and 0 < self.noise_multiplier < float("inf")
        if not sound or self.count < 1:
            raise PrivacyRefusal(
                f"event {self}: expected 0 < sampling_rate <= 1, a finite noise_multiplier > 0 and "
                "count >= 1"
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


PrivacyEvent = PoissonSampledGaussian | NonPrivate

_MECHANISMS: dict[str, type[PoissonSampledGaussian] | type[NonPrivate]] = {
    "poisson_sampled_gaussian": PoissonSampledGaussian,
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
    if not isinstance(plain, dict) or plain.get("mechanism") not in _MECHANISMS:
        raise PrivacyRefusal(f"event: unknown mechanism; known are {', '.join(_MECHANISMS)}")
    parameters = {name: value for name, value in plain.items() if name != "mechanism"}
    try:
        return _MECHANISMS[plain["mechanism"]](**parameters)
    except TypeError as error:
        raise PrivacyRefusal(f"event {plain['mechanism']}: wrong parameters") from error
