"""Whether one feature alone tells the label: its AUC and information value, from bins and labels.

A feature that separates the classes almost perfectly was often written down after the outcome, or
is the outcome under another name. Bins are put in the order of their share of the class, so that a
leak need not be monotone, and a missing value is a bin like any other; the AUC of the best order is
at least 0.5 (it is the area under the convex hull: Fawcett 2006, section 6). Ordering by the rows
that are scored flatters small samples, so chance is measured, too: the same bins, labels shuffled.

Information value is sum_b (p_b - q_b) ln(p_b / q_b) with the shares of the two classes per bin,
half a row added to each (Siddiqi 2006, chapter 6).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.audit.rows import AuditRows
from evaluation.drift_bins import reference_quantiles
from evaluation.group_metrics import Counts
from federation.schema import Feature, Numeric, TaskSchema
from federation.task import Codes, Floats

QUANTILES = 20
LEAST_PER_QUANTILE = 10
SHUFFLES = 200
FEWEST_ROWS = 10
"""In and out of a class: fewer may share a bin by chance."""
RED_AUC = 0.95
YELLOW_AUC = 0.90
YELLOW_INFORMATION_VALUE = 2.0


@dataclass(frozen=True, slots=True)
class Leak:
    """How well one feature alone tells a class from the rest.

    Attributes:
        name: of the feature.
        label: place of the class that it tells best; the second of two.
        auc: from the bins, at least 0.5.
        information_value: >= 0.
        chance_auc: the largest of SHUFFLES shuffles of the labels.
        chance_information_value: likewise.
    """

    name: str
    label: int
    auc: float
    information_value: float
    chance_auc: float
    chance_information_value: float

    @property
    def is_red(self) -> bool:
        """Whether it all but gives the label away, and by more than chance."""
        return self.auc >= RED_AUC and self.auc > self.chance_auc

    @property
    def is_yellow(self) -> bool:
        """Whether it is red, or strong enough to be looked at."""
        by_auc = self.auc >= YELLOW_AUC and self.auc > self.chance_auc
        value = self.information_value
        return by_auc or (
            value > YELLOW_INFORMATION_VALUE and value > self.chance_information_value
        )


def local_histogram(schema: TaskSchema, feature: Feature, rows: AuditRows) -> Counts:
    """Rows per class and bin, shape (classes, bins); the last bin is of missing values.

    Numeric: up to QUANTILES bins of about equal shares of the known values, at least
    LEAST_PER_QUANTILE rows in each on average; a value with such a share has a bin of its own, so
    that those beside it are not lost in it. Categorical: the levels and the undeclared ones.
    """
    values = rows.features[feature.name]
    absent = np.isnan(values)
    if isinstance(feature, Numeric):
        places, bins = _quantile_places(values, absent)
    else:
        bins = len(feature.levels) + 1
        places = np.where(absent, bins, np.nan_to_num(values)).astype(np.int64)
    classes = len(schema.classes)
    flat = np.bincount(rows.targets * (bins + 1) + places, minlength=classes * (bins + 1))
    return flat.reshape(classes, bins + 1)


def leak(name: str, histogram: Counts) -> Leak | None:
    """What a feature tells; None if no class has FEWEST_ROWS rows and as many beside it.

    Args:
        name: of the feature.
        histogram: rows per class and bin, shape (classes, bins).

    >>> import numpy as np
    >>> found = leak("outcome code", np.array([[90, 0, 10], [0, 100, 0]]))
    >>> found.auc, found.is_red
    (1.0, True)
    """
    total = histogram.sum(axis=0)
    binary = len(histogram) == 2
    candidates = [
        _one_against_rest(name, place, histogram[place], total)
        for place in range(len(histogram))
        if _has_rows(int(histogram[place].sum()), int(total.sum())) and (place == 1 or not binary)
    ]
    return max(candidates, key=lambda found: found.auc, default=None)


def best_auc(positives: npt.NDArray[np.integer], total: Counts) -> Floats:
    """AUC of the bins in their best order, shape (...).

    Args:
        positives: rows of the class per bin, shape (..., bins), not all and not none.
        total: rows per bin, shape (bins,).
    """
    positives, total = positives[..., total > 0], total[total > 0]
    order = np.argsort(positives / total, axis=-1, kind="stable")
    won = np.take_along_axis(positives, order, axis=-1).astype(np.float64)
    lost = total[order] - won
    before = np.cumsum(lost, axis=-1) - lost
    pairs = won.sum(axis=-1) * lost.sum(axis=-1)
    area: Floats = np.sum(won * (before + lost / 2), axis=-1) / pairs
    return area


def information_value(positives: npt.NDArray[np.integer], total: Counts) -> Floats:
    """Information value of the bins that hold a row, shape (...); arguments as `best_auc`."""
    positives, total = positives[..., total > 0], total[total > 0]
    smoothed = positives + 0.5, total - positives + 0.5
    p, q = (part / part.sum(axis=-1, keepdims=True) for part in smoothed)
    value: Floats = np.sum((p - q) * np.log(p / q), axis=-1)
    return value


def _has_rows(inside: int, total: int) -> bool:
    return FEWEST_ROWS <= inside <= total - FEWEST_ROWS


def _one_against_rest(name: str, place: int, positives: Counts, total: Counts) -> Leak:
    # The law of the counts if labels were dealt to the rows at random; a fixed seed, since the
    # same counts must give the same finding.
    generator = np.random.default_rng(0)
    shuffled = generator.multivariate_hypergeometric(
        total, int(positives.sum()), size=SHUFFLES, method="marginals"
    )
    return Leak(
        name,
        place,
        float(best_auc(positives, total)),
        float(information_value(positives, total)),
        float(best_auc(shuffled, total).max()),
        float(information_value(shuffled, total).max()),
    )


def _quantile_places(values: Floats, absent: npt.NDArray[np.bool_]) -> tuple[Codes, int]:
    distinct, position, rows = np.unique(values[~absent], return_inverse=True, return_counts=True)
    if not len(distinct):
        return np.zeros(len(values), dtype=np.int64), 0
    wanted = min(QUANTILES, max(2, len(position) // LEAST_PER_QUANTILE))
    runs = reference_quantiles(rows, wanted)
    bin_of = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    places = np.full(len(values), len(runs))
    places[~absent] = bin_of[position]
    return places, len(runs)
