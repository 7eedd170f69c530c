"""Epsilon against accuracy and against the gap between groups, with what seeds make of both."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from federation.report_page.charts import (
    LEFT,
    STYLES,
    TOP,
    Figure,
    Key,
    Point,
    Series,
    Threshold,
    axes,
    curve,
    swatch,
)
from federation.report_page.number_text import setting
from federation.report_page.svg import (
    Axis,
    axis_over,
    element,
    label,
    line,
    picture,
    polyline,
)
from simulations.sweep.plain_words import aim_name
from simulations.sweep.results import SweepResults
from simulations.sweep.standing import Standing
from simulations.sweep.variation import shown

WIDTH, HEIGHT, RIGHT, BOTTOM = 680.0, 300.0, 560.0, 256.0
MOST_DOTS = 5
"""Seeds of a trial that are drawn one by one; more are their range alone."""

MOST_OWN_TICKS = 8
"""Epsilons that are labelled as they are."""

_ROUND = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Place:
    """A trial on a chart."""

    trial: int
    point: Point
    dots: tuple[float, ...]
    style: int


def figures(found: SweepResults) -> list[Figure]:
    """Accuracy over epsilon, the gap over epsilon, and the gap over accuracy; those there are."""
    aim = aim_name(found)
    drawn = []
    if _known(found, found.aim):
        drawn.append(
            Figure(
                f"{aim[0].upper()}{aim[1:]} against epsilon, on a logarithmic axis: up and to the "
                "left is better. Rings: no other trial is better in both.",
                _over_epsilon(found, found.aim, aim, found.frontier),
            )
        )
    if _known(found, "worst_group_gap"):
        drawn.append(
            Figure(
                "The largest difference between groups against epsilon: down and to the left is "
                "better. Small groups differ by chance alone, and the more so the fewer rows "
                "they have.",
                _over_epsilon(found, "worst_group_gap", "worst-group gap", found.fair_frontier),
            )
        )
        if _known(found, found.aim):
            drawn.append(
                Figure(
                    f"The gap against {aim}, each trial with its epsilon: down and to the right is "
                    "better. Rings: no other trial is better in epsilon, too.",
                    _gap_over_aim(found, aim),
                )
            )
    return drawn


def legend(found: SweepResults) -> list[Key]:
    """What the styles mean."""
    keys = [Key(swatch(style), name) for name, style in _styles(found).items() if name]
    if found.reference is not None and found.reference.runs:
        keys.append(Key(swatch(-1), "without privacy, mean over seeds"))
    return keys


def _known(found: SweepResults, measure: str) -> list[Standing]:
    """Trials of which both epsilon and the measure are known."""
    return [
        one
        for one in found.standings
        if one.epsilon is not None and one.epsilon > 0 and one.spread(measure) is not None
    ]


def _group(found: SweepResults, trial: int) -> str:
    """What a trial's other settings are, besides those of privacy."""
    settings = next(one.settings for one in found.trials if one.number == trial)
    return ", ".join(
        f"{key} = {shown(value)}" for key, value in settings if not key.startswith("privacy.")
    )


def _styles(found: SweepResults) -> dict[str, int]:
    """A style for each choice of the other settings, where there are few enough to tell apart."""
    names = list(dict.fromkeys(_group(found, one.trial) for one in found.standings))
    return {name: place for place, name in enumerate(names)} if len(names) <= STYLES else {}


def _places(found: SweepResults, measure: str) -> list[Place]:
    styles, places = _styles(found), []
    for one in _known(found, measure):
        spread = one.spread(measure)
        assert spread is not None
        assert one.epsilon is not None
        dots = tuple(one.by_seed(measure).values())
        places.append(
            Place(
                one.trial,
                Point(math.log10(one.epsilon), spread.mean, spread.least, spread.largest),
                dots if 1 < len(dots) <= MOST_DOTS else (),
                styles.get(_group(found, one.trial), 0),
            )
        )
    return sorted(places, key=lambda place: (place.style, place.point.x))


def _over_epsilon(found: SweepResults, measure: str, name: str, frontier: Sequence[int]) -> Markup:
    places = _places(found, measure)
    theirs = None if found.reference is None else found.reference.spread(measure)
    threshold = None if theirs is None else Threshold("without privacy", theirs.mean)
    across = epsilon_axis([place.point.x for place in places])
    heights = [*_heights(places), *([threshold.y] if threshold else [])]
    upright = axis_over(heights, BOTTOM, TOP + 8, 6)
    connected = bool(_styles(found))
    said = "; ".join(
        f"trial {one.trial}: epsilon {10**one.point.x:.3g}, {name} {one.point.y:.3f}"
        for one in places
    )
    return picture(
        WIDTH,
        HEIGHT,
        f"{name} against epsilon",
        said,
        *_axes(across, upright, "epsilon, largest over sites and seeds", name),
        *(_threshold(threshold, upright) if threshold else ()),
        *(_series(places, across, upright) if connected else ()),
        *(part for place in places for part in _trial(place, across, upright)),
        *(_ring(place, across, upright) for place in places if place.trial in frontier),
        *_numbers(places, across, upright),
    )


def _gap_over_aim(found: SweepResults, aim: str) -> Markup:
    known = [one for one in _known(found, found.aim) if one.worst_group_gap is not None]
    pairs = []
    for one in known:
        right, up = one.spread(found.aim), one.worst_group_gap
        assert right is not None
        assert up is not None
        pairs.append((one, right, up))
    across = axis_over((x for _, s, _ in pairs for x in (s.least, s.largest)), LEFT, RIGHT, 7)
    upright = axis_over((y for _, _, s in pairs for y in (s.least, s.largest)), BOTTOM, TOP + 8, 6)
    styles, parts = _styles(found), []
    for one, right, up in pairs:
        style = styles.get(_group(found, one.trial), 0)
        x, y = across.at(right.mean), upright.at(up.mean)
        if one.trial in found.undominated:
            parts += [
                line(across.at(right.least), y, across.at(right.largest), y, "seeds"),
                line(x, upright.at(up.least), x, upright.at(up.largest), "seeds"),
                element("circle", cx=x, cy=y, r=7.5, class_="ring"),
            ]
        parts += curve(Series("", (Point(right.mean, up.mean),), style), across, upright)
    texts = [
        (across.at(right.mean), upright.at(up.mean), f"ε {setting(_short(one.epsilon or 0.0))}")
        for one, right, up in pairs
    ]
    return picture(
        WIDTH,
        HEIGHT,
        f"worst-group gap against {aim}",
        "; ".join(
            f"trial {one.trial}: {aim} {right.mean:.3f}, gap {up.mean:.3f}"
            for one, right, up in pairs
        ),
        *_axes(across, upright, aim, "worst-group gap"),
        *parts,
        *_apart(texts),
    )


def epsilon_axis(logs: Sequence[float]) -> Axis:
    """A logarithmic axis over all of them, labelled at few epsilons themselves, or at round ones.

    Args:
        logs: decimal logarithms, one at least.
    """
    room = max(0.06, 0.05 * (max(logs) - min(logs)))
    low, high = min(logs) - room, max(logs) + room
    own = sorted({_short(10**log, 2) for log in logs})
    apart = min((math.log10(b / a) for a, b in pairwise(own)), default=1.0)
    if len(own) <= MOST_OWN_TICKS and apart > 0.07 * (high - low):
        names = tuple(map(setting, own))
        return Axis(low, high, LEFT, RIGHT, tuple(map(math.log10, own)), names=names)
    ticks = [
        math.log10(factor * 10.0**power)
        for power in range(math.floor(low) - 1, math.ceil(high) + 1)
        for factor in _ROUND
    ]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) < 2:  # all within a factor of two: the ends themselves
        inside = [min(logs)] if math.isclose(min(logs), max(logs)) else [min(logs), max(logs)]
    names = tuple(setting(_short(10**tick)) for tick in inside)
    return Axis(low, high, LEFT, RIGHT, tuple(inside), names=names)


def _short(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _axes(across: Axis, upright: Axis, x_label: str, y_label: str) -> Iterator[Markup]:
    yield from axes(across, upright, x_label, RIGHT, BOTTOM)
    yield label(4, TOP, y_label, "tick start")


def _heights(places: Iterable[Place]) -> Iterator[float]:
    for place in places:
        yield place.point.y
        yield from (y for y in (place.point.low, place.point.high) if y is not None)


def _threshold(threshold: Threshold, upright: Axis) -> Iterator[Markup]:
    y = upright.at(threshold.y)
    yield line(LEFT, y, RIGHT, y, "threshold")
    yield label(RIGHT + 6, y + 4, threshold.name, "tick start")


def _series(places: Sequence[Place], across: Axis, upright: Axis) -> Iterator[Markup]:
    """Trials that differ in their privacy alone, as a line with the band that seeds make."""
    for style in dict.fromkeys(place.style for place in places):
        points = [place.point for place in places if place.style == style]
        if len(points) < 2:
            continue
        upper = [(across.at(p.x), upright.at(p.high)) for p in points if p.high is not None]
        lower = [(across.at(p.x), upright.at(p.low)) for p in points if p.low is not None]
        yield element("path", d=polyline([*upper, *reversed(lower)]) + "Z", class_=f"band s{style}")
        middle = [(across.at(p.x), upright.at(p.y)) for p in points]
        yield element("path", d=polyline(middle), class_=f"curve s{style}")


def _trial(place: Place, across: Axis, upright: Axis) -> Iterator[Markup]:
    x, point = across.at(place.point.x), place.point
    if point.low is not None and point.high is not None and point.low < point.high:
        yield line(x, upright.at(point.low), x, upright.at(point.high), "seeds")
    for y in place.dots:
        yield element("circle", cx=x, cy=upright.at(y), r=1.8, class_=f"seed s{place.style}")
    yield from curve(Series("", (Point(point.x, point.y),), place.style), across, upright)


def _ring(place: Place, across: Axis, upright: Axis) -> Markup:
    return element(
        "circle", cx=across.at(place.point.x), cy=upright.at(place.point.y), r=7.5, class_="ring"
    )


def _numbers(places: Sequence[Place], across: Axis, upright: Axis) -> Iterator[Markup]:
    """Numbers of the trials, where there are few enough to be read."""
    yield from _apart(
        [(across.at(one.point.x), upright.at(one.point.y), str(one.trial)) for one in places]
    )


def _apart(texts: Sequence[tuple[float, float, str]]) -> Iterator[Markup]:
    """Words beside points, left out where they would lie on each other."""
    taken: list[tuple[float, float, float]] = []
    for x, y, text in texts:
        left, width = x + 9, 6.5 * len(text)
        if any(abs(y - b) < 11 and left < a + w and a < left + width for a, b, w in taken):
            continue
        taken.append((left, y, width))
        yield label(left, y - 5, text, "tick start")
