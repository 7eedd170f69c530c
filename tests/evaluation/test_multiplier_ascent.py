"""Multipliers after a round: which way, how far, and of what they may tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.mitigation.multiplier_ascent import (
    PROPORTIONAL,
    Observed,
    ascended,
    shown_rates,
)
from federation.multipliers import Multiplier, are_within
from federation.summary import Estimate, Fairness, GroupRates

PARITY = (Multiplier("selection_rate", "F"), Multiplier("selection_rate", "M"))
ODDS = tuple(
    Multiplier(rate, group)
    for rate in ("true_positive_rate", "false_positive_rate")
    for group in ("F", "M")
)


def group(name: str, rows: int, positives: int, rates: dict[str, float], **also) -> GroupRates:
    named = {rate: Estimate(value=value) for rate, value in rates.items()}
    return GroupRates(attribute="sex", group=name, rows=rows, positives=positives, **(named | also))


def test_the_group_above_the_mean_pays_and_the_small_one_more_than_the_large() -> None:
    seen = [Observed(0.2, 100), Observed(0.6, 300)]
    integral, values = ascended(np.zeros(2), seen, PARITY, step=1.0, largest=10.0)
    # mean rate 0.4, fewest 100 rows: -0.2 * 100 / 100 and 0.2 * 100 / 300
    push = np.array([-0.2, 0.2 / 3])
    np.testing.assert_allclose(integral, push)
    np.testing.assert_allclose(values, (1 + PROPORTIONAL) * push, rtol=1e-6)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10_000)), min_size=2, max_size=6),
    st.floats(0.01, 5),
    st.floats(0.5, 20),
)
def test_weighted_by_rows_they_add_up_to_zero_within_the_bound(groups, step, largest) -> None:
    of = tuple(Multiplier("selection_rate", str(place)) for place in range(len(groups)))
    seen = [Observed(*one) for one in groups]
    rows = np.array([one.rows for one in seen])
    integral = np.zeros(len(of))
    for _ in range(5):
        integral, values = ascended(integral, seen, of, step, largest)
        assert are_within(values, largest)
        assert np.all(np.abs(integral) <= largest)
        for one in (integral, values):
            assert abs(np.sum(one * rows)) <= 1e-5 * max(1e-3, np.sum(np.abs(one) * rows))


def test_rates_that_are_alike_leave_the_sum_as_it_was() -> None:
    before = np.array([0.5, -0.25])
    seen = [Observed(0.3, 10), Observed(0.3, 1000)]
    integral, values = ascended(before, seen, PARITY, 1.0, 10.0)
    np.testing.assert_array_equal(integral, before)
    np.testing.assert_array_equal(values, before)


def test_each_rate_of_equalized_odds_climbs_by_itself() -> None:
    seen = [Observed(0.5, 10), Observed(0.5, 10), Observed(0.1, 50), Observed(0.3, 50)]
    integral, _ = ascended(np.zeros(4), seen, ODDS, 1.0, 10.0)
    np.testing.assert_allclose(integral, [0, 0, -0.1, 0.1], rtol=1e-6)


def test_a_group_that_is_not_shown_is_not_pushed_and_pushes_no_other() -> None:
    of = (*PARITY, Multiplier("selection_rate", "X"))
    before = np.array([0.0, 0.0, 0.5])
    seen = [Observed(0.2, 100), Observed(0.6, 100), None]
    integral, values = ascended(before, seen, of, 1.0, 10.0)
    assert (integral[2], values[2]) == (0.5, 0.5)
    np.testing.assert_allclose(integral[:2], [-0.2, 0.2], rtol=1e-6)
    alone, _ = ascended(before, [Observed(0.2, 100), None, None], of, 1.0, 10.0)
    np.testing.assert_array_equal(alone, before)


def test_values_are_those_that_travel() -> None:
    _, values = ascended(np.zeros(2), [Observed(0.1, 7), Observed(0.7, 9)], PARITY, 0.3, 10.0)
    np.testing.assert_array_equal(values, values.astype("<f4").astype(np.float64))


def test_only_what_the_findings_show_of_the_attribute_over_all_sites_is_read() -> None:
    rates = {"selection_rate": 0.25, "true_positive_rate": 0.5, "false_positive_rate": 0.125}
    overall = Fairness(
        scope="overall",
        groups=(
            group("F", 40, 10, rates),
            group("M", 0, 0, rates, suppressed=True),
            GroupRates(attribute="age", group="M", rows=9, positives=3,
                       selection_rate=Estimate(value=0.9)),
        ),
        disparities=(),
    )  # fmt: skip
    cohort = Fairness(scope="north", groups=(group("M", 40, 10, rates),), disparities=())
    assert shown_rates([cohort, overall], "sex", ODDS) == (
        Observed(0.5, 10), None, Observed(0.125, 30), None,
    )  # fmt: skip
    assert shown_rates([overall], "sex", PARITY) == (Observed(0.25, 40), None)
    withheld = group("F", 40, 0, {}, true_positive_rate=Estimate(value=None, reason="few"))
    few = overall.model_copy(update={"groups": (withheld,)})
    assert shown_rates([few], "sex", ODDS) == (None,) * 4


@pytest.mark.parametrize("scale", [1.0, 1 + 1e-6])
def test_the_bound_is_tight(scale: float) -> None:
    values = np.array([-0.1, 0.1]).astype("<f4").astype(np.float64) * scale
    assert are_within(values, 0.1) == (scale == 1.0)
