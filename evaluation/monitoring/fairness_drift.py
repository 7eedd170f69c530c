"""Fairness drift: has a group's rate changed, and has the gap between groups?

A gap is the largest rate of a family less the smallest. If it grew by t, the two groups that are
now furthest apart moved apart by at least t; if it shrank by t, those that were furthest apart
moved together by at least t. Without a change, the chance of either is at most the sum, over all
ordered pairs of groups, of the chance that the pair moved apart by t.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from evaluation.group_metrics import (
    Counts,
    Floats,
    Rate,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from evaluation.monitoring.comparison import Comparison, Test
from evaluation.monitoring.rate_drift import RatePair, rate_drift
from evaluation.monitoring.window_counts import OVERALL, DriftRules
from evaluation.rate_change import standard_error
from evaluation.tally_spec import Family
from federation.drift_summary import Baseline

RATES: tuple[Rate, ...] = (selection_rate, true_positive_rate, false_positive_rate)
LEAST_ROWS = 20
"""Of a rate's denominator in either window, for a group to count in a gap."""

Confusions = Mapping[str, Counts]


def group_drift(
    before: Confusions,
    now: Confusions,
    against: Baseline,
    rules: DriftRules,
    noise: tuple[float, float],
    hidden: frozenset[str] = frozenset(),
) -> list[Comparison]:
    """Change of each group's selection rate, TPR and FPR.

    Args:
        before: per group label, TN, FP, FN, TP; `overall` is no group.
        now: likewise, with the same labels.
        against: what `before` is.
        rules: of the drift.
        noise: variance of the noise in a count of either window.
        hidden: groups that must not be shown.
    """
    pairs = []
    shown = [label for label in before if label != OVERALL and label in now]
    for label in (label for label in shown if label not in hidden):
        for rate in RATES:
            (part_before, before_whole), (part_now, now_whole) = (
                rate.counts(side[label]) for side in (before, now)
            )
            pairs.append(
                RatePair(
                    "fairness", label, f"change in {rate.name}", rules.fairness,
                    (int(part_before), int(part_now)), (int(before_whole), int(now_whole)),
                    len(rate.of),
                )
            )  # fmt: skip
    return rate_drift(pairs, against, rules, noise)


def gap_drift(
    before: Confusions,
    now: Confusions,
    families: Sequence[Family],
    against: Baseline,
    rules: DriftRules,
    noise: tuple[float, float],
    hidden: frozenset[str] = frozenset(),
) -> list[Comparison]:
    """Change of the gap between the groups of each family in selection rate, TPR and FPR.

    Groups that are hidden, `unknown`, or of fewer than 20 rows, positives or negatives in either
    window are left out.

    Args:
        before: as in `group_drift`.
        now: likewise.
        families: groups that are compared with each other.
        against: what `before` is.
        rules: of the drift.
        noise: variance of the noise in a count of either window.
        hidden: groups that must not be shown.
    """
    found = []
    least = max(LEAST_ROWS, rules.minimum_cell)
    for family in families:
        labels = [
            group.label
            for group in family
            if group.label not in hidden
            and not group.is_unknown
            and group.label in before
            and group.label in now
        ]
        sides = [
            np.array([side[label] for label in labels]).reshape(-1, 4) for side in (before, now)
        ]
        for rate in RATES:
            counts = [rate.counts(side) for side in sides]
            part, whole = (np.stack([each[k] for each in counts]) for k in (0, 1))
            kept = (whole >= least).all(axis=0)
            name = family[0].attribute
            found.append(_gap(name, rate, against, rules, part[:, kept], whole[:, kept], noise))
    return found


def lone_small_groups(
    before: Confusions, now: Confusions, families: Sequence[Family], minimum: int
) -> frozenset[str]:
    """Groups to hide: with 1 to `minimum - 1` positives or negatives in a window, and one more.

    One hidden group of a family follows from the others and the whole; then the next smallest is
    hidden, too. For several families and cohorts at a time, `suppression.hidden` is the stricter.
    """
    hidden: set[str] = set()
    for family in families:
        rows = {}
        small = set()
        for group in family:
            if group.label not in before or group.label not in now:
                continue
            tables = np.stack([before[group.label], now[group.label]])
            labels = tables.reshape(2, 2, 2).sum(axis=2)
            rows[group.label] = int(tables.sum())
            if np.any((labels > 0) & (labels < minimum)):
                small.add(group.label)
        rest = sorted((count, label) for label, count in rows.items() if label not in small)
        populated = [label for count, label in rest if count > 0]
        if len(small) == 1 and populated:
            small.add(populated[0])
        hidden |= small
    return frozenset(hidden)


@dataclass(frozen=True, slots=True)
class _PairErrors:
    """Deviations of the change of the difference of two groups' rates; one per unordered pair."""

    errors: Floats

    def p_value(self, size: float) -> float:
        """At least the chance of a change of the gap of this size or more."""
        return min(1.0, float(np.sum(2 * ndtr(-size / self.errors))))

    def critical(self, chance: float) -> float:
        """The size at which `p_value` is `chance`."""
        top = (
            -1.01 * float(ndtri(chance / (2 * len(self.errors)))) * float(self.errors.max())
        )  # at which every pair alone is below its share
        return float(brentq(lambda size: np.sum(2 * ndtr(-size / self.errors)) - chance, 0, top))


def _gap(
    name: str,
    rate: Rate,
    against: Baseline,
    rules: DriftRules,
    part: Counts,
    whole: Counts,
    noise: tuple[float, float],
) -> Comparison:
    statistic = f"change in {rate.name} gap"
    rows = (int(whole[0].sum()), int(whole[1].sum()))
    if whole.shape[1] < 2:
        return Comparison(
            "fairness", name, statistic, against, rows, rules.fairness,
            reason=f"fewer than two groups with {LEAST_ROWS} {rate.denominator} in both windows",
        )  # fmt: skip
    shares = part / whole
    gaps = shares.max(axis=1) - shares.min(axis=1)
    variances = np.array(noise)[:, None] * np.full(part.shape, float(len(rate.of)))
    single = standard_error(part, whole, variances)
    first, second = np.triu_indices(len(single), 1)
    law = _PairErrors(np.hypot(single[first], single[second]))
    value = float(gaps[1] - gaps[0])
    return Comparison(
        "fairness", name, statistic, against, rows, rules.fairness, value,
        Test(law.p_value(abs(value)), law.critical),
        before=float(gaps[0]), now=float(gaps[1]),
    )  # fmt: skip
