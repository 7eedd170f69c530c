"""From many fine bins to the few that a test can judge: reference quantiles, and no rare bins.

The population stability index grows with the number of bins by noise alone, and a bin that hardly
anybody is expected in breaks the chi-square law of its chance values. The fine bins are fixed
before a row is read; which of them are joined follows from the two summed histograms.
"""

import numpy as np

from evaluation.group_metrics import Counts

Bins = tuple[tuple[int, ...], ...]
"""Places in a histogram, joined; every place at most once."""

LEAST_EXPECTED = 5.0
"""Rows expected per bin and window under no drift: the customary minimum of a chi-square test
(Cochran 1954). A bin then holds at least twice that over both windows."""


def reference_quantiles(reference: Counts, quantiles: int) -> Bins:
    """Consecutive bins of about equal shares of the reference; an atom has a bin of its own.

    An atom is a fine bin that holds such a share alone, like a value that many rows have in
    common; joined with its neighbours it would hide a shift among them.

    Args:
        reference: rows per fine bin, shape (bins,), in order of the value.
        quantiles: number of shares.

    >>> import numpy as np
    >>> reference_quantiles(np.array([0, 92, 2, 2, 2, 2]), quantiles=10)
    ((0,), (1,), (2, 3, 4, 5))
    """
    total = max(int(reference.sum()), 1)
    middle = np.cumsum(reference) - reference / 2
    quantile = np.minimum((quantiles * middle / total).astype(np.int64), quantiles - 1)
    atoms = reference * quantiles >= total
    key = np.where(atoms, quantiles + np.arange(len(reference)), quantile)
    starts = np.flatnonzero(np.diff(key)) + 1
    return tuple(tuple(run.tolist()) for run in np.split(np.arange(len(reference)), starts))


def join_rare(
    bins: Bins, reference: Counts, current: Counts, least: float = LEAST_EXPECTED
) -> Bins:
    """The bins with the rare ones joined to their rarer neighbour; one bin may be left.

    A bin is rare if fewer than `least` rows are expected in the smaller window when both windows
    are alike.

    Args:
        bins: in the order in which bins may be joined.
        reference: rows per place, shape (places,), with at least one row.
        current: likewise.
        least: rows expected in a bin that stands alone.
    """
    both = (reference + current).tolist()
    joined = [list(places) for places in bins]
    rows = [sum(both[place] for place in places) for places in joined]
    fewest, total = min(int(reference.sum()), int(current.sum())), sum(both)
    while len(joined) > 1:
        rarest = rows.index(min(rows))
        if rows[rarest] * fewest >= least * total:
            break
        near = [place for place in (rarest - 1, rarest + 1) if 0 <= place < len(joined)]
        partner = min(near, key=rows.__getitem__)
        kept, gone = sorted((rarest, partner))
        joined[kept] += joined.pop(gone)
        rows[kept] += rows.pop(gone)
    return tuple(tuple(sorted(places)) for places in joined)


def counts_in(bins: Bins, histogram: Counts) -> Counts:
    """Rows per joined bin, shape (len(bins),)."""
    # Plain integers: a histogram is short, and numpy's calls would outweigh the sums.
    rows = histogram.tolist()
    return np.array([sum(rows[place] for place in places) for places in bins], dtype=np.int64)
