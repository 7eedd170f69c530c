"""Which rows to look at again: the least certain ones, and those whose label is probably wrong.

Margin and entropy are the usual measures of uncertainty (Settles 2009, section 3.1); a label is
probably wrong if confident learning counts the row as another class, the more so the lower the
probability of the given class (Northcutt 2021, section 3.2; self-confidence in cleanlab's words).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.audit.confident_learning import (
    confidence_sums,
    confidence_thresholds,
    counted_as,
)
from federation.task import Codes, Floats


@dataclass(frozen=True, slots=True)
class Doubt:
    """How sure a model is of each of N rows.

    Attributes:
        suggested: most probable class, the first among equals, shape (N,).
        margin: its probability less that of the second, in [0, 1], shape (N,).
        entropy: of the probabilities, nats, shape (N,).
        self_confidence: probability of the given class, shape (N,).
        is_mislabelled: whether confident learning counts the row as another class, shape (N,).
    """

    suggested: Codes
    margin: Floats
    entropy: Floats
    self_confidence: Floats
    is_mislabelled: npt.NDArray[np.bool_]

    def most_uncertain(self, count: int) -> Codes:
        """Places of the rows with the least margin, then the largest entropy."""
        return np.lexsort((-self.entropy, self.margin))[:count]

    def likely_mislabelled(self, count: int) -> Codes:
        """Places of the rows counted as another class, least self-confidence first."""
        order = np.argsort(self.self_confidence, kind="stable")
        return order[self.is_mislabelled[order]][:count]


def doubt(probabilities: Floats, targets: Codes) -> Doubt:
    """Of each row.

    Args:
        probabilities: shape (N, classes), out of sample.
        targets: class index, shape (N,).

    Raises:
        DataError: not probabilities.
    """
    thresholds = confidence_thresholds(confidence_sums(probabilities, targets))
    counted = counted_as(probabilities, thresholds)
    ranked = np.sort(probabilities, axis=1)
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return Doubt(
        np.argmax(probabilities, axis=1),
        ranked[:, -1] - ranked[:, -2],
        -np.sum(probabilities * logs, axis=1),
        probabilities[np.arange(len(targets)), targets],
        (counted >= 0) & (counted != targets),
    )
