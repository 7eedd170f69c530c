"""Whom privacy costs accuracy: each group over falling epsilon."""

from collections.abc import Iterator
from dataclasses import dataclass

from federation.privacy_impact import GroupImpact, ImpactPoint, PrivacyImpact
from federation.report_page.charts import STYLES, Figure, Key, Point, Series, line_chart, swatch
from federation.report_page.number_text import rate, setting
from federation.summary import Estimate

MOST_LINES = STYLES - 1
"""Groups that are drawn beside all rows; the table has all of them."""


@dataclass(frozen=True, slots=True)
class ImpactRow:
    """One group at every epsilon, and what the last one costs it; None if that is not known."""

    attribute: str
    group: str
    rows: int
    accuracy: tuple[Estimate, ...]
    loss: float | None


@dataclass(frozen=True, slots=True)
class ImpactFigure:
    """One attribute, its legend, and how many of its groups are not drawn."""

    figure: Figure
    legend: tuple[Key, ...]
    not_drawn: int


def epsilon_names(impact: PrivacyImpact) -> tuple[str, ...]:
    """What the columns are called."""
    return tuple(
        "none" if point.epsilon is None else f"ε = {setting(point.epsilon)}"
        for point in impact.points
    )


def impact_rows(impact: PrivacyImpact) -> tuple[ImpactRow, ...]:
    """All rows first, then every group in its order."""
    everyone = tuple(point.accuracy for point in impact.points)
    rows = [ImpactRow("", "all rows", 0, everyone, _loss(everyone))]
    for first in impact.points[0].groups if impact.points else ():
        found = tuple(_of(point, first) for point in impact.points)
        rows.append(ImpactRow(first.attribute, first.group, first.rows, found, _loss(found)))
    return tuple(rows)


def impact_figures(impact: PrivacyImpact) -> tuple[ImpactFigure, ...]:
    """One per attribute, of the groups that lose most."""
    rows = impact_rows(impact)
    attributes = dict.fromkeys(row.attribute for row in rows[1:])
    return tuple(
        figure
        for attribute in attributes
        for figure in _figure(impact, rows[0], [r for r in rows if r.attribute == attribute])
    )


def _figure(
    impact: PrivacyImpact, everyone: ImpactRow, rows: list[ImpactRow]
) -> Iterator[ImpactFigure]:
    known = [row for row in rows if any(one.value is not None for one in row.accuracy)]
    hardest = sorted(known, key=lambda row: -(row.loss or 0.0))[:MOST_LINES]
    series = tuple(_line(row, style) for style, row in enumerate([everyone, *hardest]))
    drawn = tuple(one for one in series if one.points)
    if not known:
        return
    attribute = rows[0].attribute
    said = "; ".join(f"{s.name}: {rate(s.points[0].y)} to {rate(s.points[-1].y)}" for s in drawn)
    chart = line_chart(
        f"Accuracy by {attribute} over epsilon", f"{said}.", "training with privacy", drawn,
        names=epsilon_names(impact),
    )  # fmt: skip
    caption = f"Accuracy by {attribute}, from training without privacy to the smallest ε."
    keys = tuple(Key(swatch(one.style), one.name) for one in drawn)
    yield ImpactFigure(Figure(caption, chart), keys, len(rows) - len(hardest))


def _line(row: ImpactRow, style: int) -> Series:
    # The band of all rows alone: overlapping bands cannot be told apart.
    points = (
        Point(place, one.value, *((one.low, one.high) if style == 0 else (None, None)))
        for place, one in enumerate(row.accuracy)
        if one.value is not None
    )
    return Series(row.group, tuple(points), style)


def _of(point: ImpactPoint, first: GroupImpact) -> Estimate:
    for one in point.groups:
        if (one.attribute, one.group) == (first.attribute, first.group):
            return one.accuracy
    return Estimate(value=None, reason="not measured")


def _loss(accuracy: tuple[Estimate, ...]) -> float | None:
    first, last = accuracy[0].value, accuracy[-1].value
    return None if first is None or last is None or len(accuracy) < 2 else first - last
