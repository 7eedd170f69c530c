"""Small pictures that stand inside a table cell, each beside the numbers it draws."""

from collections.abc import Iterable
from itertools import pairwise

from markupsafe import Markup

from federation.report_page.number_text import percent
from federation.report_page.svg import (
    Axis,
    axis_over,
    element,
    label,
    line,
    ornament,
    picture,
    pixel,
)
from federation.summary import Estimate

ROW = 16.0
"""Height of a whisker, in pixels."""


def shared_axis(
    estimates: Iterable[Estimate | None], width: float, marks: Iterable[float | None] = ()
) -> Axis | None:
    """One axis for a column of whiskers, so that rows compare; None if no row has a value.

    Args:
        estimates: of the rows.
        width: of a cell, in pixels.
        marks: further values that must lie on the axis.
    """
    ends = [
        end
        for estimate in estimates
        if estimate is not None and estimate.value is not None
        for end in (estimate.low, estimate.value, estimate.high)
        if end is not None
    ]
    if not ends:
        return None
    ends.extend(mark for mark in marks if mark is not None)
    return axis_over(ends, 8.0, width - 8.0, 3 if width < 140 else 6)


def whisker(estimate: Estimate | None, axis: Axis, reference: float | None = None) -> Markup:
    """A dot at the value, a bar over its interval, a tick at `reference`; empty without value."""
    middle = ROW / 2
    parts = [line(axis.start, middle, axis.end, middle, "grid")]
    if reference is not None:
        parts.append(line(axis.at(reference), 1, axis.at(reference), ROW - 1, "threshold"))
    if estimate is not None and estimate.value is not None:
        if estimate.low is not None and estimate.high is not None:
            ends = axis.at(estimate.low), axis.at(estimate.high)
            parts.append(line(ends[0], middle, ends[1], middle, "whisker"))
        parts.append(element("circle", cx=axis.at(estimate.value), cy=middle, r=3.2, class_="dot"))
    return ornament(axis.end + 8, ROW, "cell-chart", *parts)


def whisker_scale(axis: Axis) -> Markup:
    """The ticks of a column of whiskers, for the head of the column."""
    first, last = axis.ticks[0], axis.ticks[-1]
    labelled = axis.ticks if axis.end - axis.start > 140 else (first, last)
    texts = []
    for tick in labelled:
        side = "start" if tick == first else "end" if tick == last else "middle"
        at = axis.at(tick) + {"start": -8, "middle": 0, "end": 8}[side]
        texts.append(label(at, 10, axis.label(tick), f"tick {side}"))
    return ornament(axis.end + 8, 14, "cell-chart", *texts)


def paired_histogram(
    name: str, bins: tuple[str, ...], reference: tuple[float, ...], current: tuple[float, ...]
) -> Markup:
    """Reference shares as wide pale bars, current shares as narrow dark ones, bin by bin.

    Args:
        name: what is counted.
        bins: label per bin.
        reference: share of rows per bin, in [0, 1].
        current: as `reference`.

    Raises:
        ValueError: the three differ in length.
    """
    width, height = 140.0, 34.0
    highest = max([*reference, *current, 1e-9])
    edges = [width * index / max(1, len(bins)) for index in range(len(bins) + 1)]
    bars: dict[str, list[str]] = {"before": [], "now": []}
    words = []
    for text, before, now, (left, right) in zip(
        bins, reference, current, pairwise(edges), strict=True
    ):
        span = right - left
        for share, inset, kind in ((before, 0.06, "before"), (now, 0.28, "now")):
            tall = (height - 2) * share / highest
            x, wide = left + inset * span, span * (1 - 2 * inset)
            corner = f"M{pixel(x)},{pixel(height - 1)}"
            bars[kind].append(f"{corner}v{pixel(-tall)}h{pixel(wide)}v{pixel(tall)}")
        words.append(f"{text}: {percent(before)}, now {percent(now)}")
    base = line(0, height - 0.5, width, height - 0.5, "base")
    title = f"{name}: share of rows by bin, reference and current"
    drawn = (element("path", d="".join(each), class_=kind) for kind, each in bars.items() if each)
    return picture(width, height, title, "; ".join(words), *drawn, base)
