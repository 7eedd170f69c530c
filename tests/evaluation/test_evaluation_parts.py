"""What the page's tables and charts are made of: marks, drift lines, detectors, answers."""

import re
from xml.etree import ElementTree as ET

import pytest
from sample_evaluation import HOSPITALS, SIZES, Size, families, sample

from evaluation.report import (
    detector_charts,
    drift_kinds,
    drift_strip,
    impact_figures,
    mitigation_rows,
    scope_tables,
    score_panels,
    small_charts,
    trust_facts,
    window_figures,
)
from evaluation.report.group_marks import group_marks
from federation.drift_summary import ConceptWatch, DriftFinding, WatchPoint, WindowDrift
from federation.privacy_impact import PrivacyImpact
from federation.report_page.svg import axis_over
from federation.score_summary import GroupScores
from federation.summary import Estimate, Fairness, GroupComparison, GroupRates

SUMMARY = sample(HOSPITALS)


def parsed(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def of_class(picture: ET.Element, kind: str) -> list[ET.Element]:
    return [part for part in picture.iter() if kind in part.get("class", "").split()]


# --- groups that stand out


def compared(difference: float, *, significant: bool, group: str = "a") -> GroupComparison:
    return GroupComparison(
        attribute="sex", group=group, metric="accuracy", difference=difference, low=-1, high=1,
        p_value=0.5, p_adjusted=0.5, significant=significant,
    )  # fmt: skip


def fairness(*comparisons: GroupComparison, groups: str = "ab") -> Fairness:
    rates = tuple(
        GroupRates(attribute="sex", group=name, rows=50, positives=9, accuracy=Estimate(value=0.5))
        for name in groups
    )
    return Fairness(scope="overall", groups=rates, disparities=(), comparisons=comparisons)


@pytest.mark.parametrize(
    ("difference", "significant", "sign"),
    [
        (0.3, True, "▲▲"),
        (-0.3, True, "▼▼"),
        (0.2, True, "▲▲"),
        (0.19, True, "▲"),
        (-0.01, True, "▼"),
        (0.3, False, "△△"),
        (-0.15, False, "▽"),
        (0.09, False, ""),
    ],
)
def test_a_sign_tells_direction_size_and_chance(difference, significant, sign) -> None:
    one = compared(difference, significant=significant)
    mark = group_marks(fairness(one), 0.1, 0.2).get(("sex", "a", "accuracy"))
    assert (mark.sign if mark else "") == sign


def test_of_two_groups_the_other_has_the_reverse_sign_and_of_three_none_is_made_up() -> None:
    one = compared(0.3, significant=True)
    two = group_marks(fairness(one), 0.1, 0.2)
    assert two["sex", "b", "accuracy"].sign == "▼▼"
    three = group_marks(fairness(one, groups="abc"), 0.1, 0.2)
    assert set(three) == {("sex", "a", "accuracy")}
    both = fairness(one, compared(0.01, significant=False, group="b"))
    assert set(group_marks(both, 0.1, 0.2)) == {("sex", "a", "accuracy")}


def test_cohorts_are_told_in_numbers_once_many_groups_were_drawn() -> None:
    few = scope_tables.scope_tables(SUMMARY.fairness, SUMMARY.marks)
    assert [one.is_drawn for one in few] == [True, True]
    many = sample(Size(families(40), features=1, windows=1, extras=False))
    drawn = scope_tables.scope_tables(many.fairness, many.marks)
    assert [one.is_drawn for one in drawn] == [True, False]


# --- drift


def finding(kind="covariate", subject="age", verdict="ok", **changes) -> DriftFinding:
    base = DriftFinding(
        kind=kind, subject=subject, statistic="psi", against="reference", rows_before=100,
        rows_now=90, value=0.2, critical=0.1, watch=0.1, act=0.25, p_value=0.5, significant=True,
        verdict=verdict,
    )  # fmt: skip
    return base.model_copy(update=changes)


def window(name: str, *findings: DriftFinding) -> WindowDrift:
    return WindowDrift(
        scope="overall", window=name, reference="2015", previous=None, rows=90, sites=3,
        noise_variance=0, comparisons=len(findings), false_alarms=0.05, verdict="ok",
        findings=findings,
    )  # fmt: skip


def rows_of(strip: drift_strip.Strip) -> dict[str, str]:
    return {row.name: "".join(cell.letter or " " for cell in row.cells)
            for band in strip.bands for row in band.rows}  # fmt: skip


def test_a_strip_has_a_letter_per_window_against_the_reference_and_blanks_in_between() -> None:
    drift = (
        window("1", finding(verdict="watch"), finding(verdict="act", against="previous window")),
        window("3", finding(verdict="act"), finding(subject="sex", verdict="window too small")),
    )
    strip = drift_strip.drift_strip(drift, ["1", "2", "3"], "overall", calm=True)
    assert rows_of(strip) == {"age": "W A", "sex": "  ?"}


def test_the_gravest_feature_of_the_latest_window_stands_first() -> None:
    names = {"a": "ok", "b": "watch", "c": "act", "d": "window too small"}
    drift = (window("1", *(finding(subject=s, verdict=v) for s, v in names.items())),)
    strip = drift_strip.drift_strip(drift, ["1"], "overall", calm=True)
    assert list(rows_of(strip)) == ["c", "b", "d", "a"]


def test_a_cohorts_strip_leaves_out_what_never_called_for_anything_and_counts_it() -> None:
    drift = (window("1", finding(verdict="watch"), finding(subject="sex"),
                    finding(subject="job", verdict="window too small")),)  # fmt: skip
    strip = drift_strip.drift_strip(drift, ["1"], "overall", calm=False)
    assert rows_of(strip) == {"age": "W"}
    assert strip.bands[0].left_out == 2


def test_many_rates_make_one_line_of_their_worst() -> None:
    many = [finding("fairness", f"sex={k}", "ok", statistic=str(k)) for k in range(5)]
    drift = (window("1", *many, finding("fairness", "sex=9", "watch", statistic="9")),)
    strip = drift_strip.drift_strip(drift, ["1"], "overall", calm=True)
    assert rows_of(strip) == {"groups, 6 rates": "W"}


def test_a_strip_shows_the_latest_windows_and_says_how_many_came_before() -> None:
    names = [f"{k}" for k in range(75)]
    drift = tuple(window(name, finding()) for name in names)
    strip = drift_strip.drift_strip(drift, names, "overall", calm=True)
    assert (len(strip.windows), strip.windows[-1], strip.earlier) == (60, "74", 15)
    assert drift_strip.drift_strip(drift, names, "elsewhere", calm=True) is None


def test_a_line_holds_both_comparisons_and_the_gravest_comes_first() -> None:
    found = window("1", finding(), finding(against="previous window", verdict="act", value=0.4),
                   finding(subject="sex", verdict="watch"))  # fmt: skip
    (table,) = drift_kinds.kind_tables(found, calm=True)
    assert [line.subject for line in table.lines] == ["age", "sex"]
    first = table.lines[0]
    assert (first.reference.verdict, first.previous.verdict) == ("ok", "act")


def test_lines_that_are_left_out_are_counted_by_why() -> None:
    calm = [finding("fairness", f"g={k}", statistic="s") for k in range(30)]
    small = [finding("fairness", f"h={k}", "window too small", statistic="s") for k in range(25)]
    empty = [finding("fairness", "unknown", "window too small", statistic="s", rows_before=0,
                     rows_now=0)]  # fmt: skip
    found = window("1", *calm, *small, *empty, finding("fairness", "k", "watch", statistic="s"))
    (table,) = drift_kinds.kind_tables(found, calm=True)
    assert (table.left_out, table.too_small, table.empty) == (22, 5, 1)
    assert len(table.lines) == 57 - 22 - 5 - 1
    (quiet,) = drift_kinds.kind_tables(found, calm=False)
    assert [line.subject for line in quiet.lines] == ["k"]
    assert (quiet.left_out, quiet.too_small) == (30, 25)


# --- errors over time


def watch(*points: tuple[float, float | None], alarms: tuple[int, ...] = ()) -> ConceptWatch:
    return ConceptWatch(
        scope="overall", subject="overall", reference_rows=100, reference_errors=9,
        windows_per_false_alarm=100,
        points=tuple(
            WatchPoint(window=f"w{k}", rows=50, errors=5, cusum=value, cusum_limit=limit,
                       page_hinkley=0.0, page_hinkley_limit=limit, alarm=k in alarms)
            for k, (value, limit) in enumerate(points)
        ),
    )  # fmt: skip


def test_a_cross_marks_the_statistic_that_passed_and_not_the_other() -> None:
    rows = detector_charts.watch_rows([watch((1, 5), (6, 5), (0, 5), alarms=(1,))])
    (large,) = detector_charts.large_watches(rows)
    assert len(of_class(parsed(large.cusum), "cross")) == 1
    assert not of_class(parsed(large.page_hinkley), "cross")
    assert "Alarms: w1." in parsed(large.cusum).find("desc").text
    assert rows[0].alarms == ("w1",)
    assert not rows[0].is_alarming


def test_a_window_without_rows_has_no_limit_and_breaks_nothing() -> None:
    rows = detector_charts.watch_rows([watch((0, None)), watch((0, 4), (0, None), (1, 4))])
    assert detector_charts.large_watches(rows)
    assert not of_class(parsed(rows[0].cusum), "curve")


def test_the_limit_is_drawn_window_by_window() -> None:
    (row,) = detector_charts.watch_rows([watch((1, 5), (1, 8), (1, 6))])
    (large,) = detector_charts.large_watches((row,))
    (limit,) = of_class(parsed(large.cusum), "strong")
    heights = [float(y) for y in re.findall(r",([\d.]+)", limit.get("d"))]
    assert heights[1] < heights[2] < heights[0]


def test_large_charts_are_of_all_rows_and_of_what_alarmed_lately() -> None:
    calm = [watch((0, 5), (0, 5)).model_copy(update={"subject": f"g{k}"}) for k in range(6)]
    late = watch((0, 5), (9, 5), alarms=(1,)).model_copy(update={"subject": "late"})
    early = watch((9, 5), (0, 5), alarms=(0,)).model_copy(update={"subject": "early"})
    rows = detector_charts.watch_rows([*calm, early, late, watch((0, 5), (0, 5))])
    assert [row.watch.subject for row in rows][:3] == ["overall", "late", "early"]
    large = detector_charts.large_watches(rows)
    assert [one.subject for one in large] == ["overall", "late", "early"]


def test_a_sparkline_is_a_share_of_the_limit() -> None:
    half = parsed(small_charts.sparkline([2.0, 2.0], [4.0, 4.0], []))
    limit = float(of_class(half, "threshold")[0].get("y1"))
    foot = float(of_class(half, "base")[0].get("y1"))
    start = float(re.match(r"M[\d.]+,([\d.]+)", of_class(half, "curve")[0].get("d"))[1])
    assert foot - start == pytest.approx((foot - limit) / 2, abs=1)


# --- small pictures


def test_a_gap_stands_over_the_range_that_chance_gives() -> None:
    axis = axis_over([0.0, 1.0], 8.0, 192.0)
    gap = Estimate(value=0.4, low=0.3, high=0.5)
    drawn = parsed(small_charts.gap_whisker(gap, axis, 0.1, 0.2, 0.0))
    (chance,) = of_class(drawn, "chance")
    ends = float(chance.get("x")), float(chance.get("x")) + float(chance.get("width"))
    assert ends == pytest.approx((axis.at(0.0), axis.at(0.2)), abs=0.11)
    assert not of_class(drawn, "limit")
    ratio = parsed(small_charts.gap_whisker(gap, axis, 0.9, 0.8, 1.0))
    (chance,) = of_class(ratio, "chance")
    assert float(chance.get("x")) == pytest.approx(axis.at(0.8), abs=0.11)
    assert float(of_class(ratio, "limit")[0].get("x1")) == pytest.approx(axis.at(0.8), abs=0.11)


def test_bars_of_sites_say_their_number_and_zero_has_none() -> None:
    drawn = parsed(small_charts.columns((3, 0, 1)))
    assert [text.text for text in drawn.iter("text")] == ["3", "1"]
    heights = [float(bar.get("height")) for bar in of_class(drawn, "bar")]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.2)


def test_a_bar_of_levels_is_whole_and_in_order_of_gravity() -> None:
    drawn = parsed(small_charts.level_bar({"ok": 6, "act": 3, "window too small": 1}))
    parts = list(drawn.iter("rect"))
    assert [part.get("class") for part in parts] == [
        "level act", "level ok", "level window-too-small",
    ]  # fmt: skip
    assert sum(float(part.get("width")) for part in parts) == pytest.approx(180, abs=0.2)


def test_a_shift_goes_from_a_hollow_dot_to_a_full_one() -> None:
    axis = axis_over([0.0, 1.0], 8.0, 102.0)
    drawn = parsed(small_charts.shift(0.2, 0.8, axis))
    hollow, full = of_class(drawn, "dot")
    assert "hollow" in hollow.get("class")
    assert float(hollow.get("cx")) < float(full.get("cx"))
    assert len(list(parsed(small_charts.shift(None, None, axis)).iter())) == 1


# --- calibration


def test_a_reliability_panel_leaves_out_bins_without_rows() -> None:
    scores = SUMMARY.scores["overall"][0]
    bare = scores.reliability[0].model_copy(update={"mean_score": None, "rows": 0})
    fewer = scores.model_copy(update={"reliability": (bare, *scores.reliability[1:])})
    drawn = parsed(score_panels.reliability_panel(fewer))
    dots = of_class(drawn, "dots")[0].get("d").count("M")
    known = sum(one.observed.value is not None for one in scores.reliability[1:])
    assert dots == known
    nothing = scores.model_copy(update={"reliability": (bare,)})
    assert (
        "No bin has rows enough"
        in parsed(score_panels.reliability_panel(nothing)).find("desc").text
    )


def test_suppressed_groups_and_groups_taken_together_have_no_panel() -> None:
    hidden = GroupScores(attribute="sex", group="F", suppressed=True, reason="few")
    together = GroupScores(attribute="sex", group="A or B", combines=("A", "B"), rows=30)
    (row,) = score_panels.panel_rows([hidden, together])
    assert row.panels == ()
    assert len(row.scores) == 2


# --- figures over windows


def test_performance_starts_with_the_reference_and_keeps_gaps_between_windows() -> None:
    figure = window_figures.performance_figures(SUMMARY)[0]
    names = [text.text for text in parsed(figure.chart).iter("text")]
    assert [one for one in names if one.startswith("20")] == ["2025", *HOSPITALS.names]
    silent = SUMMARY.model_copy(
        update={"windows": tuple(w.model_copy(update={"utility": {}}) for w in SUMMARY.windows)}
    )
    assert window_figures.performance_figures(silent)


def test_of_a_cohort_the_judged_gaps_alone_are_drawn() -> None:
    everyone = window_figures.gap_figures(SUMMARY, "overall")[0]
    cohort = window_figures.gap_figures(SUMMARY, "region 1")[0]
    assert len(of_class(parsed(everyone.chart), "curve")) == 4
    assert len(of_class(parsed(cohort.chart), "curve")) == 2
    assert "equal opportunity difference" in parsed(cohort.chart).find("desc").text


def test_the_groups_that_lose_most_are_drawn_and_all_are_listed() -> None:
    impact = SUMMARY.privacy_impact
    rows = impact_figures.impact_rows(impact)
    assert len(rows) == 1 + 20
    assert rows[0].group == "all rows"
    figures = impact_figures.impact_figures(impact)
    assert [one.not_drawn for one in figures] == [0, 1, 0, 3]
    drawn = {key.name for key in figures[1].legend} - {"all rows"}
    losses = {row.group: row.loss for row in rows if row.attribute == "race"}
    assert min(losses[name] for name in drawn) >= max(
        loss for name, loss in losses.items() if name not in drawn
    )


def test_an_impact_of_one_point_has_no_loss() -> None:
    impact = SUMMARY.privacy_impact
    single = PrivacyImpact(seeds=(1,), rounds=2, points=impact.points[:1])
    assert all(row.loss is None for row in impact_figures.impact_rows(single))


# --- trust


def test_the_answers_hold_the_numbers_of_the_summary() -> None:
    told = {one.question: one for one in trust_facts.answers(SUMMARY)}
    assert told["Whose rows are these?"].phrase == "9,000 rows of 9 of 10 sites"
    assert "1 invited site did not" in told["Whose rows are these?"].text
    assert told["Are the counts exact?"].phrase == "yes"
    comparisons = sum(len(one.comparisons) for one in SUMMARY.fairness)
    assert told["How many comparisons, and how many are false?"].phrase.startswith(
        f"{comparisons} "
    )
    assert "100 windows" in told["What was agreed beforehand?"].text


def test_the_bounds_told_are_the_widest_of_all_groups() -> None:
    widest = max((one.auc.high - one.auc.low) / 2 for scores in SUMMARY.scores.values()
                 for one in scores if one.auc is not None)  # fmt: skip
    told = next(one for one in trust_facts.answers(SUMMARY) if one.question.startswith("How exact"))
    assert f"AUC within ± {widest:.3f}" in told.phrase


def test_groups_are_counted_by_what_is_seen_of_them() -> None:
    withheld = Estimate(value=None, reason="fewer than 10 positives")
    groups = (
        GroupRates(attribute="sex", group="a", rows=50, positives=9, accuracy=Estimate(value=0.5)),
        GroupRates(attribute="sex", group="b", rows=20, positives=None, accuracy=withheld),
        GroupRates(
            attribute="sex", group="c", rows=0, positives=None, suppressed=True, reason="few"
        ),
    )
    (one,) = trust_facts.group_counts(Fairness(scope="overall", groups=groups, disparities=()))
    assert (one.shown, one.partly, one.suppressed, one.smallest, one.largest) == (2, 1, 1, 20, 50)
    assert one.reasons == (("few", 1), ("fewer than 10 positives", 1))


def test_every_criterion_has_a_row_and_both_kinds_of_gap() -> None:
    tables = mitigation_rows.mitigation_tables(SUMMARY.mitigation, "equal_opportunity")
    assert [one.attribute for one in tables] == list(HOSPITALS.families)
    first = tables[0]
    assert [row.is_criterion for row in first.criteria] == [False, True, False, False]
    by_heading = dict(zip(first.headings, first.criteria[0].changes, strict=True))
    gaps = SUMMARY.mitigation[0].after.gaps
    assert by_heading["Demographic parity difference"].after == gaps.demographic_parity_difference
    assert by_heading["Equalized odds difference"].after == gaps.equalized_odds_difference
    assert mitigation_rows.mitigation_tables((), "equalized_odds") == ()


def test_samples_hold_what_they_are_called() -> None:
    assert not sample(SIZES["no groups"]).fairness[0].groups
    hidden = sample(SIZES["all suppressed"])
    assert all(group.suppressed for one in hidden.fairness for group in one.groups)
