"""Numbers keep their meaning when they become text."""

import doctest
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report import group_tables, plain_words
from federation.report_page import number_text
from federation.summary import Estimate


@pytest.mark.parametrize("module", [number_text, plain_words, group_tables])
def test_examples_in_docstrings_hold(module) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


@given(st.floats(1e-6, 1e4))
def test_epsilon_is_never_understated_and_by_less_than_one_percent_overstated(value: float) -> None:
    shown = float(number_text.epsilon(value).replace(",", ""))
    assert value * (1 - 1e-9) <= shown <= value * 1.0101


def test_epsilon_of_a_sum_of_floats_is_not_pushed_over_its_budget() -> None:
    assert number_text.epsilon(2.0000000000000004) == "2.00"
    assert number_text.epsilon(2.001) == "2.01"
    assert number_text.epsilon(None) == "–"


@given(st.floats(1e-9, 1.0))
def test_a_rate_that_is_not_zero_never_reads_as_zero(value: float) -> None:
    assert float(number_text.rate(value).removeprefix("< ")) > 0


def test_rate_at_both_sides_of_its_last_decimal() -> None:
    assert number_text.rate(0.0004999) == "< 0.001"
    assert number_text.rate(0.0005001) == "0.001"
    assert number_text.rate(-0.0004) == "> −0.001"
    assert number_text.rate(0.0005) == "0.001"
    assert (number_text.rate(0.9994), number_text.rate(1.0)) == ("0.999", "1.00")
    assert number_text.rate(12.345) == "12.3"
    assert number_text.rate(1234.5) == "1,234"


def test_an_estimate_shows_two_decimals_from_a_width_of_five_hundredths_on() -> None:
    assert number_text.estimate(Estimate(value=0.02, low=0.0, high=0.05)) == "0.02"
    assert number_text.estimate(Estimate(value=0.5, low=0.476, high=0.525)) == "0.500"
    assert number_text.estimate(Estimate(value=0.5)) == "0.500"
    assert number_text.estimate(Estimate(value=0.5, low=0.4)) == "0.500"
    assert number_text.estimate(Estimate(value=0.5, high=0.9)) == "0.500"
    assert number_text.estimate_decimals(Estimate(value=0.5, high=0.9)) == 3
    assert number_text.estimate(Estimate(value=None, reason="no rows")) == "–"
    assert number_text.estimate(None) == "–"


def test_value_and_interval_carry_the_same_decimals() -> None:
    wide = Estimate(value=0.8, low=0.6, high=0.9)
    assert (number_text.estimate(wide), number_text.interval(wide)) == ("0.80", "0.60 to 0.90")


@pytest.mark.parametrize(
    "estimate", [None, Estimate(value=None, low=0.1, high=0.2), Estimate(value=0.1, low=0.05)]
)
def test_half_an_interval_is_no_interval(estimate: Estimate | None) -> None:
    assert number_text.interval(estimate) == ""


@given(st.floats(-1e9, 1e9).filter(lambda x: abs(x) > 1e-9))
def test_significant_is_within_half_a_percent(value: float) -> None:
    shown = float(number_text.significant(value).replace(",", "").replace("−", "-"))
    assert math.isclose(shown, value, rel_tol=5.01e-3)


@pytest.mark.parametrize(
    "text",
    [
        number_text.count(None),
        number_text.percent(None),
        number_text.setting(None),
        number_text.significant(None),
        number_text.rate(None),
    ],
)
def test_nothing_is_a_dash(text: str) -> None:
    assert text == number_text.NOTHING


def test_percentages_lose_their_decimal_at_ten() -> None:
    assert number_text.percent(0.0994) == "9.9 %"
    assert number_text.percent(0.0995) == "10 %"
    assert number_text.percent(0.000499) == "< 0.1 %"
    assert number_text.percent(0.0005) == "0.1 %"


def test_settings_at_both_sides_of_the_power_of_ten() -> None:
    assert number_text.setting(0.001) == "0.001"
    assert number_text.setting(0.00099) == "9.9 × 10⁻⁴"
    assert (number_text.setting(999_999), number_text.setting(1e6)) == ("999999", "10⁶")
    assert number_text.setting(-1e7) == "−1 × 10⁷"
    assert number_text.setting(0.0) == "0"


def test_durations_change_unit_at_a_minute_and_an_hour() -> None:
    assert number_text.duration(59.9) == "59.9 s"
    assert number_text.duration(60) == "1 min 0 s"
    assert number_text.duration(3599) == "59 min 59 s"
    assert number_text.duration(3600) == "1 h 0 min"


@given(st.integers(0, 10**16))
def test_sizes_stay_readable(octets: int) -> None:
    assert re.fullmatch(r"\d{1,5}(\.\d)? (bytes|kB|MB|GB|TB)", number_text.size(octets))


def test_sizes_at_both_sides_of_a_unit() -> None:
    assert number_text.size(999) == "999 bytes"
    assert number_text.size(1000) == "1.0 kB"
    assert number_text.size(999_499) == "999 kB"
    assert number_text.size(999_500) == "1.0 MB"


def test_moments_without_zone_claim_none() -> None:
    assert number_text.moment("2026-03-01T13:00:05") == "2026-03-01 13:00:05"


def test_listing_nothing_is_empty() -> None:
    assert number_text.listing(()) == ""
    assert number_text.significant(0.0) == "0"
