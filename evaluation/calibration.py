"""Whether scores mean what they say: reliability per bin, ECE, Brier score and its parts.

Sums of scores are counted beside rows and positives, so that nothing is guessed from bin edges: on
the agreed bins all is that of the rows, but for the rounding of a score to 2**-20.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from scipy.stats import t as student

from evaluation.group_metrics import Counts, Floats
from evaluation.tally_sums import TallySums
from evaluation.uncertainty import TAIL


class MurphyParts(NamedTuple):
    """`reliability - resolution + uncertainty + within_bins` is the Brier score."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was counted of one group's scores.

    Attributes:
        rows: per calibration bin, shape (bins,).
        positives: likewise.
        score_sums: likewise.
        squared_error: sum over all rows of the squared distance of score and outcome.
    """

    rows: Counts
    positives: Counts
    score_sums: Floats
    squared_error: float

    @classmethod
    def of(cls, tallies: TallySums, label: str) -> Self:
        """Of a group, or of a class against the rest.

        Raises:
            KeyError: a segment is not in the sums.
            DataError: a count is not a whole number >= 0.
        """
        starts = tallies.spec.calibration_edges[:-1]
        negatives, positives = np.add.reduceat(tallies.scores(label), starts, axis=1)
        return cls(
            negatives + positives,
            positives,
            tallies.score_sums(label),
            tallies.squared_error(label),
        )

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(
            self.rows + other.rows,
            self.positives + other.positives,
            self.score_sums + other.score_sums,
            self.squared_error + other.squared_error,
        )

    def joined(self, starts: Counts) -> "Calibration":
        """With runs of bins taken as one.

        Args:
            starts: first bin of each run, ascending, the first one 0.
        """
        return Calibration(
            np.add.reduceat(self.rows, starts),
            np.add.reduceat(self.positives, starts),
            np.add.reduceat(self.score_sums, starts),
            self.squared_error,
        )

    @property
    def total(self) -> int:
        """Number of rows."""
        return int(self.rows.sum())


def expected_calibration_error(counted: Calibration) -> float | None:
    """Mean distance of a bin's mean score from its base rate, over rows; None without rows.

    Naeini, Cooper and Hauskrecht 2015. Grows by noise alone where bins hold few rows.
    """
    if not counted.total:
        return None
    return float(np.abs(counted.score_sums - counted.positives).sum()) / counted.total


def brier_score(counted: Calibration) -> float | None:
    """Mean squared distance of score and outcome (Brier 1950, for two classes); None without rows.

    As `sklearn.metrics.brier_score_loss` on the rows, within 5e-7.
    """
    return counted.squared_error / counted.total if counted.total else None


def murphy_parts(counted: Calibration) -> MurphyParts | None:
    """The Brier score's parts (Murphy 1973; within bins: Stephenson, Coelho and Jolliffe 2008).

    None without rows.
    """
    score = brier_score(counted)
    if score is None:
        return None
    held = counted.rows > 0
    rows, positives = counted.rows[held], counted.positives[held]
    weights, rates = rows / counted.total, positives / rows
    base = float(positives.sum()) / counted.total
    reliability = float(np.dot(weights, np.square(counted.score_sums[held] / rows - rates)))
    resolution = float(np.dot(weights, np.square(rates - base)))
    uncertainty = base * (1 - base)
    within = score - (reliability - resolution + uncertainty)
    return MurphyParts(reliability, resolution, uncertainty, within)


def in_the_large(counted: Calibration) -> tuple[float, float, float] | None:
    """Mean score less base rate, and its 95 % interval; None without rows.

    The interval is Student's of the mean of (score - outcome), whose variance follows from the sum
    of squares, which is counted too. With a single row it is all that can be, [-1, 1].
    """
    rows = counted.total
    if not rows:
        return None
    value = float(counted.score_sums.sum() - counted.positives.sum()) / rows
    if rows == 1:
        return value, -1.0, 1.0
    # Rounding to 2**-20 can make a variance of nothing slightly negative.
    variance = max(counted.squared_error / rows - value**2, 0.0) * rows / (rows - 1)
    half = float(student.ppf(1 - TAIL, rows - 1)) * math.sqrt(variance / rows)
    return value, max(value - half, -1.0), min(value + half, 1.0)
