"""A gap is acted on if it is large and no chance, and not cleared where nothing could show."""

import pytest

from evaluation.gap_grades import GapThresholds, grade
from federation.summary import Disparity, Estimate

USUAL = GapThresholds()


def gap(value, significant=True, null_95=0.03, metric="demographic_parity_difference"):
    return Disparity(
        attribute="sex",
        metric=metric,
        estimate=Estimate(value=value),
        null_95=null_95,
        p_value=0.01 if significant else 0.5,
        significant=significant,
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1, "act"), (0.0999, "watch"), (0.05, "watch"), (0.0499, "ok")]
)
def test_a_significant_difference_is_graded_by_its_size(value, expected) -> None:
    assert grade(gap(value), USUAL) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.799, "act"), (0.8, "watch"), (0.899, "watch"), (0.9, "ok")]
)
def test_a_significant_ratio_is_graded_by_the_four_fifths_rule(value, expected) -> None:
    found = gap(value, null_95=0.95, metric="demographic_parity_ratio")
    assert grade(found, USUAL) == expected


def test_a_large_gap_that_may_be_chance_is_of_too_few_rows() -> None:
    assert grade(gap(0.3, significant=False), USUAL) == "too few rows"


def test_a_small_gap_is_ok_unless_one_to_act_on_would_go_unseen() -> None:
    assert grade(gap(0.02, significant=False, null_95=0.09), USUAL) == "ok"
    assert grade(gap(0.02, significant=False, null_95=0.1), USUAL) == "too few rows"
    ratio = gap(0.95, significant=False, null_95=0.79, metric="demographic_parity_ratio")
    assert grade(ratio, USUAL) == "too few rows"


def test_a_gap_that_is_not_known_is_of_too_few_rows() -> None:
    assert grade(gap(None), USUAL) == "too few rows"
    before = gap(0.3).model_copy(update={"significant": None, "p_value": None})
    assert grade(before, USUAL) == "too few rows"


def test_thresholds_are_passed_in() -> None:
    strict = GapThresholds(watch=0.01, act=0.02, ratio_watch=0.99, ratio_act=0.98)
    assert grade(gap(0.03), strict) == "act"
    for bad in ({"watch": 0.2}, {"watch": 0.0}, {"ratio_act": 0.95}, {"ratio_watch": 1.0}):
        with pytest.raises(ValueError, match="need"):
            GapThresholds(**bad)
