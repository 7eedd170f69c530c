"""Charts of a run while it goes on: how losses and accuracy move, and who takes part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from federation.report_page.number_text import rate
from federation.summary import Estimate

MOST_POINTS = 240
"""Of a line; of more, every second, third, ... is drawn, and the latest."""

MOST_BARS = 60
"""The latest rounds."""

HELD_OUT, TRAINING = "held-out rows", "training batches"


@dataclass(frozen=True, slots=True)
class Course:
    """A chart over rounds, and what its lines are, where there is more than one."""

    figure: Figure
    keys: tuple[Key, ...] = ()


def accuracy_figure(points: Sequence[tuple[int, Estimate]]) -> Course | None:
    """Accuracy on held-out rows after k rounds, with its interval; None without any."""
    known = tuple(
        Point(after, one.value, one.low, one.high) for after, one in points if one.value is not None
    )
    if not known:
        return None
    first, last = known[0], known[-1]
    said = f"Accuracy: {rate(first.y)} after round {first.x:g}, {rate(last.y)} after {last.x:g}."
    chart = line_chart(
        "Accuracy by round", said, "after round", (Series(HELD_OUT, thinned(known), 0),)
    )
    return Course(
        Figure("Accuracy: share of held-out rows predicted right, with 95 % interval.", chart)
    )


def loss_figure(
    held_out: Sequence[tuple[int, float]], training: Sequence[tuple[int, float]]
) -> Course | None:
    """Log loss on held-out rows and loss of the training batches, in nats; None without any."""
    return _lines(
        "Loss by round",
        "Loss: nats per row, lower is better.",
        {HELD_OUT: tuple(held_out), TRAINING: tuple(training)},
    )


def gap_figure(course: Mapping[str, Sequence[tuple[int, float]]]) -> Course | None:
    """Demographic parity difference between the groups of each attribute; None without any."""
    return _lines(
        "Gaps between groups by round",
        "Gaps in positive predictions: 0 is the same for all groups.",
        course,
        (Threshold("all groups alike", 0.0),),
    )


def _lines(
    title: str,
    caption: str,
    courses: Mapping[str, Sequence[tuple[int, float]]],
    thresholds: tuple[Threshold, ...] = (),
) -> Course | None:
    known = [(name, points) for name, points in courses.items() if points][:STYLES]
    if not known:
        return None
    series = tuple(
        Series(name, thinned(tuple(Point(x, y) for x, y in points)), style)
        for style, (name, points) in enumerate(known)
    )
    said = "; ".join(
        f"{one.name}: {rate(one.points[-1].y)} after round {one.points[-1].x:g}" for one in series
    )
    chart = line_chart(title, f"{title}. {said}.", "after round", series, thresholds)
    keys = tuple(Key(swatch(one.style), one.name) for one in series)
    return Course(Figure(caption, chart), keys if len(keys) > 1 else ())


def participation_figure(
    in_the_sum: Sequence[tuple[int, int]], everyone: int, quorum: int
) -> Figure | None:
    """How many sites' updates each of the latest rounds holds; None without rounds."""
    shown = in_the_sum[-MOST_BARS:]
    if not shown:
        return None
    bars = tuple(Bar(x, float(y), lowered=y < everyone) for x, y in shown)
    full = sum(not bar.lowered for bar in bars)
    said = f"All {everyone} sites are in {full} of the latest {len(bars)} rounds; quorum {quorum}."
    threshold = Threshold(f"quorum {quorum}", float(quorum))
    chart = bar_chart("Sites in each round's sum", said, "round", bars, threshold)
    return Figure("Sites whose update is in the sum; hatched: fewer than all; cross: none.", chart)


def thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """At most about `MOST_POINTS` of them, the first and the latest always.

    >>> len(thinned(tuple(Point(x, 0.0) for x in range(1000))))
    201
    """
    step = -(-len(points) // MOST_POINTS)
    return points if step <= 1 else (*points[:-1:step], points[-1])
