"""Accuracy and gaps of groups from their confusions, whole or expected ones."""

import math

import numpy as np
import numpy.typing as npt

from evaluation.group_metrics import (
    TN,
    TP,
    Counts,
    Floats,
    balanced_accuracy,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from federation.mitigation_summary import Figures, Gaps


def figures(confusion: Counts | Floats) -> Figures:
    """Of some groups.

    Args:
        confusion: TN, FP, FN, TP per group, shape (groups, 4), at least one row; of a decision that
            is random, in expectation.
    """
    # The metrics divide sums of counts; expected counts are divided as well.
    counts: npt.NDArray[np.int64] = np.asarray(confusion)
    total = counts.sum(axis=0)
    return Figures(
        accuracy=float(total[[TN, TP]].sum() / total.sum()),
        balanced_accuracy=known(balanced_accuracy(total)),
        gaps=Gaps(
            demographic_parity_difference=known(demographic_parity_difference(counts)),
            demographic_parity_ratio=known(demographic_parity_ratio(counts)),
            equal_opportunity_difference=known(equal_opportunity_difference(counts)),
            equalized_odds_difference=known(equalized_odds_difference(counts)),
        ),
    )


def known(value: Floats | float) -> float | None:
    """None for NaN."""
    number = float(value)
    return None if math.isnan(number) else number
