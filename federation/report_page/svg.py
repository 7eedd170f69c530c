"""Scalable vector graphics as escaped text: elements, a linear axis, ticks a reader can divide by.

Colours and line styles are classes that the page's style sheet defines, so that a chart follows the
page into dark mode and onto paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from values to pixels.

    Attributes:
        low: value at pixel `start`.
        high: value at pixel `end`, above `low`.
        start: pixel of `low`; may lie above `end`, as on a vertical axis.
        end: pixel of `high`.
        ticks: values to label, within [low, high].
        decimals: how many tell the ticks apart.
        names: what the ticks are called, if not by their values.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    decimals: int = 0
    names: tuple[str, ...] = ()

    def at(self, value: float) -> float:
        """Pixel of `value`, which may lie outside [low, high]."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick as text."""
        if self.names:
            return self.names[self.ticks.index(tick)]
        return f"{tick:,.{self.decimals}f}".replace("-", "−")


def axis_over(
    values: Iterable[float], start: float, end: float, most_ticks: int = 5, least_step: float = 0.0
) -> Axis:
    """An axis from round number to round number that shows all `values`.

    Args:
        values: at least one.
        start: pixel of the lower end.
        end: pixel of the upper end.
        most_ticks: at least 3; labels that fit.
        least_step: ticks lie no closer; 1.0 labels whole numbers only.

    Raises:
        ValueError: `values` is empty or holds NaN or an infinity.
    """
    low, high = _span(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        margin = max(0.05 * abs(high), 0.005)
        low, high = low - margin, high + margin
    step = _round_step(low, high, most_ticks, least_step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks, _decimals(step))


def whole_axis(values: Iterable[float], start: float, end: float, most_ticks: int) -> Axis:
    """An axis that ends where the `values` end, labelled at whole numbers; arguments as above."""
    low, high = _span(values)
    if low == high:
        return Axis(low - 1, high + 1, start, end, (low,))
    step = _round_step(low, high, most_ticks, 1.0)
    ticks = range(math.ceil(low / step), math.floor(high / step) + 1)
    return Axis(low, high, start, end, tuple(index * step for index in ticks))


def named_axis(names: Sequence[str], start: float, end: float, room: float) -> Axis:
    """An axis over 0, 1, ... whose ticks are called by `names`, as many as there is room for.

    Args:
        names: at least one; long ones are cut.
        start: pixel of the first.
        end: pixel of the last.
        room: least distance of two ticks in pixels.
    """
    last = len(names) - 1
    if last == 0:
        return Axis(-1, 1, start, end, (0.0,), names=(shortened(names[0]),))
    step = max(1, math.ceil(room * last / abs(end - start)))
    ticks = tuple(float(place) for place in range(0, last + 1, step))
    return Axis(0, last, start, end, ticks, names=tuple(shortened(names[int(t)]) for t in ticks))


def shortened(name: str, most: int = 12) -> str:
    """A name that fits below a tick.

    >>> shortened("2018"), shortened("a very long name")
    ('2018', 'a very long…')
    """
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def element(name: str, *content: str, **attributes: str | float) -> Markup:
    """One SVG element; text content and attribute values are escaped.

    `class_` becomes `class`, other underscores become hyphens; numbers keep one decimal.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
    )
    if not content:
        return Markup("<{}{}/>").format(name, written)
    inner = Markup("").join(content)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inner)


def picture(width: float, height: float, title: str, description: str, *parts: str) -> Markup:
    """A picture that screen readers announce by `title` and explain by `description`.

    It is as wide as its container, and its drawing unit is a pixel at its natural width.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        viewBox=f"0 0 {pixel(width)} {pixel(height)}",
        width=width,
        height=height,
        role="img",
    )


def ornament(width: float, height: float, class_: str, *parts: str) -> Markup:
    """A picture of numbers that stand beside it in words; screen readers skip it."""
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {pixel(width)} {pixel(height)}",
        width=width,
        height=height,
        class_=class_,
        aria_hidden="true",
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def label(x: float, y: float, text: str, class_: str) -> Markup:
    """Text whose baseline starts, or by class is centred or ends, at (x, y)."""
    return element("text", text, x=x, y=y, class_=class_)


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Path data through `points`."""
    return "M" + "L".join(f"{pixel(x)},{pixel(y)}" for x, y in points)


def pixel(value: float) -> str:
    """A coordinate to a tenth of a pixel, without trailing zeros."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else pixel(value)


def _span(values: Iterable[float]) -> tuple[float, float]:
    shown = sorted(values)
    if not shown or not all(math.isfinite(value) for value in shown):
        raise ValueError(f"values = {shown}: expected at least one, all finite")
    return shown[0], shown[-1]


def _round_step(low: float, high: float, most_ticks: int, least: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten whose multiples cover the range in few ticks."""
    power = 10.0 ** math.floor(math.log10((high - low) / most_ticks))
    candidates = [power * factor for factor in (1, 2, 5, 10, 20, 50, 100)]
    for step in candidates:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if step >= least and last - first + 1 <= most_ticks:
            return step
    return max(candidates[-1], least)


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
