"""Which numbers of the document go into which chart, with the words that stand for the picture."""

import math

from federation.report_page.charts import (
    Figure,
    Key,
    Point,
    Series,
    Threshold,
    line_chart,
    swatch,
    wide_line_chart,
)
from federation.report_page.number_text import setting
from privacy.report.document import Cumulative, LedgerReport
from privacy.report.wording import bound, percent_up

MOST_DRAWN = 300
"""Points of one line; more cannot be told apart."""


LEGEND = (
    Key(swatch(0), "privacy loss distributions (tightest)"),
    Key(swatch(1), "Rényi differential privacy"),
    Key(swatch(-1), "budget"),
)


def cumulative_figure(ledger: LedgerReport) -> Figure | None:
    """Epsilon after each charge, under the budget; None where nothing bounded stands."""
    series = tuple(one for one in _cumulative(ledger.cumulative) if one.points)
    if not series:
        return None
    budget = ledger.record.budget
    line = (Threshold(f"budget {setting(budget)}", budget),) if budget is not None else ()
    charges = len(ledger.cumulative.rdp)
    description = (
        f"After {charges:,} charges epsilon is {bound(ledger.record.epsilon)} at delta "
        f"{setting(ledger.record.delta)}; the budget is {bound(budget)}."
    )
    chart = wide_line_chart("Epsilon after each charge", description, "charge", series, line)
    drawn = (
        "The lesser of the two lines counts. Privacy loss distributions are drawn at "
        f"{len(ledger.cumulative.pld):,} charges, in bins ten times as wide as those of the last "
        "point"
    )
    return Figure(f"{drawn}; charges that were given back are left out.", chart)


def curve_figures(ledger: LedgerReport) -> tuple[Figure, ...]:
    """Epsilon against delta, and true against false positives, where they are bounded."""
    if ledger.record.epsilon is None:
        return ()
    gain = ledger.gain
    points = tuple(
        Point(math.log10(one.x), one.y) for one in gain.epsilon_of_delta if one.y is not None
    )
    ends = [one for one in gain.epsilon_of_delta if one.y is not None]
    curve = Figure(
        "Epsilon for other deltas: −5 is a delta of 10⁻⁵. The guarantee is all of the curve.",
        line_chart(
            "Epsilon against delta",
            f"From epsilon {bound(ends[0].y)} at delta {setting(ends[0].x)} to "
            f"{bound(ends[-1].y)} at {setting(ends[-1].x)}.",
            "delta, as a power of ten",
            (Series("epsilon", points, 0),),
        ),
    )
    found = tuple(
        Point(100 * one.false_positive_rate, 100 * one.true_positive_rate) for one in gain.trade_off
    )
    guess = (Point(0.0, 0.0), Point(100.0, 100.0))
    said = "; ".join(
        f"{percent_up(one.true_positive_rate)} at {100 * one.false_positive_rate:g} %"
        for one in gain.hit_rates
    )
    trade_off = Figure(
        "The best an attacker can do (solid) against guessing (dashed): of those in the table, how "
        "many are found, for how many others are wrongly accused.",
        line_chart(
            "True against false positives",
            f"At most {said} false positives.",
            "wrongly accused, %",
            (Series("attacker", found, 0), Series("guessing", guess, 5)),
        ),
    )
    return curve, trade_off


def _cumulative(curve: Cumulative) -> tuple[Series, ...]:
    charges = len(curve.rdp)
    step = max(1, math.ceil(charges / MOST_DRAWN))
    numbers = sorted({*range(1, charges + 1, step), charges}) if charges else []
    renyi = tuple(
        Point(float(number), value)
        for number in numbers
        if (value := curve.rdp[number - 1]) is not None
    )
    pld = tuple(Point(one.x, one.y) for one in curve.pld if one.y is not None)
    start = (Point(0.0, 0.0),)
    return (
        Series("PLD", (*start, *pld) if pld else (), 0),
        Series("RDP", (*start, *renyi) if renyi else (), 1),
    )
