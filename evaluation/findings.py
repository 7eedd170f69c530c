"""From one scope's sums to what a summary says of it: utility, fairness, drift, the yardstick."""

import math
from collections.abc import Mapping

import numpy as np

from evaluation import fairlearn_compat, group_metrics
from evaluation.cell_noise import EXACT, CellNoise
from evaluation.estimates import (
    NO_AUC,
    NOISED_SCORES,
    auc_estimate,
    metric_estimates,
    rate_estimate,
)
from evaluation.feature_drift import feature_drift
from evaluation.group_findings import fairness, fairness_by_scope
from evaluation.group_metrics import Counts
from evaluation.tally_spec import OVERALL, TallySpec
from evaluation.tally_sums import TallySums
from federation.summary import Drift, Estimate, Utility
from federation.task import Floats

__all__ = [
    "drift",
    "fairness",
    "fairness_by_scope",
    "majority_baseline",
    "majority_share",
    "require_consistent",
    "require_consistent_report",
    "utility",
]

NO_ROWS = "no held-out rows"


def utility(spec: TallySpec, sums: Mapping[str, Floats], noise: CellNoise = EXACT) -> Utility:
    """How well the model predicts the rows of a scope.

    With noise there is no AUC, log loss or Brier score: they are of many small counts.

    Args:
        spec: what was counted; of two classes where there is noise.
        sums: per name of `spec.segments`, shape (segment.length,).
        noise: on each count.

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: a count is not a whole number, or without noise negative.
    """
    tallies = TallySums(spec, sums, noised=bool(noise))
    rows = tallies.rows()
    if noise:
        return _noised_utility(tallies, max(rows, 0), noise)
    return Utility(
        rows=rows,
        accuracy=rate_estimate(tallies.correct(), rows, NO_ROWS),
        balanced_accuracy=_balanced_accuracy(tallies),
        log_loss=tallies.loss("log_loss") / rows if rows else None,
        brier=tallies.loss("brier") / rows if rows else None,
        auc=auc_estimate([tallies.scores(c) for c in spec.class_labels or (OVERALL,)]),
    )


def require_consistent(spec: TallySpec, sums: Mapping[str, Floats], *, windows: bool) -> None:
    """Return if a scope's tallies agree on how many rows they are of.

    Args:
        spec: what was counted.
        sums: per name of `spec.segments`, and with `windows` of `spec.window_segments` of both.
        windows: whether the windows were counted, too.

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: they do not; a site sent something else than counts of its rows.
    """
    tallies = TallySums(spec, sums)
    tallies.require_consistent_outcomes()
    if windows:
        tallies.require_consistent_windows()


def require_consistent_report(spec: TallySpec, sums: Mapping[str, Floats], sites: int) -> None:
    """Return if what an evaluation round counts for curves and site gaps fits its other tallies.

    Args:
        spec: what was counted.
        sums: of one scope, per name of `spec.segments` and of `spec.report_segments`.
        sites: whose counts they are.

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: it does not; a site sent something else than counts of its rows.
    """
    TallySums(spec, sums).require_consistent_report(sites)


def _noised_utility(tallies: TallySums, rows: int, noise: CellNoise) -> Utility:
    confusion = tallies.confusion(OVERALL)
    wanted = (group_metrics.accuracy, group_metrics.balanced_accuracy)
    told = metric_estimates(wanted, confusion, 1, noise)
    return Utility(
        rows=rows,
        accuracy=told[group_metrics.accuracy.name],
        balanced_accuracy=told[group_metrics.balanced_accuracy.name].value,
        log_loss=None,
        brier=None,
        auc=Estimate(value=None, kind="exact_bounds", reason=NOISED_SCORES),
    )


def majority_share(spec: TallySpec, sums: Mapping[str, Floats]) -> float | None:
    """Accuracy of always answering the most frequent class; None without rows.

    Counts may carry noise.
    """
    labels = np.maximum(TallySums(spec, sums, noised=True).labels(), 0)
    return float(labels.max() / labels.sum()) if labels.any() else None


def majority_baseline(spec: TallySpec, sums: Mapping[str, Floats]) -> Utility:
    """Utility of the model that knows nothing of a row: majority class, base rates as scores.

    It needs the labels' counts alone; log loss and Brier score are those of quoting the base rates.

    Args:
        spec: what was counted.
        sums: per name of `spec.segments`, shape (segment.length,).

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: a count is not a whole number >= 0.
    """
    labels = TallySums(spec, sums).labels()
    rows = int(labels.sum())
    accuracy = rate_estimate(int(labels.max()), rows, NO_ROWS)
    if rows == 0:
        return Utility(
            rows=0, accuracy=accuracy, balanced_accuracy=None, log_loss=None, brier=None,
            auc=_blind_auc(labels),
        )  # fmt: skip
    shares = labels[labels > 0] / rows
    brier = float(1 - np.sum(shares**2))
    return Utility(
        rows=rows,
        accuracy=accuracy,
        balanced_accuracy=1 / len(shares),
        log_loss=float(np.sum(shares * np.log(1 / shares))),
        brier=brier / 2 if spec.schema.is_binary else brier,
        auc=_blind_auc(labels),
    )


def drift(
    spec: TallySpec,
    reference_sums: Mapping[str, Floats],
    current_sums: Mapping[str, Floats],
    scope: str,
) -> tuple[Drift, ...]:
    """Every feature's current window against its reference window, in the schema's order.

    Args:
        spec: what was counted.
        reference_sums: per name of `spec.window_segments("reference", ...)`.
        current_sums: per name of `spec.window_segments("current", ...)`.
        scope: `overall` or a cohort's name, put into the findings.

    Raises:
        KeyError: a segment is not there.
        DataError: a count is not a whole number >= 0.
    """
    before, now = TallySums(spec, reference_sums), TallySums(spec, current_sums)
    return tuple(
        feature_drift(
            spec,
            feature,
            before.histogram("reference", feature),
            now.histogram("current", feature),
            scope,
        )
        for feature in spec.schema.features
    )


def _balanced_accuracy(tallies: TallySums) -> float | None:
    labels = tallies.spec.class_labels
    if not labels:
        value = float(fairlearn_compat.balanced_accuracy(tallies.confusion(OVERALL)))
        return None if math.isnan(value) else value
    recalls = [float(group_metrics.true_positive_rate(tallies.confusion(c))) for c in labels]
    known = [recall for recall in recalls if not math.isnan(recall)]
    return sum(known) / len(known) if known else None


def _blind_auc(labels: Counts) -> Estimate:
    if np.any(labels == 0):
        return Estimate(value=None, kind="exact_bounds", reason=NO_AUC)
    return Estimate(value=0.5, low=0.5, high=0.5, kind="exact_bounds")
