"""Errors followed from window to window: the detectors' statistics below their limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evaluation.report.small_charts import sparkline
from federation.drift_summary import ConceptWatch, WatchPoint
from federation.report_page.charts import LEFT, TOP, Point, Series, axes, curve, longest
from federation.report_page.number_text import listing, rate
from federation.report_page.svg import (
    Axis,
    axis_over,
    element,
    label,
    named_axis,
    picture,
    pixel,
    polyline,
)

WIDTH, HEIGHT, RIGHT, BOTTOM = 480.0, 220.0, 466.0, 176.0

MOST_LARGE = 4
"""Subjects with a chart of their own: all rows, then those that alarmed."""


@dataclass(frozen=True, slots=True)
class WatchRow:
    """One subject: both lines small, its latest window, and when it alarmed."""

    watch: ConceptWatch
    cusum: Markup
    page_hinkley: Markup
    alarms: tuple[str, ...]

    @property
    def latest(self) -> WatchPoint | None:
        """What the detectors said last; None without windows."""
        return self.watch.points[-1] if self.watch.points else None

    @property
    def is_alarming(self) -> bool:
        """Whether the latest window alarmed."""
        return self.latest is not None and self.latest.alarm


@dataclass(frozen=True, slots=True)
class LargeWatch:
    """One subject, both detectors large."""

    scope: str
    subject: str
    cusum: Markup
    page_hinkley: Markup


def watch_rows(watches: Sequence[ConceptWatch]) -> tuple[WatchRow, ...]:
    """One per subject: all rows first, then by how lately they alarmed, else as they came."""
    rows = [_row(watch) for watch in watches]
    return tuple(sorted(rows, key=lambda row: (row.watch.subject != "overall", _since(row))))


def large_watches(rows: Sequence[WatchRow]) -> tuple[LargeWatch, ...]:
    """The first scope's rows, and the first that alarmed."""
    first = [row for row in rows if row.watch.points][:1]
    alarmed = [row for row in rows if row.alarms and row not in first]
    return tuple(
        LargeWatch(
            row.watch.scope,
            row.watch.subject,
            _chart(row.watch, "CUSUM", lambda p: p.cusum, lambda p: p.cusum_limit),
            _chart(
                row.watch,
                "Page–Hinkley",
                lambda p: p.page_hinkley,
                lambda p: p.page_hinkley_limit,
            ),
        )
        for row in (*first, *alarmed)[:MOST_LARGE]
    )


def _row(watch: ConceptWatch) -> WatchRow:
    points = watch.points
    return WatchRow(
        watch,
        _spark([p.cusum for p in points], [p.cusum_limit for p in points]),
        _spark([p.page_hinkley for p in points], [p.page_hinkley_limit for p in points]),
        tuple(point.window for point in points if point.alarm),
    )


def _spark(values: Sequence[float], limits: Sequence[float | None]) -> Markup:
    return sparkline(values, limits, _passed(values, limits))


def _since(row: WatchRow) -> int:
    """Windows since the latest alarm; more than there are if none was."""
    points = row.watch.points
    alarmed = [place for place, point in enumerate(points) if point.alarm]
    return len(points) - alarmed[-1] if alarmed else len(points) + 1


def _chart(
    watch: ConceptWatch,
    name: str,
    statistic: Callable[[WatchPoint], float],
    limit: Callable[[WatchPoint], float | None],
) -> Markup:
    names = tuple(point.window for point in watch.points)
    limits = [(place, limit(point)) for place, point in enumerate(watch.points)]
    known = [(place, value) for place, value in limits if value is not None]
    values = [statistic(point) for point in watch.points]
    across = named_axis(names, LEFT, RIGHT, 7.0 * longest(names))
    upright = axis_over([0.0, *values, *(value for _, value in known)], BOTTOM, TOP, 5)
    line = Series(name, tuple(Point(place, value) for place, value in enumerate(values)), 0)
    return picture(
        WIDTH, HEIGHT, f"{name}, {watch.scope}, {watch.subject}",
        _told(watch, name, statistic, limit),
        *axes(across, upright, "window", RIGHT, BOTTOM),
        *_limits(known, across, upright),
        *curve(line, across, upright),
        *_crosses(values, [value for _, value in limits], across, upright),
    )  # fmt: skip


def _limits(known: Sequence[tuple[int, float]], across: Axis, upright: Axis) -> Iterator[Markup]:
    """Dashes from limit to limit: each window has its own."""
    places = [(across.at(place), upright.at(value)) for place, value in known]
    if len(places) == 1:
        (x, y), half = places[0], 12.0
        places = [(x - half, y), (x + half, y)]
    if places:
        yield element("path", d=polyline(places), class_="threshold none strong")
        # At the left the statistic is low: it starts at 0.
        x, y = places[0]
        yield label(max(x, LEFT) + 2, max(y - 6, 10.0), "limit", "tick start")


def _crosses(
    values: Sequence[float], limits: Sequence[float | None], across: Axis, upright: Axis
) -> Iterator[Markup]:
    for place in _passed(values, limits):
        x, y = across.at(place), upright.at(values[place])
        corner = f"M{pixel(x - 5)},{pixel(y - 5)}l10,10m0,-10l-10,10"
        yield element("path", d=corner, class_="cross")


def _passed(values: Sequence[float], limits: Sequence[float | None]) -> list[int]:
    """Places of the windows in which this statistic passed its limit: not the other one alone."""
    both = enumerate(zip(values, limits, strict=True))
    return [place for place, (value, limit) in both if limit is not None and value > limit]


def _told(
    watch: ConceptWatch,
    name: str,
    statistic: Callable[[WatchPoint], float],
    limit: Callable[[WatchPoint], float | None],
) -> str:
    last = watch.points[-1]
    alarmed = tuple(point.window for point in watch.points if point.alarm)
    said = f"{name} {rate(statistic(last))} in window {last.window}"
    bound = limit(last)
    said += f", limit {rate(bound)}" if bound is not None else ", no limit: no rows"
    return f"{said}. Alarms: {listing(alarmed) if alarmed else 'none'}."
