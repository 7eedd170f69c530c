"""Small pictures of the evaluation page, each beside the numbers it draws."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from evaluation.report.cell_charts import ROW
from federation.report_page.svg import Axis, element, label, line, ornament, pixel
from federation.summary import Estimate

SPARK = (150.0, 30.0)
"""Width and height of a line in a table cell, in pixels."""

LINED = "cell-chart lined"
"""A picture on a line from axis end to axis end."""

LEVELS = ("act", "watch", "slight", "ok", "window too small")
"""Of sites' flags, the gravest first."""


def rate_whisker(estimate: Estimate, axis: Axis) -> Markup:
    """A dot at the value and a bar over its interval, on the line that the style sheet draws."""
    middle = ROW / 2
    drawn = ""
    if estimate.value is not None:
        if estimate.low is not None and estimate.high is not None:
            low, high = pixel(axis.at(estimate.low)), pixel(axis.at(estimate.high))
            drawn = f"M{low},{pixel(middle)}H{high}"
        # A full circle: two halves of one path, for there are many of them.
        drawn += (
            f"M{pixel(axis.at(estimate.value) - 3)},{pixel(middle)}a3,3 0 1,0 6,0a3,3 0 1,0-6,0"
        )
    return ornament(axis.end + 8, ROW, LINED, element("path", d=drawn, class_="whisker dot"))


def gap_whisker(
    estimate: Estimate, axis: Axis, chance: float | None, chance_95: float | None, equal: float
) -> Markup:
    """A gap with its interval, over the range that groups alike reach by chance.

    Args:
        estimate: of the gap.
        axis: shared by the column.
        chance: what groups alike have on average; a dashed mark.
        chance_95: what they pass in one of twenty tables; the pale range ends there.
        equal: 0 for a difference, 1 for a ratio: where the pale range begins.
    """
    middle = ROW / 2
    parts = []
    if chance_95 is not None:
        left, right = sorted((axis.at(equal), axis.at(chance_95)))
        parts.append(
            element("rect", x=left, y=2, width=right - left, height=ROW - 4, class_="chance")
        )
    if chance is not None:
        parts.append(line(axis.at(chance), 1, axis.at(chance), ROW - 1, "threshold"))
    if equal == 1.0:
        parts.append(line(axis.at(0.8), 0, axis.at(0.8), ROW, "limit"))
    if estimate.value is not None:
        if estimate.low is not None and estimate.high is not None:
            ends = axis.at(estimate.low), axis.at(estimate.high)
            parts.append(line(ends[0], middle, ends[1], middle, "whisker"))
        parts.append(element("circle", cx=axis.at(estimate.value), cy=middle, r=3.2, class_="dot"))
    return ornament(axis.end + 8, ROW, LINED, *parts)


def shift(before: float | None, after: float | None, axis: Axis) -> Markup:
    """A hollow dot where a number was, a full one where it comes to, and a line between them."""
    middle = ROW / 2
    parts = []
    if before is not None and after is not None:
        parts.append(line(axis.at(before), middle, axis.at(after), middle, "whisker"))
    if before is not None:
        parts.append(element("circle", cx=axis.at(before), cy=middle, r=3.2, class_="dot hollow"))
    if after is not None:
        parts.append(element("circle", cx=axis.at(after), cy=middle, r=3.2, class_="dot"))
    return ornament(axis.end + 8, ROW, LINED, *parts)


def columns(counts: Sequence[int], width: float = 120.0, height: float = 34.0) -> Markup:
    """Bars side by side, each with its number above; numbers of 0 have no bar."""
    most = max([*counts, 1])
    edges = [width * place / len(counts) for place in range(len(counts) + 1)]
    parts = [line(0, height - 0.5, width, height - 0.5, "base")]
    for count, (left, right) in zip(counts, pairwise(edges), strict=True):
        tall = (height - 14) * count / most
        if count:
            parts.append(
                element(
                    "rect", x=left + 2, y=height - 1 - tall, width=right - left - 4, height=tall,
                    class_="bar",
                )
            )  # fmt: skip
            parts.append(label((left + right) / 2, height - 3 - tall, str(count), "tick middle"))
    return ornament(width, height, "bars", *parts)


def level_bar(by_level: Mapping[str, int], width: float = 180.0) -> Markup:
    """Sites per level as parts of one bar; the words beside it say how many."""
    total = max(1, sum(by_level.values()))
    parts, left = [], 0.0
    for level in LEVELS:
        wide = width * by_level.get(level, 0) / total
        if wide:
            parts.append(
                element(
                    "rect", x=left, y=1, width=wide, height=ROW - 2,
                    class_=f"level {level.replace(' ', '-')}",
                )
            )  # fmt: skip
            left += wide
    return ornament(width, ROW, "level-bar", *parts)


def sparkline(
    values: Sequence[float], limits: Sequence[float | None], alarms: Iterable[int]
) -> Markup:
    """A statistic as a share of each window's own limit, which is the dashed line.

    Args:
        values: one per window, >= 0.
        limits: likewise; None where there is none, and the window is passed over.
        alarms: places of the windows that alarmed; a cross.
    """
    width, height = SPARK
    shares = {
        place: value / limit if limit else 0.0
        for place, (value, limit) in enumerate(zip(values, limits, strict=True))
        if limit is not None
    }
    top = max([1.25, *shares.values()])
    last = max(1, len(values) - 1)
    places = {
        place: (4 + (width - 8) * place / last, height - 3 - (height - 9) * max(0.0, share) / top)
        for place, share in shares.items()
    }
    limit_at = height - 3 - (height - 9) / top
    parts = [
        line(0, height - 2.5, width, height - 2.5, "base"),
        line(0, limit_at, width, limit_at, "threshold"),
    ]
    if len(places) > 1:
        parts.append(element("path", d=_steps(places.values()), class_="curve s0"))
    elif places:
        ((x, y),) = places.values()
        parts.append(element("circle", cx=x, cy=y, r=3, class_="dot"))
    crosses = "".join(
        f"M{pixel(places[at][0] - 3)},{pixel(places[at][1] - 3)}l6,6m0,-6l-6,6"
        for at in alarms
        if at in places
    )
    if crosses:
        parts.append(element("path", d=crosses, class_="cross"))
    return ornament(width, height, "cell-chart", *parts)


def _steps(points: Iterable[tuple[float, float]]) -> str:
    """Path data in steps of whole pixels: finer ones cannot be seen, and there are many lines."""
    whole = [(round(x), round(y)) for x, y in points]
    steps = (f"{after[0] - now[0]},{after[1] - now[1]}" for now, after in pairwise(whole))
    return f"M{whole[0][0]},{whole[0][1]}l{' '.join(steps)}"
