"""How far sites' laws of labels are from that of all rows together, and how far by chance alone."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom

from federation.task import Codes, Floats


@dataclass(frozen=True, slots=True)
class LabelSkew:
    """Distances of each site's law of labels to that of all sites' rows, shape (sites,).

    Attributes:
        total_variation: half the sum of the differences: the share of a site's rows that would
            need another label for the law to be that of all rows.
        by_chance: expected of as many rows drawn at random, with replacement.
        jensen_shannon: Jensen-Shannon divergence in bits, in [0, 1] (Lin 1991).
    """

    total_variation: Floats
    by_chance: Floats
    jensen_shannon: Floats


def label_skew(counts: Codes) -> LabelSkew:
    """The distances for counts of labels, shape (sites, classes), with one row or more at each.

    By chance, the rows of a label at a site are binomial; their mean deviation from n p is
    2 v (1 - p) P(X = v) with v = floor(n p) + 1 (de Moivre 1730; Diaconis and Zabell 1991).
    """
    sizes = counts.sum(axis=1, keepdims=True)
    laws, whole = counts / sizes, counts.sum(axis=0) / counts.sum()
    beyond = np.floor(sizes * whole) + 1
    deviation = 2 * beyond * (1 - whole) * binom.pmf(beyond, sizes, whole)
    return LabelSkew(
        0.5 * np.abs(laws - whole).sum(axis=1),
        0.5 * (deviation / sizes).sum(axis=1),
        jensenshannon(laws, np.broadcast_to(whole, laws.shape), base=2, axis=1) ** 2,
    )
