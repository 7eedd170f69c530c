"""Which numbers of the summary go into which chart, with the words that stand for the picture."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from evaluation.report import comparison
from federation.report_page.charts import (
    STYLES,
    Bar,
    Figure,
    Key,
    Point,
    Series,
    Threshold,
    bar_chart,
    line_chart,
    swatch,
)
from federation.report_page.number_text import estimate, rate
from federation.report_page.number_text import interval as interval_text
from federation.summary import Estimate, FairnessPoint, Summary, Utility

OVERALL = "overall"


def utility_figures(summary: Summary) -> tuple[Figure, ...]:
    """Accuracy, AUC and log loss after k rounds, those of them that were measured."""
    majority = comparison.named(summary, comparison.MAJORITY)
    wanted: tuple[tuple[str, str, Callable[[Utility], Estimate]], ...] = (
        ("Accuracy", "share of rows predicted right", lambda utility: utility.accuracy),
        ("AUC", "0.5 is chance, 1 is perfect ranking", lambda utility: utility.auc),
        ("Log loss", "nats per row, lower is better", lambda utility: _exact(utility.log_loss)),
    )
    figures = []
    for name, meaning, read in wanted:
        series = _series(summary, read)
        if not series:
            continue
        guess = None if majority is None else read(majority).value
        thresholds = () if guess is None else (Threshold("majority class", guess),)
        description = _in_words(name, series, thresholds)
        title = f"{name} by round"
        chart = line_chart(title, description, "after round", series, thresholds)
        figures.append(Figure(f"{name}: {meaning}.", chart))
    return tuple(figures)


def utility_legend(summary: Summary) -> tuple[Key, ...]:
    """What the lines of the utility figures are."""
    names = [OVERALL, *_cohorts(summary)]
    keys = [Key(swatch(min(i, STYLES - 1)), name) for i, name in enumerate(names)]
    if comparison.named(summary, comparison.MAJORITY) is not None:
        keys.append(Key(swatch(-1), "guessing: always the majority class"))
    return tuple(keys)


GAPS_BY_ROUND = (
    "demographic_parity_difference",
    "equalized_odds_difference",
    "accuracy_difference",
)
"""The gaps that are drawn over rounds, in line styles 0, 1, 2; ratios would need an axis of their
own, and equal opportunity is part of equalized odds."""

ALIKE = Threshold("all groups alike", 0.0)


def fairness_figures(summary: Summary) -> tuple[Figure, ...]:
    """Gaps between the groups of each attribute after k rounds, overall; none if never measured."""
    points = [one for one in summary.fairness_by_round if one.scope == OVERALL]
    attributes = dict.fromkeys(gap.attribute for one in points for gap in one.disparities)
    figures = []
    for attribute in attributes:
        series = tuple(
            Series(_in_words_of(metric), gaps, style)
            for style, metric in enumerate(GAPS_BY_ROUND)
            if (gaps := _gaps(points, attribute, metric))
        )
        if series:
            title = f"Gaps by {attribute}, by round"
            words = _in_words(title, series, ())
            chart = line_chart(title, words, "after round", series, (ALIKE,))
            figures.append(Figure(f"Gaps by {attribute}: 0 is the same for all groups.", chart))
    return tuple(figures)


def fairness_legend(summary: Summary) -> tuple[Key, ...]:
    """What the lines of the fairness figures are."""
    drawn = {
        gap.metric
        for one in summary.fairness_by_round
        for gap in one.disparities
        if gap.estimate.value is not None
    }
    return tuple(
        Key(swatch(style), _in_words_of(metric))
        for style, metric in enumerate(GAPS_BY_ROUND)
        if metric in drawn
    )


def participation_figure(summary: Summary) -> Figure | None:
    """How many sites' sums each round holds, against the quorum; None without rounds."""
    if not summary.rounds:
        return None
    survivors: dict[int, int] = defaultdict(int)
    for one in summary.rounds:
        if one.kind == "train" or one.round not in survivors:
            survivors[one.round] = one.in_the_sum
    everyone = len(summary.run.sites)
    bars = tuple(Bar(x, float(y), lowered=y < everyone) for x, y in sorted(survivors.items()))
    quorum = summary.secure_sum.quorum
    full = sum(not bar.lowered for bar in bars)
    description = f"All {everyone} sites took part in {full} of {len(bars)} rounds; quorum {quorum}"
    chart = bar_chart(
        "Sites in each round's sum",
        f"{description}.",
        "round",
        bars,
        Threshold(f"quorum {quorum}", float(quorum)),
    )
    return Figure(
        "Sites whose update is in the sum, by round; hatched: fewer than all; cross: none.", chart
    )


def _series(summary: Summary, read: Callable[[Utility], Estimate]) -> tuple[Series, ...]:
    lines: dict[str, list[Point]] = {OVERALL: []}
    lines.update({name: [] for name in _cohorts(summary)})
    for at in sorted(summary.utility, key=lambda point: point.after_round):
        for name, utility in ((OVERALL, at.overall), *at.cohorts.items()):
            seen = read(utility)
            if seen.value is not None:
                # Only the leading line carries a band: overlapping bands cannot be told apart.
                ends = (seen.low, seen.high) if name == OVERALL else (None, None)
                lines[name].append(Point(at.after_round, seen.value, *ends))
    return tuple(
        Series(name, tuple(points), min(index, STYLES - 1))
        for index, (name, points) in enumerate(lines.items())
        if points
    )


def _gaps(points: Iterable[FairnessPoint], attribute: str, metric: str) -> tuple[Point, ...]:
    return tuple(
        Point(one.after_round, gap.estimate.value)
        for one in sorted(points, key=lambda one: one.after_round)
        for gap in one.disparities
        if (gap.attribute, gap.metric) == (attribute, metric) and gap.estimate.value is not None
    )


def _in_words_of(metric: str) -> str:
    return metric.replace("_", " ")


def _cohorts(summary: Summary) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for point in summary.utility for name in point.cohorts))


def _in_words(name: str, series: tuple[Series, ...], thresholds: tuple[Threshold, ...]) -> str:
    parts = []
    for one in series:
        first, last = one.points[0], one.points[-1]
        said = Estimate(value=last.y, low=last.low, high=last.high)
        within = f" ({interval_text(said)})" if interval_text(said) else ""
        parts.append(
            f"{one.name}: {rate(first.y)} after round {first.x:g}, "
            f"{estimate(said)}{within} after round {last.x:g}"
        )
    parts.extend(f"{one.name}: {rate(one.y)}" for one in thresholds)
    return f"{name}. {'; '.join(parts)}."


def _exact(value: float | None) -> Estimate:
    return Estimate(value=value)
