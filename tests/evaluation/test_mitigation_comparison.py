"""Two runs side by side: what changed, how surely, and what speaks against comparing them."""

import pytest
from sample_summary import hospitals

from evaluation.mitigation.comparison import compare, described, text_table
from federation.summary import Estimate, Summary, TrainedMitigation


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01)


def mitigated(summary: Summary, gap: float) -> Summary:
    """The run again, with every gap by sex as given and a point of accuracy less."""
    one, *rest = summary.fairness
    disparities = tuple(
        disparity.model_copy(update={"estimate": estimate(gap)})
        if disparity.attribute == "sex" and disparity.estimate.value is not None
        else disparity
        for disparity in one.disparities
    )
    last = summary.utility[-1]
    worse = estimate(last.overall.accuracy.value - 0.05)
    utility = last.overall.model_copy(update={"accuracy": worse})
    return summary.model_copy(
        update={
            "run": summary.run.model_copy(update={"id": "again"}),
            "fairness": (one.model_copy(update={"disparities": disparities}), *rest),
            "utility": (*summary.utility[:-1], last.model_copy(update={"overall": utility})),
            "mitigation": TrainedMitigation(
                method="constrained", criterion="equalized_odds", attribute="sex", strength=1.0
            ),
        }
    )


def by_name(comparison):
    return {(one.metric, one.attribute): one for one in comparison.changes}


def test_a_run_against_itself_changes_nothing_and_nothing_speaks_against_it() -> None:
    comparison = compare(hospitals(), hospitals())
    assert comparison.cautions == ()
    assert {one.better for one in comparison.changes} <= {"same", "not known"}
    assert not any(one.apart for one in comparison.changes)
    assert comparison.rows == hospitals().utility[-1].overall.rows


def test_parity_and_odds_stand_side_by_side_with_accuracy() -> None:
    comparison = compare(hospitals(), mitigated(hospitals(), 0.02))
    changes = by_name(comparison)
    parity = changes["demographic_parity_difference", "sex"]
    odds = changes["equalized_odds_difference", "sex"]
    assert (parity.better, odds.better) == ("better", "better")
    assert parity.change == pytest.approx(0.02 - parity.before.value)
    accuracy = changes["accuracy", ""]
    assert accuracy.better == "worse"
    assert accuracy.change == pytest.approx(-0.05)
    assert comparison.after_method == "constrained for equalized odds by sex"
    assert comparison.cautions == ()


def test_a_ratio_is_better_when_it_rises() -> None:
    changes = by_name(compare(hospitals(), mitigated(hospitals(), 0.999)))
    ratio = changes.get(("demographic_parity_ratio", "sex"))
    if ratio is not None:
        assert ratio.better == "better"
    assert changes["demographic_parity_difference", "sex"].better == "worse"


@pytest.mark.parametrize("low", [0.2, 0.4])
def test_apart_is_when_the_intervals_do_not_meet(low: float) -> None:
    before, after = hospitals(), mitigated(hospitals(), 0.02)
    wide = Estimate(value=0.5, low=low, high=0.6)
    one = before.fairness[0]
    gap = one.disparities[0].model_copy(update={"estimate": wide})
    before = before.model_copy(
        update={"fairness": (one.model_copy(update={"disparities": (gap,)}),)}
    )
    other = gap.model_copy(update={"estimate": Estimate(value=0.25, low=0.2, high=0.3)})
    after = after.model_copy(
        update={"fairness": (one.model_copy(update={"disparities": (other,)}),)}
    )
    change = by_name(compare(before, after))[gap.metric, gap.attribute]
    assert change.apart == (low > 0.3)


def changed(**run: object) -> Summary:
    summary = hospitals()
    return summary.model_copy(update={"run": summary.run.model_copy(update=run)})


def without_findings() -> Summary:
    return hospitals().model_copy(update={"fairness": ()})


def on_other_rows() -> Summary:
    summary = hospitals()
    one = summary.fairness[0]
    group = one.groups[0].model_copy(update={"rows": one.groups[0].rows + 1})
    fairness = one.model_copy(update={"groups": (group, *one.groups[1:])})
    return summary.model_copy(update={"fairness": (fairness, *summary.fairness[1:])})


def with_less_noise() -> Summary:
    summary = hospitals()
    privacy = summary.privacy.model_copy(update={"noise_multiplier": 0.1})
    return summary.model_copy(update={"privacy": privacy})


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (changed(task="digits"), "the tasks differ: heart and digits"),
        (changed(sites=("cleveland", "hungary", "basel")), "the sites differ by basel"),
        (changed(status="stopped"), "did not run to its end"),
        (changed(rounds_completed=3), "number of training rounds differs"),
        (without_findings(), "was not evaluated"),
        (on_other_rows(), "the held-out rows differ"),
        (with_less_noise(), "privacy differs"),
    ],
)
def test_what_speaks_against_it_is_said(after: Summary, told: str) -> None:
    comparison = compare(hospitals(), after)
    assert any(told in caution for caution in comparison.cautions)
    assert f"caution: {next(c for c in comparison.cautions if told in c)}\n" in text_table(
        comparison
    )


def test_the_table_says_all_of_it_in_plain_text() -> None:
    text = text_table(compare(hospitals(), mitigated(hospitals(), 0.02)))
    assert "no mitigation" in text
    assert "constrained for equalized odds by sex" in text
    assert "demographic parity difference, sex" in text
    assert "equalized odds difference, sex" in text
    assert "-0.050" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_no_mitigation_is_called_that() -> None:
    assert described(None) == "no mitigation"
