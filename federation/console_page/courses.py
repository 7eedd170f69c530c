"""Charts of a run while it goes on: how losses and accuracy move, and who takes part."""

from collections.abc import Sequence

from federation.report_page.charts import (
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
from federation.report_page.number_text import rate, significant
from federation.summary import Estimate

MOST_POINTS = 240
"""Of a line; of more, every second, third, ... is drawn, and the latest."""

MOST_BARS = 60
"""The latest rounds."""

HELD_OUT, TRAINING = "held-out rows", "training batches"

LEGEND = (Key(swatch(0), HELD_OUT), Key(swatch(1), TRAINING))


def accuracy_figure(points: Sequence[tuple[int, Estimate]]) -> Figure | None:
    """Accuracy on held-out rows after k rounds, with its interval; None without any."""
    known = tuple(
        Point(after, one.value, one.low, one.high) for after, one in points if one.value is not None
    )
    if not known:
        return None
    said = f"Accuracy: {rate(known[0].y)} after round {known[0].x:g}, {rate(known[-1].y)} after round {known[-1].x:g}."
    chart = line_chart(
        "Accuracy by round", said, "after round", (Series(HELD_OUT, thinned(known), 0),)
    )
    return Figure("Accuracy: share of held-out rows predicted right, with 95 % interval.", chart)


def loss_figure(
    held_out: Sequence[tuple[int, float]], training: Sequence[tuple[int, float]]
) -> Figure | None:
    """Log loss on held-out rows and loss of the training batches, in nats; None without any."""
    lines = tuple(
        Series(name, thinned(tuple(Point(x, y) for x, y in points)), style)
        for style, (name, points) in enumerate(((HELD_OUT, held_out), (TRAINING, training)))
        if points
    )
    if not lines:
        return None
    said = "; ".join(
        f"{one.name}: {significant(one.points[-1].y)} after round {one.points[-1].x:g}"
        for one in lines
    )
    chart = line_chart("Loss by round", f"Loss. {said}.", "after round", lines)
    return Figure("Loss: nats per row, lower is better.", chart)


def participation_figure(
    in_the_sum: Sequence[tuple[int, int]], everyone: int, quorum: int
) -> Figure | None:
    """How many sites' updates each of the latest rounds holds; None without rounds."""
    shown = in_the_sum[-MOST_BARS:]
    if not shown:
        return None
    bars = tuple(Bar(x, float(y), lowered=y < everyone) for x, y in shown)
    full = sum(not bar.lowered for bar in bars)
    said = f"All {everyone} sites took part in {full} of the latest {len(bars)} rounds; quorum {quorum}."
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
