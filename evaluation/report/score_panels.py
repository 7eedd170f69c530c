"""Calibration and ROC of each group in panels of one size, so that they compare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from federation.report_page.number_text import count, estimate, rate
from federation.report_page.svg import Axis, element, label, line, picture, pixel, polyline
from federation.score_summary import GroupScores, ReliabilityBin, RocPoint

LEFT, TOP, SIDE = 26.0, 6.0, 130.0
WIDTH, HEIGHT = LEFT + SIDE + 8, TOP + SIDE + 30
ACROSS = Axis(0.0, 1.0, LEFT, LEFT + SIDE, (0.0, 0.5, 1.0), 1)
UPRIGHT = Axis(0.0, 1.0, TOP + SIDE, TOP, (0.0, 0.5, 1.0), 1)

SQUARE = "square"

ENDS = 2
"""Points that every ROC curve has: they alone would look like chance."""

MOST_GHOST_POINTS = 20
"""Of the line of all rows behind each panel; more cannot be seen."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One group: both pictures and the words below them."""

    group: str
    rows: int
    reliability: Markup
    roc: Markup | None


@dataclass(frozen=True, slots=True)
class PanelRow:
    """The panels of one attribute, the table beside them, and who has none."""

    attribute: str
    scores: tuple[GroupScores, ...]
    panels: tuple[Panel, ...]


def panel_rows(scores: Sequence[GroupScores]) -> tuple[PanelRow, ...]:
    """One per attribute, in the order in which the summary names them."""
    ghost = next((one for one in scores if one.attribute == "overall"), None)
    attributes = dict.fromkeys(one.attribute for one in scores)
    return tuple(
        PanelRow(name, tuple(own), tuple(_panels(own, ghost)))
        for name in attributes
        if (own := [one for one in scores if one.attribute == name])
    )


def _panels(scores: Sequence[GroupScores], ghost: GroupScores | None) -> Iterator[Panel]:
    for one in scores:
        if one.reliability and not one.suppressed:
            behind = ghost.roc if ghost is not None and ghost is not one else ()
            yield Panel(
                one.group,
                one.rows,
                reliability_panel(one),
                roc_panel(one, behind) if len(one.roc) > ENDS else None,
            )


def reliability_panel(scores: GroupScores) -> Markup:
    """Observed share of positives over mean score, bin by bin, with 95 % intervals."""
    known = [
        (each, each.mean_score, each.observed.value)
        for each in scores.reliability
        if each.mean_score is not None and each.observed.value is not None
    ]
    bars = "".join(
        f"M{pixel(ACROSS.at(mean))},{pixel(UPRIGHT.at(each.observed.low))}"
        f"V{pixel(UPRIGHT.at(each.observed.high))}"
        for each, mean, _ in known
        if each.observed.low is not None and each.observed.high is not None
    )
    places = [(ACROSS.at(mean), UPRIGHT.at(seen)) for _, mean, seen in known]
    # A line of no length with round ends is a dot.
    dots = "".join(f"M{pixel(x)},{pixel(y)}h0" for x, y in places)
    drawn = ((polyline(places), "curve s0"), (bars, "whisker"), (dots, "dots")) if known else ()
    return picture(
        WIDTH, HEIGHT, f"Calibration of {scores.group}", _told(scores.reliability),
        *_square("mean score"),
        *(element("path", d=path, class_=class_) for path, class_ in drawn if path),
    )  # fmt: skip


def roc_panel(scores: GroupScores, ghost: Sequence[RocPoint]) -> Markup:
    """True positive rate over false positive rate, before the curve of all rows."""
    behind = [*ghost[:: max(1, len(ghost) // MOST_GHOST_POINTS)], *ghost[-1:]]
    words = f"AUC {estimate(scores.auc)}" if scores.auc is not None else "AUC not given"
    return picture(
        WIDTH, HEIGHT, f"ROC curve of {scores.group}", f"{words}, {count(scores.rows)} rows.",
        *_square("false positive rate"),
        *([element("path", d=_path(behind), class_="ghost")] if behind else []),
        element("path", d=_path(scores.roc), class_="curve s0"),
    )  # fmt: skip


def _path(points: Sequence[RocPoint]) -> str:
    return polyline(
        (ACROSS.at(one.false_positive_rate), UPRIGHT.at(one.true_positive_rate)) for one in points
    )


def squares() -> Markup:
    """What stands behind every panel, drawn once: it is put on the page before any of them."""
    behind = element("g", *_behind(), id=SQUARE)
    return element("svg", element("defs", behind), class_="defs", width=0, height=0,
                   aria_hidden="true")  # fmt: skip


def _square(across: str) -> Iterator[Markup]:
    yield element("use", href=f"#{SQUARE}")
    yield label(LEFT + SIDE / 2, TOP + SIDE + 26, across, "tick middle")


def _behind() -> Iterator[Markup]:
    for tick in (0.0, 0.5, 1.0):
        yield line(LEFT, UPRIGHT.at(tick), LEFT + SIDE, UPRIGHT.at(tick), "grid")
        yield label(LEFT - 4, UPRIGHT.at(tick) + 4, UPRIGHT.label(tick), "tick end")
        side = {0.0: "start", 0.5: "middle", 1.0: "end"}[tick]
        yield label(ACROSS.at(tick), TOP + SIDE + 13, ACROSS.label(tick), f"tick {side}")
    yield line(ACROSS.at(0), UPRIGHT.at(0), ACROSS.at(1), UPRIGHT.at(1), "threshold")


def _told(bins: Sequence[ReliabilityBin]) -> str:
    known = [one for one in bins if one.mean_score is not None and one.observed.value is not None]
    if not known:
        return "No bin has rows enough."
    pairs = (f"{rate(one.mean_score, 2)}: {rate(one.observed.value, 2)}" for one in known)
    return f"Mean score and share observed: {', '.join(pairs)}."
