"""The threshold explorer: what one threshold for all groups would do, at about twenty of them."""

from collections.abc import Mapping

import numpy as np

from evaluation.group_metrics import (
    Counts,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from evaluation.mitigation.figures import figures, known
from federation.errors import DataError
from federation.mitigation_summary import GroupRatesAt, ThresholdRow

THRESHOLDS = 20


def threshold_table(
    scores_by_group: Mapping[str, Counts], overall: Counts, most: int = THRESHOLDS
) -> tuple[ThresholdRow, ...]:
    """Rates and gaps per threshold, lowest first, exact for the rows behind the histograms.

    Args:
        scores_by_group: rows of label 0 and label 1 per score bin, each of shape (2, bins), of the
            groups that may be shown; one at least. Gaps are between these.
        overall: the same of all rows, those of hidden groups included; accuracy is theirs.
        most: about how many thresholds; edges of bins nearest to equal steps.

    Raises:
        DataError: no rows, no group, or other bins in one of them.
    """
    shapes = {scores.shape for scores in (*scores_by_group.values(), overall)}
    if len(shapes) != 1 or not scores_by_group or np.maximum(overall, 0).sum() == 0:
        raise DataError("threshold table: expected rows, a group, and the same score bins in all")
    bins = overall.shape[1]
    cuts = sorted({round(bins * step / most) for step in range(1, most)} | {-(-bins // 2)})
    return tuple(_row(scores_by_group, overall, cut) for cut in cuts)


def confusion_at(scores: Counts, cut: int) -> Counts:
    """TN, FP, FN, TP if rows of bin `cut` and above are selected, shape (4,)."""
    counts = np.maximum(scores, 0)
    below, above = counts[:, :cut].sum(axis=1), counts[:, cut:].sum(axis=1)
    return np.array([below[0], above[0], below[1], above[1]])


def _row(scores_by_group: Mapping[str, Counts], overall: Counts, cut: int) -> ThresholdRow:
    confusions = {name: confusion_at(scores, cut) for name, scores in scores_by_group.items()}
    all_rows = confusion_at(overall, cut)
    of_groups = figures(np.stack(list(confusions.values())))
    of_all = figures(all_rows[None])
    return ThresholdRow(
        threshold=cut / overall.shape[1],
        figures=of_all.model_copy(update={"gaps": of_groups.gaps}),
        selection_rate=float(selection_rate(all_rows)),
        groups=tuple(
            GroupRatesAt(
                group=name,
                selection_rate=known(selection_rate(one)),
                true_positive_rate=known(true_positive_rate(one)),
                false_positive_rate=known(false_positive_rate(one)),
            )
            for name, one in confusions.items()
        ),
    )
