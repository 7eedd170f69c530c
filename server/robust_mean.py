"""Robust means over groups: coordinate-wise median and trimmed mean, which a few cannot move far.

Yin et al. 2018, "Byzantine-Robust Distributed Learning", arXiv:1803.01498, Definitions 1 and 2.
What is averaged are means of random groups (bucketing: Karimireddy et al. 2022, arXiv:2006.09365,
Algorithm 1), because a coordinator that sees sums only has nothing finer. A group with one
malicious site in it counts as malicious, so as many malicious sites are tolerated as groups.

Groups weigh alike: a site declares its own number of rows, and where that counted here, one that
exaggerates would be a majority by itself. Within a group it does count.
"""

import numpy as np

from federation.task import Floats


def coordinate_median(means: Floats) -> Floats:
    """The median of each coordinate; of an even number of groups, the mean of the middle two.

    Args:
        means: shape (groups, d), at least one group.

    Returns:
        shape (d,). While fewer than half of the groups are malicious, every coordinate lies
        between the least and the largest value of the honest groups.

    Raises:
        ValueError: no groups, or a value that is not finite.

    >>> coordinate_median(np.array([[1.0], [2.0], [1e9]]))
    array([2.])
    """
    ordered = _ordered(means)
    groups = len(ordered)
    return np.asarray((ordered[(groups - 1) // 2] + ordered[groups // 2]) / 2)


def trimmed_mean(means: Floats, trimmed: int) -> Floats:
    """The mean of each coordinate without its `trimmed` least and `trimmed` largest values.

    Args:
        means: shape (groups, d).
        trimmed: >= 0; while no more groups than that are malicious, every coordinate lies between
            the least and the largest value of the honest groups.

    Returns:
        shape (d,).

    Raises:
        ValueError: nothing would be left, or a value that is not finite.

    >>> trimmed_mean(np.array([[1.0], [2.0], [3.0], [1e9], [0.0]]), 1)
    array([2.])
    """
    ordered = _ordered(means)
    if not 0 <= 2 * trimmed < len(ordered):
        raise ValueError(f"trimming {trimmed} on either side of {len(ordered)} groups leaves none")
    return np.asarray(ordered[trimmed : len(ordered) - trimmed].mean(axis=0))


def _ordered(means: Floats) -> Floats:
    """Each coordinate sorted by itself: so no result depends on the order of the groups."""
    if means.ndim != 2 or len(means) == 0:
        raise ValueError(f"expected (groups, d) with a group at least, got {means.shape}")
    if not np.all(np.isfinite(means)):
        raise ValueError("group means: a coordinate is not finite")
    return np.sort(means, axis=0)
