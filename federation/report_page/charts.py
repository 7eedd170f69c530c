"""Charts with axes of their own: lines over rounds, bars by round. Pure functions to SVG text."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from federation.report_page.svg import (
    Axis,
    axis_over,
    element,
    label,
    line,
    named_axis,
    picture,
    pixel,
    polyline,
    shortened,
    whole_axis,
)

LEFT, TOP = 44.0, 12.0
STYLES = 6
"""How many line styles the style sheet tells apart by colour, dash and marker."""

MOST_MARKERS = 12
"""Along a line; more would hide it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of a picture and where its axes end, in pixels."""

    width: float
    height: float
    right: float
    bottom: float


SMALL = Frame(330.0, 210.0, 320.0, 168.0)
WIDE = Frame(680.0, 260.0, 596.0, 218.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart and its caption."""

    caption: str
    chart: Markup


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend."""

    swatch: Markup
    name: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value after round `x`; its interval is [low, high] where both are known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order of x, drawn in line style `style` (0 is the leading one)."""

    name: str
    points: tuple[Point, ...]
    style: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """A horizontal line to compare with, and what it is called."""

    name: str
    y: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar over round `x`; `lowered` marks it by colour and hatching, no height by a cross."""

    x: int
    y: float
    lowered: bool = False


def line_chart(
    title: str,
    description: str,
    x_label: str,
    series: tuple[Series, ...],
    thresholds: tuple[Threshold, ...] = (),
    *,
    names: tuple[str, ...] = (),
) -> Markup:
    """Lines over whole-numbered x with interval bands and thresholds.

    A series of one point is drawn as a marker with its whisker. With `names` the axis is over all
    of them, the x of a point is its place among them, and they stand below the axis.

    Raises:
        ValueError: no series has a point, or a coordinate is not finite.
    """
    return _lines(SMALL, title, description, x_label, series, thresholds, names)


def wide_line_chart(
    title: str,
    description: str,
    x_label: str,
    series: tuple[Series, ...],
    thresholds: tuple[Threshold, ...] = (),
    *,
    names: tuple[str, ...] = (),
) -> Markup:
    """As `line_chart`, over a whole text column, with the thresholds' names beside them."""
    return _lines(WIDE, title, description, x_label, series, thresholds, names)


def _lines(  # noqa: PLR0913, PLR0917 - the arguments of both, and the size
    frame: Frame,
    title: str,
    description: str,
    x_label: str,
    series: tuple[Series, ...],
    thresholds: tuple[Threshold, ...],
    names: tuple[str, ...],
) -> Markup:
    points = [point for one in series for point in one.points]
    if names:
        across = named_axis(names, LEFT, frame.right, 7.0 * longest(names))
    else:
        across = whole_axis((point.x for point in points), LEFT, frame.right, 6)
    heights = [*_heights(points), *(threshold.y for threshold in thresholds)]
    upright = axis_over(heights, frame.bottom, TOP, 5)
    return picture(
        frame.width,
        frame.height,
        title,
        description,
        *axes(across, upright, x_label, frame.right, frame.bottom),
        *(_threshold(threshold, upright, frame.right) for threshold in thresholds),
        *(_name(threshold, upright, frame) for threshold in thresholds if frame is WIDE),
        *(_band(one, across, upright) for one in series if len(one.points) > 1),
        *(part for one in reversed(series) for part in curve(one, across, upright)),
    )


def _name(threshold: Threshold, upright: Axis, frame: Frame) -> Markup:
    return label(frame.right + 6, upright.at(threshold.y) + 4, threshold.name, "tick start")


def bar_chart(
    title: str, description: str, x_label: str, bars: tuple[Bar, ...], threshold: Threshold
) -> Markup:
    """Bars from zero over whole-numbered x, with one threshold across; spans a whole text column.

    Raises:
        ValueError: there is no bar.
    """
    width, height, right, bottom = 680.0, 150.0, 606.0, 108.0
    across = whole_axis((bar.x for bar in bars), LEFT + 18, right - 18, 11)
    upright = axis_over([0.0, threshold.y, *(bar.y for bar in bars)], bottom, TOP, 5, 1.0)
    room = (across.end - across.start) / max(1.0, across.high - across.low)
    wide = min(26.0, 0.7 * room)
    return picture(
        width,
        height,
        title,
        description,
        *axes(across, upright, x_label, right, bottom),
        *(
            element(
                "rect",
                x=across.at(bar.x) - wide / 2,
                y=upright.at(bar.y),
                width=wide,
                height=bottom - upright.at(bar.y),
                class_="bar lowered" if bar.lowered else "bar",
            )
            for bar in bars
        ),
        *(label(across.at(bar.x), bottom - 4, "✕", "tick middle") for bar in bars if not bar.y),
        _threshold(threshold, upright, right),
        label(right + 6, upright.at(threshold.y) + 4, threshold.name, "tick start"),
    )


def swatch(style: int) -> Markup:
    """The key of a line style, for a legend; `style` below 0 is a threshold's."""
    middle = 6.0
    stroke = line(0, middle, 26, middle, "threshold" if style < 0 else f"curve s{style}")
    marker = () if style < 0 else (_markers([(13, middle)], style),)
    return element(
        "svg", stroke, *marker, viewBox="0 0 26 12", width=26, height=12, aria_hidden="true"
    )


def _heights(points: Iterable[Point]) -> Iterator[float]:
    for point in points:
        yield from (y for y in (point.y, point.low, point.high) if y is not None)


def longest(names: Sequence[str]) -> int:
    """Letters of the longest name as a tick has it, and some room."""
    return max(len(shortened(name)) for name in names) + 2


def axes(
    across: Axis, upright: Axis, x_label: str, right: float, bottom: float
) -> Iterator[Markup]:
    """Grid, ticks and the name of the axis across, from `LEFT` to `right`."""
    for tick in upright.ticks:
        y = upright.at(tick)
        yield line(LEFT, y, right, y, "grid")
        yield label(LEFT - 6, y + 4, upright.label(tick), "tick end")
    for tick in across.ticks:
        x, text = across.at(tick), across.label(tick)
        # About six pixels a letter; a name must not reach beyond the picture.
        is_last = x + 3 * len(text) > right + 8
        yield label(
            min(x, right) + 8 * is_last, bottom + 16, text, f"tick {'end' if is_last else 'middle'}"
        )
    yield label((LEFT + right) / 2, bottom + 34, x_label, "tick middle")


def _threshold(threshold: Threshold, upright: Axis, right: float) -> Markup:
    y = upright.at(threshold.y)
    return line(LEFT, y, right, y, "threshold")


def _band(one: Series, across: Axis, upright: Axis) -> Markup:
    upper = [(across.at(p.x), upright.at(p.high)) for p in one.points if p.high is not None]
    lower = [(across.at(p.x), upright.at(p.low)) for p in one.points if p.low is not None]
    if not upper or not lower:
        return Markup()
    return element(
        "path", d=polyline([*upper, *reversed(lower)]) + "Z", class_=f"band s{one.style}"
    )


def curve(one: Series, across: Axis, upright: Axis) -> Iterator[Markup]:
    """A line with markers; of one point its whisker and marker."""
    places = [(across.at(point.x), upright.at(point.y)) for point in one.points]
    if len(places) > 1:
        yield element("path", d=polyline(places), class_=f"curve s{one.style}")
    only = one.points[0] if len(places) == 1 else None
    if only is not None and only.low is not None and only.high is not None:
        x = places[0][0]
        yield line(x, upright.at(only.low), x, upright.at(only.high), f"curve s{one.style}")
    sparse = places[:: math.ceil(len(places) / MOST_MARKERS)]
    yield _markers(sparse, one.style)


def _markers(places: Sequence[tuple[float, float]], style: int) -> Markup:
    """Markers whose shape, like the colour and the dashes, belongs to the style."""
    shapes = (
        "M{x},{y}m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0Z",
        "M{x},{y}m-3,-3h6v6h-6Z",
        "M{x},{y}m0,-4l4,7h-8Z",
        "M{x},{y}m0,-4l4,4l-4,4l-4,-4Z",
        "M{x},{y}m0,4l4,-7h-8Z",
        "M{x},{y}m-4,-1h3v-3h2v3h3v2h-3v3h-2v-3h-3Z",
    )
    drawn = "".join(shapes[style].format(x=pixel(x), y=pixel(y)) for x, y in places)
    return element("path", d=drawn, class_=f"marker s{style}")
