"""How many labels are probably wrong: confident learning, of one site's rows or of sums.

A row is counted as of class j if its probability of j reaches the class's threshold, the mean
probability of j among the rows labelled j; where it reaches several, as of its most probable class.
The counts, scaled to the labels' totals, estimate the joint distribution of given and true labels
(Northcutt, Jiang and Chuang 2021, JAIR 70, section 3, equations 1 to 3). Where cleanlab 2.9 departs
from the paper, it follows cleanlab: a slack of 1e-6 below each threshold, the most probable of all
classes (not of the reached ones) where several are reached, at least one row on the diagonal.

Both steps are sums over rows, so that sites get the joint of their pooled rows from two secure
sums: the probabilities' sums per class first, in steps of 2**-20, which give the thresholds; then
the counts. A threshold is off by at most 2**-21, less than the slack: rows at a tie stay counted.

The estimate is an upper bound and a trend rather than a rate: rows of overlapping classes count as
wrong labels, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.group_metrics import Counts
from evaluation.tally_spec import FRACTION_BITS
from federation.errors import DataError
from federation.layout import Segment, count_segment, finest_segment
from federation.schema import TaskSchema
from federation.task import Codes, Floats

SLACK = 1e-6
LOWEST_THRESHOLD = 2e-6
UNREACHABLE = 2.0
"""Threshold of a class that no row is labelled with."""

SUM_TOLERANCE = 1e-4
"""How far a row of probabilities may sum from 1: float32 softmax over many classes."""

ROWS, WHOLE, FRACTION = ("audit/confidence/rows", "audit/confidence/whole",
                         "audit/confidence/fraction")  # fmt: skip
CONFIDENT = "audit/confident"


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """The calibrated joint.

    Attributes:
        joint: rows per given and estimated true class, shape (classes, classes), summing to the
            rows per given class.
    """

    joint: Counts

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.joint.sum())

    @property
    def wrong(self) -> int:
        """Rows off the diagonal: given one class, probably of another."""
        return self.rows - int(np.trace(self.joint))

    @property
    def share(self) -> float | None:
        """Of the rows that are probably labelled wrong; None without rows."""
        return self.wrong / self.rows if self.rows else None


def confidence_segments(schema: TaskSchema, summands: int) -> tuple[Segment, ...]:
    """What the first sum is made of, as `confidence_sums` fills it."""
    classes, most = len(schema.classes), schema.maximum_rows
    return (
        count_segment(ROWS, classes, most, summands),
        count_segment(WHOLE, classes, most, summands),
        finest_segment(FRACTION, classes, 1.0, summands),
    )


def confident_segments(schema: TaskSchema, summands: int) -> tuple[Segment, ...]:
    """What the second sum is made of: `audit/confident`, given class by counted class."""
    classes = len(schema.classes)
    return (count_segment(CONFIDENT, classes * classes, schema.maximum_rows, summands),)


def confidence_sums(probabilities: Floats, targets: Codes) -> dict[str, Floats]:
    """Per class, its rows and the sum of their probabilities of it, in two exact words.

    Args:
        probabilities: shape (N, classes), rows summing to 1; out of sample.
        targets: class index, shape (N,).

    Returns:
        per segment of `confidence_segments`, shape (classes,).

    Raises:
        DataError: not probabilities, or not as many as targets.
    """
    _require_probabilities(probabilities, targets)
    own = probabilities[np.arange(len(targets)), targets]
    codes = np.rint(own * 2**FRACTION_BITS).astype(np.int64)
    totals = np.zeros(probabilities.shape[1], dtype=np.int64)
    np.add.at(totals, targets, codes)
    whole, fraction = np.divmod(totals, 2**FRACTION_BITS)
    return {
        ROWS: np.bincount(targets, minlength=len(totals)).astype(np.float64),
        WHOLE: whole.astype(np.float64),
        FRACTION: fraction / 2**FRACTION_BITS,
    }


def confidence_thresholds(sums: Mapping[str, Floats]) -> Floats:
    """Mean self-confidence per class, shape (classes,), from (sums of) `confidence_sums`."""
    rows, total = sums[ROWS], sums[WHOLE] + sums[FRACTION]
    mean = np.divide(total, rows, out=np.full(len(rows), UNREACHABLE), where=rows > 0)
    thresholds: Floats = np.maximum(mean, LOWEST_THRESHOLD)
    return thresholds


def counted_as(probabilities: Floats, thresholds: Floats) -> Codes:
    """The class each row is confidently counted as, shape (N,); -1 for none.

    Args:
        probabilities: shape (N, classes).
        thresholds: shape (classes,).
    """
    reached = probabilities >= thresholds - SLACK
    several = reached.sum(axis=1) > 1
    guess = np.where(several, np.argmax(probabilities, axis=1), np.argmax(reached, axis=1))
    return np.where(reached.any(axis=1), guess, -1)


def confident_counts(probabilities: Floats, targets: Codes, thresholds: Floats) -> Counts:
    """Rows per given class and class they are counted as, shape (classes, classes).

    Raises:
        DataError: as `confidence_sums`.
    """
    _require_probabilities(probabilities, targets)
    guess, classes = counted_as(probabilities, thresholds), len(thresholds)
    sure = guess >= 0
    flat = np.bincount(targets[sure] * classes + guess[sure], minlength=classes * classes)
    return flat.reshape(classes, classes)


def confident_joint(counts: Counts, label_counts: Counts) -> LabelNoise:
    """The joint of given and true labels, calibrated to the labels' totals, in whole rows.

    Args:
        counts: (sum of) `confident_counts`, shape (classes, classes).
        label_counts: rows per given class, shape (classes,).
    """
    at_least_one = counts.astype(np.float64)
    np.fill_diagonal(at_least_one, np.maximum(np.diag(at_least_one), 1))
    # True class by given class, in cleanlab's order of summation: halves then round alike.
    shares = np.ascontiguousarray(at_least_one.T) / at_least_one.sum(axis=1) * label_counts
    if label_counts.sum():
        shares = shares / shares.sum() * label_counts.sum()
    return LabelNoise(np.stack([_whole_rows(given) for given in shares.T]))


def label_noise(probabilities: Floats, targets: Codes) -> LabelNoise:
    """Both steps on the rows of one place."""
    sums = confidence_sums(probabilities, targets)
    counts = confident_counts(probabilities, targets, confidence_thresholds(sums))
    return confident_joint(counts, sums[ROWS].astype(np.int64))


def _whole_rows(shares: Floats) -> npt.NDArray[np.int64]:
    """Rounded so that the rounded total stays: those rounded furthest the wrong way give way."""
    rounded = np.round(shares)
    short = int(np.round(shares.sum()) - rounded.sum())
    # The default sort, as cleanlab's: among cells rounded equally far, the same one gives way.
    furthest = np.argsort(shares - rounded)
    moved = furthest[::-1][:short] if short > 0 else furthest[: abs(short)]
    rounded[moved] += np.sign(short)
    return rounded.astype(np.int64)


def _require_probabilities(probabilities: Floats, targets: Codes) -> None:
    if probabilities.ndim != 2 or len(probabilities) != len(targets):
        raise DataError(
            f"probabilities: expected ({len(targets)}, classes), got {probabilities.shape}"
        )
    within = np.all((probabilities >= 0) & (probabilities <= 1))  # also catches NaN
    if not within or not np.all(np.abs(probabilities.sum(axis=1) - 1) <= SUM_TOLERANCE):
        raise DataError(
            "probabilities: a row is NaN, outside [0, 1] or does not sum to 1; "
            "check the task's `probabilities` and that training did not diverge"
        )
