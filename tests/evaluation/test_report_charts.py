"""Charts put numbers where they belong, say them in words, and escape every text."""

import math
import re
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report import cell_charts
from federation.report_page import charts, svg
from federation.report_page.budget_bar import budget_bar
from federation.summary import Estimate

finite = st.floats(-1e6, 1e6)
PLACE = re.compile(r"M[\d.]+,[\d.]+")


def parsed(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def of_class(picture: ET.Element, kind: str) -> list[ET.Element]:
    return [part for part in picture.iter() if kind in part.get("class", "").split()]


@given(st.lists(finite, min_size=1, max_size=8), st.integers(3, 12))
def test_an_axis_holds_every_value_between_round_ends_with_few_ticks(values, most) -> None:
    axis = svg.axis_over(values, 0.0, 100.0, most)
    slack = 1e-8 * (axis.high - axis.low)
    assert axis.low <= min(values) + slack
    assert axis.high >= max(values) - slack
    assert 2 <= len(axis.ticks) <= most
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high)
    assert all(-1e-6 <= axis.at(value) <= 100 + 1e-6 for value in values)
    assert len({axis.label(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_an_axis_maps_ends_to_ends_and_the_middle_to_the_middle() -> None:
    axis = svg.axis_over([0.0, 1.0], 200.0, 20.0)
    assert [axis.at(x) for x in (0.0, 0.5, 1.0)] == [200.0, 110.0, 20.0]


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=30))
def test_a_whole_axis_ends_where_the_values_end_and_labels_whole_numbers(values) -> None:
    axis = svg.whole_axis(values, 0.0, 100.0, 6)
    if min(values) < max(values):
        assert (axis.low, axis.high) == (min(values), max(values))
    assert 1 <= len(axis.ticks) <= 6
    assert all(tick == int(tick) and axis.low <= tick <= axis.high for tick in axis.ticks)


def test_a_whole_axis_of_one_value_stands_in_the_middle() -> None:
    assert svg.whole_axis([7, 7], 0.0, 100.0, 6).at(7) == 50.0


def test_least_step_keeps_fractions_off_an_axis_of_counts() -> None:
    assert svg.axis_over([0, 2], 0.0, 100.0, 5, least_step=1.0).ticks == (0, 1, 2)
    assert svg.axis_over([0.2, 0.21], 0.0, 100.0, 5, least_step=1.0).ticks == (0, 1)
    assert 0.5 in svg.axis_over([0, 2], 0.0, 100.0, 5).ticks


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_an_axis_of_nothing_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="all finite"):
        svg.axis_over(values, 0.0, 1.0)
    with pytest.raises(ValueError, match="all finite"):
        svg.whole_axis(values, 0.0, 1.0, 5)


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn"])))
def test_any_text_survives_escaping(text: str) -> None:
    picture = parsed(svg.picture(10, 10, text, text, svg.label(1, 2, text, "tick")))
    assert [part.text or "" for part in picture] == [text, text, text]


def test_pixels_are_short_and_never_minus_zero() -> None:
    assert [svg.pixel(x) for x in (1.0, 1.25, -0.01, 0.04, 10.06)] == ["1", "1.2", "0", "0", "10.1"]


def line() -> charts.Series:
    points = (charts.Point(0, 0.5, 0.4, 0.6), charts.Point(2, 0.7, 0.65, 0.8))
    return charts.Series("overall", points, 0)


def test_a_line_chart_draws_band_curve_markers_and_threshold() -> None:
    guess = charts.Threshold("majority", 0.3)
    picture = parsed(charts.line_chart("T", "D", "round", (line(),), (guess,)))
    assert [picture.find("title").text, picture.find("desc").text] == ["T", "D"]
    assert len(of_class(picture, "band")) == 1
    assert len(of_class(picture, "curve")) == 1
    assert len(markers(picture)) == 2
    upright = svg.axis_over([0.4, 0.8, 0.3], charts.SMALL.bottom, charts.TOP, 5)
    assert float(of_class(picture, "threshold")[0].get("y1")) == pytest.approx(
        upright.at(0.3), abs=0.05
    )


def test_a_higher_value_is_drawn_higher() -> None:
    picture = parsed(charts.line_chart("T", "D", "round", (line(),)))
    first, last = re.findall(r",([\d.]+)", of_class(picture, "curve")[0].get("d"))
    assert float(last) < float(first)


def test_one_point_becomes_a_marker_with_a_whisker_in_the_chart() -> None:
    one = charts.Series("overall", (charts.Point(3, 0.5, 0.4, 0.6),), 0)
    picture = parsed(charts.line_chart("T", "D", "round", (one,)))
    whisker = of_class(picture, "curve")[0]
    assert whisker.tag == "line"
    assert float(whisker.get("y2")) < float(whisker.get("y1"))
    assert not of_class(picture, "band")


def markers(picture: ET.Element) -> list[str]:
    """Where the markers of a picture begin: those of a line are one path."""
    return [place for one in of_class(picture, "marker") for place in PLACE.findall(one.get("d"))]


@pytest.mark.parametrize(("points", "expected"), [(12, 12), (13, 7), (300, 12)])
def test_long_lines_carry_fewer_markers_than_points(points: int, expected: int) -> None:
    long = charts.Series("overall", tuple(charts.Point(i, i / points) for i in range(points)), 0)
    picture = parsed(charts.line_chart("T", "D", "round", (long,)))
    assert len(markers(picture)) == expected
    assert of_class(picture, "curve")[0].get("d").count("L") == points - 1


@pytest.mark.parametrize("names", [("2017",), ("2015", "2016"), tuple(f"w{k}" for k in range(53))])
def test_named_ticks_stand_at_their_places_and_within_the_picture(names: tuple[str, ...]) -> None:
    points = tuple(charts.Point(place, 0.5 + place / 100) for place in range(len(names)))
    one = charts.Series("overall", points, 0)
    picture = parsed(charts.line_chart("T", "D", "window", (one,), names=names))
    texts = [part for part in picture.iter("text") if part.text in names]
    assert texts[0].text == names[0]
    assert len(texts) == len({part.text for part in texts}) <= 8
    places = [float(part.get("x")) for part in texts]
    assert places == sorted(places)
    width = float(picture.get("width"))
    for part, x in zip(texts, places, strict=True):
        reach = {"middle": 3 * len(part.text), "end": 0}[part.get("class").split()[1]]
        assert x + reach <= width


def test_a_long_name_of_a_tick_is_cut_and_names_do_not_run_into_each_other() -> None:
    names = tuple(f"the {k}th of a great many weeks" for k in range(10))
    one = charts.Series("overall", tuple(charts.Point(k, 0.5) for k in range(10)), 0)
    picture = parsed(charts.line_chart("T", "D", "window", (one,), names=names))
    texts = [part for part in picture.iter("text") if part.text.startswith("the ")]
    assert all(part.text.endswith("…") and len(part.text) <= 12 for part in texts)
    places = [float(part.get("x")) for part in texts]
    assert all(b - a > 6 * 11 for a, b in pairwise(places))


def test_points_without_interval_have_no_band() -> None:
    bare = charts.Series("cohort", (charts.Point(0, 0.5), charts.Point(1, 0.6)), 1)
    assert not of_class(parsed(charts.line_chart("T", "D", "round", (bare,))), "band")
    single = charts.Series("cohort", (charts.Point(0, 0.5),), 1)
    assert not of_class(parsed(charts.line_chart("T", "D", "round", (single,))), "curve")


def test_an_empty_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        charts.line_chart("T", "D", "round", (charts.Series("overall", (), 0),))
    with pytest.raises(ValueError, match="at least one"):
        charts.bar_chart("T", "D", "round", (), charts.Threshold("quorum", 3))


def test_line_styles_differ_in_shape_and_not_only_in_colour() -> None:
    shapes = set()
    for style in range(charts.STYLES):
        marker = of_class(parsed(charts.swatch(style)), "marker")[0].get("d")
        shapes.add(re.sub(r"^M[\d.]+,[\d.]+", "", marker))
    assert len(shapes) == charts.STYLES
    assert not of_class(parsed(charts.swatch(-1)), "marker")


def test_bars_are_as_high_as_their_value_marked_when_lowered_and_crossed_when_empty() -> None:
    bars = (charts.Bar(1, 4), charts.Bar(2, 2, lowered=True), charts.Bar(3, 0, lowered=True))
    picture = parsed(charts.bar_chart("T", "D", "round", bars, charts.Threshold("quorum 3", 3)))
    heights = [float(part.get("height")) for part in of_class(picture, "bar")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == 0
    assert len(of_class(picture, "lowered")) == 2
    middles = [float(p.get("x")) + float(p.get("width")) / 2 for p in of_class(picture, "bar")]
    ticks = {part.text: float(part.get("x")) for part in of_class(picture, "middle")}
    assert middles == pytest.approx([ticks["1"], ticks["2"], ticks["3"]], abs=0.11)
    texts = [part.text for part in picture.iter("text")]
    assert texts.count("✕") == 1
    assert "quorum 3" in texts


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value=value, low=low, high=high)


def test_rows_share_an_axis_that_holds_every_interval_and_mark() -> None:
    axis = cell_charts.shared_axis([estimate(0.3, 0.2, 0.4), None, estimate(0.9)], 200.0, [0.05])
    assert axis.low <= 0.05
    assert axis.high >= 0.9
    assert cell_charts.shared_axis([None, estimate(None)], 200.0, [0.5]) is None


def test_a_whisker_spans_its_interval_and_marks_the_reference() -> None:
    axis = cell_charts.shared_axis([estimate(0.5, 0.2, 0.8)], 200.0)
    drawn = parsed(cell_charts.whisker(estimate(0.5, 0.2, 0.8), axis, 0.3))
    bar = of_class(drawn, "whisker")[0]
    assert float(bar.get("x1")) == pytest.approx(axis.at(0.2), abs=0.05)
    assert float(bar.get("x2")) == pytest.approx(axis.at(0.8), abs=0.05)
    dot, mark = of_class(drawn, "dot")[0], of_class(drawn, "threshold")[0]
    assert float(dot.get("cx")) == pytest.approx(axis.at(0.5), abs=0.05)
    assert float(mark.get("x1")) == pytest.approx(axis.at(0.3), abs=0.05)
    assert drawn.get("aria-hidden") == "true"
    assert float(drawn.get("width")) == 200


def test_a_whisker_without_value_or_interval_draws_what_there_is() -> None:
    axis = cell_charts.shared_axis([estimate(0.5)], 200.0)
    assert not of_class(parsed(cell_charts.whisker(None, axis)), "dot")
    assert not of_class(parsed(cell_charts.whisker(estimate(None), axis)), "dot")
    bare = parsed(cell_charts.whisker(estimate(0.5), axis))
    assert of_class(bare, "dot")
    assert not of_class(bare, "whisker")
    assert not of_class(parsed(cell_charts.whisker(estimate(0.5, 0.5), axis)), "whisker")
    assert not of_class(parsed(cell_charts.whisker(estimate(0.5, None, 0.5), axis)), "whisker")


def test_a_narrow_scale_is_labelled_at_its_ends_only() -> None:
    narrow = cell_charts.shared_axis([estimate(0.5, 0.1, 0.9)], 100.0)
    wide = cell_charts.shared_axis([estimate(0.5, 0.1, 0.9)], 260.0)
    assert len(list(parsed(cell_charts.whisker_scale(narrow)).iter("text"))) == 2
    drawn = parsed(cell_charts.whisker_scale(wide))
    labels = list(drawn.iter("text"))
    sides = [label.get("class").split()[1] for label in labels]
    assert sides == ["start", *["middle"] * (len(labels) - 2), "end"]
    assert (
        [float(labels[i].get("x")) for i in (0, -1)] == [0, float(drawn.get("width"))] == [0, 260]
    )
    assert [label.text for label in labels] == [wide.label(tick) for tick in wide.ticks]


def test_a_budget_bar_shows_the_share_and_hatches_what_lies_past_the_budget() -> None:
    half = parsed(budget_bar("site", 1.0, 2.0))
    track, spent = of_class(half, "track")[0], of_class(half, "spent")[0]
    assert float(spent.get("width")) == pytest.approx(float(track.get("width")) / 2)
    assert "50 % of the budget" in half.find("title").text
    full = parsed(budget_bar("site", 2.0, 2.0))
    assert not of_class(full, "over")
    past = parsed(budget_bar("site", 3.0, 2.0))
    over = of_class(past, "over")[0]
    assert float(over.get("width")) == pytest.approx(
        float(of_class(past, "spent")[0].get("width")) / 2, abs=0.2
    )
    assert of_class(past, "limit")


class Bar(NamedTuple):
    left: float
    foot: float
    height: float
    width: float


def bars(path: ET.Element) -> list[Bar]:
    """Bars of one path: up, across and down again."""
    number = r"(-?[\d.]+)"
    drawn = re.findall(f"M{number},{number}v-{number}h{number}v{number}", path.get("d"))
    assert "".join("M{},{}v-{}h{}v{}".format(*one) for one in drawn) == path.get("d")
    assert all(up == down for _, _, up, _, down in drawn)
    return [Bar(*map(float, one[:4])) for one in drawn]


def test_a_paired_histogram_draws_both_windows_to_one_scale_and_says_them() -> None:
    drawn = parsed(cell_charts.paired_histogram("age", ("low", "high"), (0.2, 0.8), (0.4, 0.6)))
    before, now = (bars(of_class(drawn, kind)[0]) for kind in ("before", "now"))
    assert before[1].height == pytest.approx(2 * now[0].height, abs=0.2)
    assert before[1].height == pytest.approx(4 * before[0].height, abs=0.2)
    half = float(drawn.get("width")) / 2
    assert [bar.left < half for bar in (*before, *now)] == [True, False, True, False]
    assert before[1].foot - before[1].height <= 2
    assert len({bar.foot for bar in (*before, *now)}) == 1
    assert before[1].width > now[1].width > 0
    assert drawn.find("desc").text == "low: 20 %, now 40 %; high: 80 %, now 60 %"


def test_a_paired_histogram_of_uneven_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        cell_charts.paired_histogram("age", ("low", "high"), (1.0,), (0.5, 0.5))
