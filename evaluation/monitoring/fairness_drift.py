"""Fairness drift: has a group's rate changed, and has the gap between groups?

A gap is the largest rate of a family less the smallest. If it grew by t, the two groups that are
now furthest apart moved apart by at least t; if it shrank by t, those that were furthest apart
moved together by at least t. Without a change, the chance of either is at most the sum, over all
ordered pairs of groups, of the chance that the pair moved apart by t.
"""

from collections.abc import Mapping
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
from evaluation.monitoring.window_counts import DriftRules, WindowCounts
from evaluation.rate_change import standard_error
from evaluation.tally_spec import OVERALL
from federation.drift_summary import Baseline

RATES: tuple[Rate, ...] = (selection_rate, true_positive_rate, false_positive_rate)
LEAST_ROWS = 20
"""Of a rate's denominator in either window, for a group to count in a gap."""

Confusions = Mapping[str, Counts]


def fairness_drift(
    before: WindowCounts, now: WindowCounts, against: Baseline, rules: DriftRules
) -> list[Comparison]:
    """Changes of every group's rates, then of the gap of every family of the rules.

    Selection rate, TPR and FPR. Left out are groups that are hidden and, of a gap, `unknown` and
    those of fewer than 20 rows, positives or negatives in either window.

    Args:
        before: the earlier window.
        now: the window that is judged.
        against: what `before` is.
        rules: of the drift.
    """
    noise = (before.noise_variance, now.noise_variance)
    hidden = before.hidden | now.hidden
    if not any(noise):
        hidden |= small_groups(before.confusions, now.confusions, rules)
    labels = [
        label
        for label in before.confusions
        if label != OVERALL and label in now.confusions and label not in hidden
    ]
    pairs = [
        _rate_pair(label, rate, before.confusions[label], now.confusions[label], rules)
        for label in labels
        for rate in RATES
    ]
    changes = rate_drift(pairs, against, rules, noise)
    for family in rules.families:
        members = [g.label for g in family if g.label in labels and not g.is_unknown]
        tables = [
            np.array([side.confusions[label] for label in members]).reshape(-1, 4)
            for side in (before, now)
        ]
        shown = _Gaps(family[0].attribute, against, rules, noise)
        changes += [shown.change(rate, *tables) for rate in RATES]
    return changes


def small_groups(before: Confusions, now: Confusions, rules: DriftRules) -> frozenset[str]:
    """Groups with few positives or negatives in a window, and company where one would be alone.

    One hidden group of a family follows from the others and the whole; then the next smallest is
    hidden, too. For several families and scopes at a time, `suppression.hidden` is the stricter.
    """
    tables = {label: np.stack([before[label], now[label]]) for label in before if label in now}
    few = {
        label
        for label, both in tables.items()
        if label != OVERALL and _is_small(both, rules.minimum_cell)
    }
    company = set()
    for family in rules.families:
        labels = [group.label for group in family if group.label in tables]
        rest = [label for label in labels if label not in few and tables[label].any()]
        if sum(label in few for label in labels) == 1 and rest:
            company.add(min(rest, key=lambda label: int(tables[label].sum())))
    return frozenset(few | company)


def _is_small(tables: Counts, minimum: int) -> bool:
    by_label = tables.reshape(2, 2, 2).sum(axis=2)
    return bool(np.any((by_label > 0) & (by_label < minimum)))


def _rate_pair(label: str, rate: Rate, before: Counts, now: Counts, rules: DriftRules) -> RatePair:
    (part_before, before_whole), (part_now, now_whole) = rate.counts(before), rate.counts(now)
    return RatePair(
        "fairness", label, f"change in {rate.name}", rules.fairness,
        (int(part_before), int(part_now)), (int(before_whole), int(now_whole)), len(rate.numerator),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _PairErrors:
    """Deviations of the change of the difference of two groups' rates; one per unordered pair."""

    errors: Floats

    def p_value(self, size: float) -> float:
        """At least the chance of a change of the gap of this size or more."""
        return min(1.0, float(np.sum(2 * ndtr(-size / self.errors))))

    def critical(self, chance: float) -> float:
        """The size at which `p_value` is `chance`."""
        # There, every pair alone is below its share of the chance.
        widest = float(self.errors.max())
        top = -1.01 * float(ndtri(chance / (2 * len(self.errors)))) * widest
        return float(brentq(lambda size: np.sum(2 * ndtr(-size / self.errors)) - chance, 0, top))


@dataclass(frozen=True, slots=True)
class _Gaps:
    """The gaps of one attribute against one earlier window."""

    attribute: str
    against: Baseline
    rules: DriftRules
    noise: tuple[float, float]

    def change(self, rate: Rate, before: Counts, now: Counts) -> Comparison:
        """Of a rate's gap; tables are TN, FP, FN, TP per group, shape (groups, 4)."""
        counts = [rate.counts(side) for side in (before, now)]
        part, whole = (np.stack([each[k] for each in counts]) for k in (0, 1))
        kept = (whole >= max(LEAST_ROWS, self.rules.minimum_cell)).all(axis=0)
        part, whole = part[:, kept], whole[:, kept]
        statistic = f"change in {rate.name} gap"
        rows, marks = (int(whole[0].sum()), int(whole[1].sum())), self.rules.fairness
        if whole.shape[1] < 2:
            reason = f"fewer than two groups with {LEAST_ROWS} {rate.denominator} in both windows"
            return Comparison(
                "fairness", self.attribute, statistic, self.against, rows, marks, reason=reason
            )
        shares = part / whole
        gaps = (shares.max(axis=1) - shares.min(axis=1)).tolist()
        variances = np.array(self.noise)[:, None] * np.full(part.shape, float(len(rate.numerator)))
        single = standard_error(part, whole, variances)
        first, second = np.triu_indices(len(single), 1)
        law = _PairErrors(np.hypot(single[first], single[second]))
        value = gaps[1] - gaps[0]
        return Comparison(
            "fairness", self.attribute, statistic, self.against, rows, marks, value,
            Test(law.p_value(abs(value)), law.critical), before=gaps[0], now=gaps[1],
        )  # fmt: skip
