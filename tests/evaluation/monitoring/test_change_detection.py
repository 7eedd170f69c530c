"""Error counts over time: the contract on false alarms is kept, and changes are found soon."""

import numpy as np
import pytest

from evaluation.monitoring.change_detection import (
    INCREASE,
    TOLERANCE,
    ErrorReference,
    FalseAlarmContract,
    replay,
    start,
    step,
)
from federation.errors import ConfigError, DataError

RATE = 0.15


def alarms_of(rng, reference_rows, contract, sizes, after=0.0):
    detector = start(ErrorReference(reference_rows, rng.binomial(reference_rows, RATE)), contract)
    alarms = []
    for rows in sizes:
        detector, reading = step(detector, rows, rng.binomial(rows, RATE + after))
        alarms.append(reading.alarm)
    return np.array(alarms)


@pytest.mark.parametrize(
    ("reference_rows", "sizes"),
    [(30_000, (100,)), (30_000, (1000,)), (1000, (100, 500, 2000, 1000))],
)
def test_false_alarms_are_no_more_frequent_than_agreed(reference_rows, sizes) -> None:
    """720 windows; in a reference of as many rows as a window the rate itself is uncertain."""
    rng = np.random.default_rng(1)
    contract = FalseAlarmContract(20)
    alarms = [
        alarms_of(rng, reference_rows, contract, [sizes[t % len(sizes)] for t in range(30)])
        for _ in range(24)
    ]
    rate = np.mean(alarms)
    per_stream = np.sum(alarms, axis=1)
    slack = 2.5 * per_stream.std() / 30 / np.sqrt(24)
    assert 0.2 / 20 <= rate <= 1 / 20 + slack


@pytest.mark.slow
def test_false_alarms_over_thousands_of_windows() -> None:
    rng = np.random.default_rng(2)
    for reference_rows, detectors in ((2000, 1), (20_000, 1), (20_000, 10)):
        contract = FalseAlarmContract(50, detectors)
        alarms = [
            alarms_of(rng, reference_rows, contract, rng.integers(50, 3000, 60))
            for _ in range(100 * min(detectors, 3))
        ]
        assert np.mean(alarms) <= 1.25 * contract.hazard


@pytest.mark.parametrize(
    ("rows", "after", "median_at_most"),
    [(100, 0.05, 13), (100, 0.1, 5), (1000, 0.02, 8), (1000, 0.05, 1), (1000, 0.1, 1)],
)
def test_changes_are_found_as_soon_as_in_the_research(rows, after, median_at_most) -> None:
    """Research 3.5: 9, 4, 5, 1 and 1 windows, at P(false alarm in 300 windows) = 10 %."""
    rng = np.random.default_rng(3)
    contract = FalseAlarmContract.of_chance(0.1, 300)
    found = [
        int(np.argmax(alarms_of(rng, 30 * rows, contract, [rows] * 40, after))) + 1
        for _ in range(9)
    ]
    assert np.median(found) <= median_at_most


def test_cusum_and_page_hinkley_by_hand() -> None:
    """p0 = 150.5 / 1001; one window of 100 rows and 30 errors, from zero."""
    detector = start(ErrorReference(1000, 150), FalseAlarmContract(100))
    _, reading = step(detector, 100, 30)
    p0 = 150.5 / 1001
    p1 = INCREASE * p0
    assert reading.cusum == pytest.approx(30 * np.log(p1 / p0) + 70 * np.log((1 - p1) / (1 - p0)))
    assert reading.page_hinkley == pytest.approx(30 - 100 * (180 / 1100 + TOLERANCE))


def test_a_fall_is_found_if_it_is_asked_for() -> None:
    history = [(1000, 80)] * 3
    reference = ErrorReference(30_000, 4500)
    _, up = replay(reference, FalseAlarmContract(100), history)
    _, both = replay(reference, FalseAlarmContract(100, direction="both"), history)
    assert not any(reading.alarm for reading in up)
    assert both[0].alarm


def test_the_same_windows_give_the_same_readings() -> None:
    history = [(300, 40), (0, 0), (800, 150), (300, 80)]
    reference, contract = ErrorReference(3000, 450), FalseAlarmContract(50)
    assert replay(reference, contract, list(np.array(history)))[1][0].alarm is False
    first, readings = replay(reference, contract, history)
    again, repeated = replay(reference, contract, history)
    assert readings == repeated
    assert first == again
    assert first.history == tuple(history)


def test_a_limit_does_not_depend_on_the_errors_seen() -> None:
    reference, contract = ErrorReference(3000, 450), FalseAlarmContract(50)
    _, quiet = replay(reference, contract, [(300, 40), (300, 45)])
    _, louder = replay(reference, contract, [(300, 50), (300, 55)])
    assert [r.cusum_limit for r in quiet] == [r.cusum_limit for r in louder]


def test_after_an_alarm_it_starts_from_zero() -> None:
    detector = start(ErrorReference(30_000, 4500), FalseAlarmContract(100))
    detector, reading = step(detector, 1000, 400)
    assert reading.alarm
    _, after = step(detector, 1000, 150)
    assert after.cusum < 1
    assert not after.alarm


def test_an_empty_window_neither_alarms_nor_counts() -> None:
    detector, before = step(start(ErrorReference(3000, 450), FalseAlarmContract(50)), 300, 50)
    detector, idle = step(detector, 0, 0)
    assert (idle.cusum, idle.alarm) == (before.cusum, False)
    assert np.isfinite(idle.cusum_limit)


@pytest.mark.parametrize(("rows", "errors"), [(0, 0), (10, 0), (10, 10), (1_000_000, 0)])
def test_references_at_the_border_work(rows, errors) -> None:
    if rows == 0:
        with pytest.raises(DataError, match="reference"):
            ErrorReference(rows, errors)
        return
    detector = start(ErrorReference(rows, errors), FalseAlarmContract(50, direction="both"))
    for window in ((5, 0), (5, 5), (100_000, 50), (1, 1)):
        detector, reading = step(detector, *window)
        assert np.all(np.isfinite(reading))


def test_noise_in_the_counts_is_allowed_for() -> None:
    rng = np.random.default_rng(5)
    alarms = []
    for _ in range(30):
        errors = rng.binomial(5000, RATE) + round(rng.normal(0, 8))
        detector = start(ErrorReference(5000, errors, 64.0), FalseAlarmContract(20))
        for _ in range(20):
            noised = rng.binomial(300, RATE) + round(rng.normal(0, 8))
            detector, reading = step(detector, 300, noised, 64.0)
            alarms.append(reading.alarm)
    assert np.mean(alarms) <= 0.05 + 0.03


def test_what_cannot_be_is_refused() -> None:
    for bad in ({"windows": 1.0}, {"windows": np.inf}, {"detectors": 0}):
        with pytest.raises(ConfigError, match="false_alarms"):
            FalseAlarmContract(**bad)
    with pytest.raises(ConfigError, match="chance"):
        FalseAlarmContract.of_chance(1.0, 10)
    with pytest.raises(DataError, match="reference"):
        ErrorReference(10, 11)
    with pytest.raises(DataError, match="window"):
        step(start(ErrorReference(10, 1), FalseAlarmContract(50)), 5, 6)


def test_a_contract_by_chance_is_one_by_windows() -> None:
    contract = FalseAlarmContract.of_chance(0.1, 300)
    assert 1 - (1 - contract.hazard) ** 300 == pytest.approx(0.1)
