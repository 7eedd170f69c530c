"""What cohorts of sites differ in, from their sums."""

import numpy as np

from evaluation.monitoring.cohort_discovery import Centres
from federation.cohort_record import Contrast
from federation.task import Floats


def contrasts(centres: Centres, members: Floats) -> tuple[Contrast, ...]:
    """Features by how far apart the clusters with members are, those that differ most first.

    The generalized Jensen-Shannon divergence with equal weights (Lin 1991, eq. 5.1), in bits: the
    entropy of the clusters' mean shares less the mean of their entropies.

    Args:
        centres: of all clusters.
        members: sites per cluster, shape (k,).
    """
    if np.count_nonzero(members) < 2:
        return ()
    found = []
    for feature, shares in centres.shares.items():
        held = shares[members > 0]
        bits = _entropy(held.mean(axis=0)) - np.mean([_entropy(row) for row in held])
        found.append(Contrast(feature=feature, bits=max(0.0, float(bits))))
    return tuple(sorted(found, key=lambda one: (-one.bits, one.feature)))


def _entropy(shares: Floats) -> float:
    """Bits; shares are above 0."""
    return float(-np.sum(shares * np.log2(shares)))
