"""Lines over windows: how well the model predicts, and how far groups are apart."""

from collections.abc import Callable, Iterator

from evaluation.report.figures import ALIKE, GAPS_BY_ROUND, OVERALL
from federation.evaluation_summary import EvaluationSummary, Window
from federation.report_page.charts import (
    STYLES,
    Figure,
    Key,
    Point,
    Series,
    Threshold,
    line_chart,
    swatch,
)
from federation.report_page.number_text import estimate, rate
from federation.summary import Estimate, Utility

GAPS_BY_WINDOW = (*GAPS_BY_ROUND, "equal_opportunity_difference")
"""In line styles 0 to 3."""


def performance_figures(summary: EvaluationSummary) -> tuple[Figure, ...]:
    """Accuracy, AUC and log loss from the reference to the latest window; of one point none."""
    windows = (summary.reference, *summary.windows)
    wanted: tuple[tuple[str, str, Callable[[Utility], Estimate]], ...] = (
        ("Accuracy", "share of rows predicted right", lambda one: one.accuracy),
        ("AUC", "0.5 is chance, 1 is perfect ranking", lambda one: one.auc),
        ("Log loss", "nats per row, lower is better", lambda one: Estimate(value=one.log_loss)),
    )
    found = []
    for name, meaning, read in wanted:
        series = tuple(_series(windows, read))
        if not series:
            continue
        guess = summary.windows[-1].majority_accuracy
        is_drawn = name == "Accuracy" and guess is not None
        thresholds = (Threshold("majority", guess),) if is_drawn and guess is not None else ()
        chart = line_chart(
            f"{name} by window", _in_words(name, series, windows), "window", series, thresholds,
            names=_names(summary),
        )  # fmt: skip
        found.append(Figure(f"{name}: {meaning}.", chart))
    return tuple(found)


def performance_legend(summary: EvaluationSummary) -> tuple[Key, ...]:
    """What the lines of the performance figures are."""
    scopes = _scopes((summary.reference, *summary.windows))
    keys = [Key(swatch(min(at, STYLES - 1)), name) for at, name in enumerate(scopes)]
    if summary.windows[-1].majority_accuracy is not None:
        keys.append(Key(swatch(-1), "always answering the most frequent class, latest window"))
    return tuple(keys)


def gap_figures(summary: EvaluationSummary, scope: str) -> tuple[Figure, ...]:
    """Gaps between the groups of each attribute, the reference first; none if never known.

    Of a cohort the gaps that verdicts on it rest on: the criterion's, and of accuracy.
    """
    judged = {f"{summary.marks.criterion}_difference", "accuracy_difference"}
    shown = GAPS_BY_WINDOW if scope == OVERALL else judged
    points = [one for one in summary.gaps if one.scope == scope]
    places = {name: place for place, name in enumerate(_names(summary))}
    attributes = dict.fromkeys(gap.attribute for one in points for gap in one.disparities)
    found = []
    for attribute in attributes:
        series = tuple(
            Series(_words(metric), tuple(line), style)
            for style, metric in enumerate(GAPS_BY_WINDOW)
            if metric in shown
            and (
                line := [
                    Point(places[one.window], gap.estimate.value)
                    for one in points
                    for gap in one.disparities
                    if (gap.attribute, gap.metric) == (attribute, metric)
                    and gap.estimate.value is not None
                ]
            )
        )
        if series:
            said = "; ".join(
                f"{one.name}: {rate(one.points[0].y)} first, {rate(one.points[-1].y)} last"
                for one in series
            )
            chart = line_chart(
                f"Gaps by {attribute}, by window", f"{said}.", "window", series, (ALIKE,),
                names=_names(summary),
            )  # fmt: skip
            found.append(Figure(f"Gaps by {attribute}: 0 is the same for all groups.", chart))
    return tuple(found)


def gap_legend(summary: EvaluationSummary) -> tuple[Key, ...]:
    """What the lines of the gap figures are."""
    known = {
        gap.metric
        for one in summary.gaps
        for gap in one.disparities
        if gap.estimate.value is not None
    }
    return tuple(
        Key(swatch(style), _words(metric))
        for style, metric in enumerate(GAPS_BY_WINDOW)
        if metric in known
    )


def _series(windows: tuple[Window, ...], read: Callable[[Utility], Estimate]) -> Iterator[Series]:
    for at, scope in enumerate(_scopes(windows)):
        points = []
        for place, window in enumerate(windows):
            seen = read(window.utility[scope]) if scope in window.utility else None
            if seen is not None and seen.value is not None:
                # Only the leading line has a band: overlapping bands cannot be told apart.
                ends = (seen.low, seen.high) if scope == OVERALL else (None, None)
                points.append(Point(place, seen.value, *ends))
        if points:
            yield Series(scope, tuple(points), min(at, STYLES - 1))


def _scopes(windows: tuple[Window, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for window in windows for name in window.utility))


def _names(summary: EvaluationSummary) -> tuple[str, ...]:
    return (summary.reference.name, *(window.name for window in summary.windows))


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _in_words(name: str, series: tuple[Series, ...], windows: tuple[Window, ...]) -> str:
    said = []
    for one in series:
        last = one.points[-1]
        value = Estimate(value=last.y, low=last.low, high=last.high)
        said.append(f"{one.name}: {estimate(value)} in window {windows[int(last.x)].name}")
    return f"{name}. {'; '.join(said)}."
