"""Drift of proportions: missing values, positive rate, base rate, errors, calibration, groups.

A count of 1 to `minimum_cell - 1` rows is not to be had from a finding: the test takes the value in
that range that is nearest to no change, so that nothing depends on which it was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from evaluation.group_metrics import Counts, Floats
from evaluation.monitoring.comparison import Comparison, Test
from evaluation.monitoring.window_counts import DriftRules, Marks
from evaluation.rate_change import change, change_p_values, standard_error
from evaluation.tally_spec import Bools
from federation.drift_summary import Baseline, Kind

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class RatePair:
    """A proportion in two windows.

    Attributes:
        kind: of drift.
        subject: of what.
        statistic: name of the change.
        marks: of its size.
        part: rows counted, earlier window first.
        whole: out of how many.
        cells: how many counts `part` is a sum of, for its noise.
    """

    kind: Kind
    subject: str
    statistic: str
    marks: Marks
    part: tuple[int, int]
    whole: tuple[int, int]
    cells: int = 1


def rate_drift(
    pairs: Sequence[RatePair], against: Baseline, rules: DriftRules, noise: tuple[float, float]
) -> list[Comparison]:
    """Comparisons of proportions, in order.

    Args:
        pairs: what to compare.
        against: what the earlier window is.
        rules: of the drift.
        noise: variance of the noise in a count of the earlier and of this window.
    """
    if not pairs:
        return []
    part = np.array([pair.part for pair in pairs]).T
    whole = np.array([pair.whole for pair in pairs]).T
    variances = np.array(noise)[:, None] * np.array([pair.cells for pair in pairs])
    small: Bools = np.zeros(part.shape, np.bool_)
    if any(noise):
        part = np.clip(part, 0, np.maximum(whole, 0))
    else:
        part, small = nearest_to_no_change(part, whole, rules.minimum_cell)
    p_values = change_p_values(part, whole, variances)
    values = change(part, whole)
    enough: Bools = np.all(whole >= rules.minimum_cell, axis=0)
    errors = np.ones(len(pairs))
    if enough.any():
        errors[enough] = standard_error(part[:, enough], whole[:, enough], variances[:, enough])
    shares = part / np.maximum(whole, 1)
    few = f"fewer than {rules.minimum_cell} rows on one side: the least change that could be"
    made = []
    for k, pair in enumerate(pairs):
        if not enough[k]:
            made.append(_untold(pair, against, rules))
            continue
        ends = [None if small[side, k] else float(shares[side, k]) for side in (0, 1)]
        known = _comparison(pair, against, float(values[k]), float(p_values[k]), float(errors[k]))
        reason = few if None in ends else ""
        made.append(replace(known, before=ends[0], now=ends[1], reason=reason))
    return made


def calibration_drift(
    scores: tuple[Counts, Counts],
    sums: tuple[Floats | None, Floats | None],
    against: Baseline,
    rules: DriftRules,
    noise: tuple[float, float],
) -> Comparison:
    """Change of calibration-in-the-large: the mean of score minus outcome.

    Args:
        scores: rows per label and score bin, shape (2, bins), of the earlier and of this window.
        sums: sums of the scores; None where bins' middles stand for them.
        against: what the earlier window is.
        rules: of the drift.
        noise: variance of the noise in a count of either.
    """
    rows = tuple(int(table.sum()) for table in scores)
    pair = RatePair(
        "concept", "overall", "change in calibration in the large", rules.calibration,
        (0, 0), (rows[0], rows[1]),
    )  # fmt: skip
    if min(rows) < rules.minimum_cell:
        return _untold(pair, against, rules)
    moments = [_offset(*each) for each in zip(scores, sums, noise, strict=True)]
    value = moments[1][0] - moments[0][0]
    error = math.sqrt(moments[0][1] + moments[1][1])
    p_value = float(2 * ndtr(-abs(value) / error))
    known = _comparison(pair, against, value, p_value, error)
    return replace(known, before=moments[0][0], now=moments[1][0])


def nearest_to_no_change(part: Counts, whole: Counts, minimum: int) -> tuple[Counts, Bools]:
    """Counts with the small ones moved as near to the other window's rate as they could be.

    Args:
        part: shape (2, K).
        whole: shape (2, K).
        minimum: 1 to one below it, of `part` or of the rest, is small.

    Returns:
        the counts, and which were small; both of shape (2, K).
    """
    rest = whole - part
    few, many = (part > 0) & (part < minimum), (rest > 0) & (rest < minimum)
    low = np.where(many, np.maximum(whole - minimum + 1, 0), part)
    high = np.where(many, whole - 1, part)
    low, high = np.where(few, 1, low), np.where(few, np.minimum(minimum - 1, whole), high)
    rate = np.stack([low, high]) / np.maximum(whole, 1)
    # The rate nearest to both ranges; where they overlap, one that both may have.
    common = np.clip(np.maximum(rate[0, 0], rate[0, 1]), None, np.minimum(rate[1, 0], rate[1, 1]))
    overlap = np.maximum(rate[0, 0], rate[0, 1]) <= np.minimum(rate[1, 0], rate[1, 1])
    apart = np.where(rate[0] > rate[1][::-1], low, high)
    together = np.clip(np.rint(common * whole).astype(np.int64), low, high)
    small: Bools = few | many
    moved = np.where(overlap, together, apart)
    return np.where(small, moved, part), small


def _comparison(
    pair: RatePair, against: Baseline, value: float, p_value: float, error: float
) -> Comparison:
    test = Test(p_value, lambda level: -float(ndtri(level / 2)) * error)
    return Comparison(
        pair.kind, pair.subject, pair.statistic, against, pair.whole, pair.marks, value, test
    )


def _untold(pair: RatePair, against: Baseline, rules: DriftRules) -> Comparison:
    return Comparison(
        pair.kind, pair.subject, pair.statistic, against, pair.whole, pair.marks,
        reason=f"a window with fewer than {rules.minimum_cell} rows",
    )  # fmt: skip


def _offset(table: Counts, sums: Floats | None, noise: float) -> tuple[float, float]:
    """Mean of score minus outcome, and the variance of that mean."""
    rows, bins = float(table.sum()), table.shape[1]
    middles = (np.arange(bins) + 0.5) / bins
    offset = np.stack([middles, middles - 1])
    mean = float(np.sum(table * offset)) / rows
    spread = max(float(np.sum(np.maximum(table, 0) * (offset - mean) ** 2)) / rows, ROUNDING)
    exact = mean if sums is None else (float(np.sum(sums)) - float(table[1].sum())) / rows
    noisy = noise * float(np.sum((offset - mean) ** 2)) / rows**2
    return exact, spread / rows + noisy
