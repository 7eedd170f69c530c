"""Has the error rate risen: binomial CUSUM and Page-Hinkley on window counts, with a contract.

CUSUM (Page 1954; Reynolds and Stoumbos 1999 for proportions): S = max(0, S + e ln(p1/p0) +
(n - e) ln((1-p1)/(1-p0))) with p1 = 1.25 p0. Page-Hinkley (Page 1954; Hinkley 1971): U = max(0, U +
e - n (mean + tolerance)), where the mean is of all rows seen, those of the reference included; a
window weighs as much as it has rows.

The limits are dynamic probability limits (Zhang and Woodall 2015; Shen et al. 2016 for windows of
varying size): beside the detector run thousands of streams without a change, of the same window
sizes, and the limit of a window is what as many of them pass as the contract allows. Each stream
has an error rate of its own, drawn from what the reference's finite rows leave possible (Beta with
Jeffreys' prior), so that a reference that was lucky raises no alarm. A stream that passes is not
carried on, unless the detector alarmed, too: then those that did are, from zero like the detector.
So, whatever came before, each window without a change alarms with the contract's chance, on average
over references; long runs hold no more than their share of alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from evaluation.group_metrics import Floats
from evaluation.tally_spec import Bools
from federation import canonical
from federation.errors import ConfigError, DataError

INCREASE = 1.25
"""p1 / p0: the rise that CUSUM is quickest to find."""

TOLERANCE = 0.005
"""Of Page-Hinkley: a rise of the error rate that is let pass."""

STREAMS, RATES = 8192, 512
"""Streams without a change, and how many error rates they share."""

TAIL_STREAMS = 64
"""A limit that fewer streams pass is extrapolated from the tail that as many pass."""

FEW_STREAMS = 8

Direction = Literal["up", "both"]


@dataclass(frozen=True, slots=True)
class FalseAlarmContract:
    """At most one false alarm in `windows` windows, all detectors started under it together.

    Exactly: in every window in which nothing has changed, the chance that any of the detectors
    alarms is at most 1 / windows. So the expected number of false alarms in any N windows is at
    most N / windows, and the average run to a false alarm is at least `windows`.

    Attributes:
        windows: > 1.
        detectors: that share the contract: groups, or sites; each has an equal part of it.
        direction: `up` for rising error rates; `both` for falling ones, too.
    """

    windows: float = 100.0
    detectors: int = 1
    direction: Direction = "up"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.windows) and self.windows > 1):
            raise ConfigError("false_alarms.windows", self.windows, "a number > 1")
        if self.detectors < 1:
            raise ConfigError("false_alarms.detectors", self.detectors, "a whole number > 0")

    @classmethod
    def of_chance(cls, chance: float, windows: int, detectors: int = 1) -> "FalseAlarmContract":
        """The contract under which any false alarm in `windows` windows has this chance at most.

        >>> round(FalseAlarmContract.of_chance(0.1, 300).windows)
        2848
        """
        if not 0 < chance < 1 or windows < 1:
            raise ConfigError("false_alarms.chance", chance, "a chance in (0, 1)")
        return cls(-1 / math.expm1(math.log1p(-chance) / windows), detectors)

    @property
    def hazard(self) -> float:
        """Chance of a false alarm of one detector in one window."""
        return 1 / (self.windows * self.detectors)


@dataclass(frozen=True, slots=True)
class ErrorReference:
    """Errors among the rows of the frozen reference, and the variance of the noise in the errors.

    Raises:
        DataError: not 0 <= errors <= rows >= 1.
    """

    rows: int
    errors: int
    noise_variance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.errors <= self.rows or self.rows < 1:
            raise DataError(
                f"reference: expected 0 <= errors <= rows >= 1, got {self.errors} of {self.rows}"
            )


class Reading(NamedTuple):
    """What the detectors said of one window; an alarm is a statistic above its limit."""

    cusum: float
    cusum_limit: float
    page_hinkley: float
    page_hinkley_limit: float
    alarm: bool


class Streams(NamedTuple):
    """The detector's own stream of windows, or those without a change that it is measured by.

    Attributes:
        sums: CUSUM and Page-Hinkley upwards, then downwards if asked for; shape (2 or 4, streams).
        rows: seen so far, those of the reference included.
        errors: likewise, shape (streams,).
    """

    sums: Floats
    rows: float
    errors: Floats


@dataclass(frozen=True, slots=True)
class Detector:
    """Follows the error rate of one scope or group; a value: `step` returns the next one.

    Attributes:
        reference: what it is measured against.
        contract: how seldom it may alarm falsely.
        history: rows and errors of each window so far.
        own: the statistics.
        streams: windows of the same sizes without a change, for the next limit.
        rates: their error rates, shape (streams,).
    """

    reference: ErrorReference
    contract: FalseAlarmContract
    history: tuple[tuple[int, int], ...]
    own: Streams = field(compare=False, repr=False)
    streams: Streams = field(compare=False, repr=False)
    rates: Floats = field(compare=False, repr=False)


def start(reference: ErrorReference, contract: FalseAlarmContract) -> Detector:
    """A detector that has seen no window yet."""
    streams = Streams(
        np.zeros((_statistics(contract), STREAMS)),
        reference.rows,
        np.full(STREAMS, float(reference.errors)),
    )
    own = Streams(
        np.zeros((_statistics(contract), 1)), reference.rows, np.array([float(reference.errors)])
    )
    rates = _possible_rates(reference, _draws(reference, contract, ()))
    return Detector(reference, contract, (), own, streams, rates)


def step(
    detector: Detector, rows: int, errors: int, noise_variance: float = 0.0
) -> tuple[Detector, Reading]:
    """The detector after one more window, and what it said; after an alarm it starts from zero.

    Args:
        detector: as it was.
        rows: in the window, >= 0; an empty one changes nothing and cannot alarm.
        errors: among them; with noise, any number.
        noise_variance: of the noise in `errors`.

    Raises:
        DataError: not 0 <= errors <= rows, without noise.
    """
    if rows < 0 or (not noise_variance and not 0 <= errors <= rows):
        raise DataError(f"window: expected 0 <= errors <= rows, got {errors} of {rows}")
    rows, errors = int(rows), int(errors)  # numpy's are no JSON, which the seed is made of
    history = (*detector.history, (rows, errors))
    if rows == 0:
        limits = _limits(detector.streams.sums, detector.contract)
        idle = _reading(detector.own.sums[:, 0], limits, alarm=False)
        return replace(detector, history=history), idle
    draws = _draws(detector.reference, detector.contract, history)
    simulated = draws.binomial(rows, detector.rates).astype(np.float64)
    if noise_variance:
        simulated += np.rint(draws.normal(0.0, math.sqrt(noise_variance), STREAMS))
    streams = _advanced(detector, detector.streams, rows, simulated)
    own = _advanced(detector, detector.own, rows, np.array([float(errors)]))
    limits = _limits(streams.sums, detector.contract)
    passed = np.any(streams.sums > limits[:, None], axis=0)
    alarm = bool(np.any(own.sums[:, 0] > limits))
    reading = _reading(own.sums[:, 0], limits, alarm=alarm)
    streams, rates = _carried_on(streams, detector.rates, passed if alarm else ~passed, draws)
    if alarm:
        own, streams = (_restarted(each, detector.reference) for each in (own, streams))
    return (
        replace(detector, history=history, own=own, streams=streams, rates=rates),
        reading,
    )


def replay(
    reference: ErrorReference,
    contract: FalseAlarmContract,
    history: Sequence[tuple[int, int]],
) -> tuple[Detector, tuple[Reading, ...]]:
    """The detector after these windows of rows and errors, and all it said; always the same."""
    detector, readings = start(reference, contract), []
    for rows, errors in history:
        detector, reading = step(detector, rows, errors)
        readings.append(reading)
    return detector, tuple(readings)


def _reading(sums: Floats, limits: Floats, *, alarm: bool) -> Reading:
    """Of a rise or a fall, whichever is nearer to its limit."""
    nearest = max(range(0, len(sums), 2), key=lambda side: _nearness(sums, limits, side))
    (cusum, page_hinkley), (cusum_limit, page_hinkley_limit) = (
        each[nearest : nearest + 2].tolist() for each in (sums, limits)
    )
    return Reading(cusum, cusum_limit, page_hinkley, page_hinkley_limit, alarm)


def _nearness(sums: Floats, limits: Floats, side: int) -> float:
    return float(np.max(sums[side : side + 2] / np.maximum(limits[side : side + 2], 1e-12)))


def _advanced(detector: Detector, state: Streams, rows: int, errors: Floats) -> Streams:
    p0 = (detector.reference.errors + 0.5) / (detector.reference.rows + 1)
    total_rows, total_errors = state.rows + rows, state.errors + errors
    mean = total_errors / total_rows
    changes = [
        _log_ratio(p0, min(INCREASE * p0, (1 + p0) / 2), rows, errors),
        errors - rows * (mean + TOLERANCE),
    ]
    if detector.contract.direction == "both":
        changes += [
            _log_ratio(p0, p0 / INCREASE, rows, errors),
            rows * (mean - TOLERANCE) - errors,
        ]
    return Streams(np.maximum(0.0, state.sums + changes), total_rows, total_errors)


def _log_ratio(p0: float, p1: float, rows: int, errors: Floats) -> Floats:
    ratio: Floats = errors * math.log(p1 / p0) + (rows - errors) * math.log((1 - p1) / (1 - p0))
    return ratio


def _limits(sums: Floats, contract: FalseAlarmContract) -> Floats:
    """Per statistic, what a stream passes with its part of the hazard."""
    share = contract.hazard / len(sums)
    return np.array([_upper_quantile(each, share) for each in sums])


def _statistics(contract: FalseAlarmContract) -> int:
    return 4 if contract.direction == "both" else 2


def _upper_quantile(values: Floats, share: float) -> float:
    """With few values beyond it: from the mean excess over the tail, as of an exponential one."""
    count = len(values)
    if share * count >= TAIL_STREAMS:
        return float(np.partition(values, -int(share * count))[-int(share * count)])
    base = float(np.partition(values, -TAIL_STREAMS - 1)[-TAIL_STREAMS - 1])
    beyond = values[values > base] - base
    # In large windows nearly every stream stands at zero; then one nat, or one error, is the unit.
    excess = float(beyond.mean()) if len(beyond) >= FEW_STREAMS else max([1.0, *beyond.tolist()])
    return base + excess * max(0.0, math.log(max(len(beyond), 1) / (share * count)))


def _carried_on(
    streams: Streams, rates: Floats, chosen: Bools, draws: np.random.Generator
) -> tuple[Streams, Floats]:
    """As many streams as before, drawn from the chosen ones; all, if none is."""
    places = np.flatnonzero(chosen)
    if not len(places):
        return streams, rates
    # Equal rates mostly stay together, where drawing from them is quick.
    gone = np.flatnonzero(~chosen)
    place = np.arange(len(rates))
    place[gone] = draws.choice(places, len(gone))
    if len(gone) > len(places):
        place.sort()
    return streams._replace(sums=streams.sums[:, place], errors=streams.errors[place]), rates[place]


def _restarted(state: Streams, reference: ErrorReference) -> Streams:
    errors = np.full_like(state.errors, float(reference.errors))
    return Streams(np.zeros_like(state.sums), reference.rows, errors)


def _possible_rates(reference: ErrorReference, draws: np.random.Generator) -> Floats:
    """Error rates that the reference may have come from, shape (STREAMS,), rising."""
    wrong, right = reference.errors + 0.5, reference.rows - reference.errors + 0.5
    rates = draws.beta(wrong, right, RATES)
    rates += draws.normal(0.0, math.sqrt(reference.noise_variance) / reference.rows, RATES)
    return np.repeat(np.sort(np.clip(rates, 0.0, 1.0)), STREAMS // RATES)


def _draws(
    reference: ErrorReference,
    contract: FalseAlarmContract,
    history: tuple[tuple[int, int], ...],
) -> np.random.Generator:
    """Seeded by everything but the errors seen: what is random is the streams alone."""
    sizes = [rows for rows, _ in history]
    facts = [reference.rows, reference.errors, reference.noise_variance]
    terms = [contract.windows, contract.detectors, contract.direction]
    return np.random.default_rng(int(canonical.digest([facts, terms, sizes]), 16))
