"""Weights that make group and label independent in training, from one sum of counts.

Kamiran and Calders 2012, doi 10.1007/s10115-011-0463-8: a row of group a and label y
weighs P(a) P(y) / P(a, y) = n_a n_y / (n n_ay). Weighted so, every group has the same base rate,
and the weights of all rows still add up to n.
"""

import numpy as np

from evaluation.group_metrics import Floats, share
from federation.config import LARGEST_EXAMPLE_WEIGHT


def reweighing_weights(counts: Floats, most: float = LARGEST_EXAMPLE_WEIGHT) -> Floats:
    """Weight of each group and label, shape (groups, 2).

    Counts may carry noise: a negative one is taken for 0. A weight beyond `most` is `most`, and one
    below its inverse that inverse: then the groups' base rates are no longer exactly alike, but no
    few rows decide the model. A group, a label or a cell without rows tells nothing, and its weight
    is 1.

    Args:
        counts: train rows per group and label, shape (groups, 2), without rows of unknown group.
        most: largest weight, > 1.

    Raises:
        ValueError: another shape, a count that is not finite, or `most` <= 1.

    >>> reweighing_weights(np.array([[9592.0, 1179.0], [15128.0, 6662.0]])).round(4).tolist()
    [[0.8525, 2.2], [1.0935, 0.7876]]
    """
    if counts.ndim != 2 or counts.shape[1] != 2 or not np.all(np.isfinite(counts)):
        raise ValueError(f"counts of shape {counts.shape}: expected finite ones, (groups, 2)")
    if most <= 1:
        raise ValueError(f"most = {most:g}: expected a number > 1")
    known = np.maximum(np.asarray(counts, np.float64), 0.0)
    expected = known.sum(axis=1, keepdims=True) * known.sum(axis=0, keepdims=True)
    weights = share(expected, known * known.sum())
    bounded: Floats = np.clip(np.where(np.isnan(weights), 1.0, weights), 1 / most, most)
    return bounded
