"""Epsilon by a third accountant, to check the other two: Opacus' PRV. It is no part of any cost.

Gopi, Lee and Wutschitz 2021, arXiv:2106.02848.

Its band holds the true epsilon if its arithmetic holds, and its width is twice its error: so it
cannot say less than that error, and what Opacus reports is the band's upper end. Opacus itself
fails on no event, and returns NaN or infinity after long work on little noise; here nothing costs
nothing, and what is beyond it is refused.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from federation.errors import PrivacyRefusal
from privacy import renyi
from privacy.event import Composed, Gaussian, PoissonSampledGaussian, PrivacyEvent
from privacy.mechanism import merged
from privacy.neighbours import RECORD

EPSILON_ERROR = 0.01
"""Half the width of the band, as Opacus has it."""

_LARGEST_EPSILON = 100.0
"""Beyond it the domain of the convolution is too large to be worth a check."""

_LARGEST_RATE = 1 - 1e-9
"""Opacus takes the logarithm of 1 - q: without sampling the rate stands a hair below one."""


@dataclass(frozen=True, slots=True)
class Band:
    """Where epsilon lies, by this accountant."""

    lower: float
    estimate: float
    upper: float


def band(events: Iterable[PrivacyEvent], delta: float) -> Band:
    """Of all events together, under add-or-remove-one.

    Args:
        events: Poisson-sampled Gaussians and Gaussians, in any order.
        delta: in (0, 1).

    Raises:
        ValueError: delta is out of range.
        PrivacyRefusal: another event, or so little noise that the band would be of no use.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: expected a number in (0, 1)")
    gaussians = list(_gaussians(events))
    if not gaussians:
        return Band(0.0, 0.0, 0.0)
    losses = merged(gaussians, RECORD)
    assert losses is not None
    if renyi.epsilon(losses, delta / 1000) > _LARGEST_EPSILON:
        raise PrivacyRefusal(
            f"accountant prv: so little noise costs more than {_LARGEST_EPSILON:g}; expected a "
            "history that it can check (use pld)"
        )
    counts = Counter[tuple[float, float]]()
    for event in gaussians:
        counts[event.noise_multiplier, min(event.sampling_rate, _LARGEST_RATE)] += event.count
    return _band_by_opacus([(*key, count) for key, count in counts.items()], delta)


def _gaussians(events: Iterable[PrivacyEvent]) -> Iterable[PoissonSampledGaussian]:
    for event in events:
        if isinstance(event, Composed):
            yield from _gaussians(event.events)
        elif isinstance(event, Gaussian):
            yield PoissonSampledGaussian(1.0, event.noise_multiplier, event.count)
        elif isinstance(event, PoissonSampledGaussian):
            yield event
        else:
            raise PrivacyRefusal(
                f"accountant prv: event {event}: expected Poisson-sampled Gaussians only (use pld "
                "or rdp)"
            )


def _band_by_opacus(history: list[tuple[float, float, int]], delta: float) -> Band:
    from opacus.accountants import PRVAccountant  # noqa: PLC0415 - imports torch: seconds

    accountant = PRVAccountant()  # type: ignore[no-untyped-call]  # Opacus has no types
    accountant.history = history
    error = delta / 1000
    try:
        with warnings.catch_warnings():
            # That its Renyi orders end early: its domain is then larger than need be.
            warnings.filterwarnings("ignore", "Optimal order is the")
            composed = accountant._get_dprv(  # type: ignore[no-untyped-call]  # noqa: SLF001 - band
                EPSILON_ERROR, error
            )
        lower, estimate, upper = composed.compute_epsilon(delta, error, EPSILON_ERROR)
    except (RuntimeError, ValueError) as failed:
        raise PrivacyRefusal(f"accountant prv: {failed}; use pld") from failed
    if not all(math.isfinite(value) for value in (lower, estimate, upper)):
        raise PrivacyRefusal("accountant prv: found no finite epsilon; use pld")
    return Band(max(0.0, float(lower)), max(0.0, float(estimate)), float(upper))
