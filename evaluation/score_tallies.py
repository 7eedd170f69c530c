"""What a site adds to its tallies for curves: sums of scores and of squared errors, in fixed point.

With the counts that `tallies` has already they give calibration exactly on the agreed bins: the
mean score of a bin need not be guessed from its edges.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from evaluation.tallies import (
    SiteOfRow,
    exact_sums,
    fixed_point,
    require_rows,
    score_bin,
    table,
)
from evaluation.tally_spec import Group, TallySpec, places
from federation.task import Codes, Floats


def count_scores(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> dict[str, Floats]:
    """Score sums per calibration bin and squared errors, per name of `spec.report_segments`.

    The score of a row is the probability of the positive class (binary), or of each class in turn
    against the rest, over all rows. It is rounded to 2**-20, its squared distance from the outcome
    (1 or 0) too: either sum is off by at most 5e-7 per row, and exact to add.

    Args:
        spec: what to count.
        probabilities: shape (N, classes), rows summing to 1; N may be 0.
        targets: class index, shape (N,).
        groups: per sensitive attribute, index into `SensitiveAttribute.groups`, shape (N,).

    Returns:
        per segment name, shape (segment.length,), float64; the site gaps are not among them.

    Raises:
        DataError: as `tallies.count_outcomes`.
    """
    require_rows(spec, probabilities, targets, groups)
    one_site = SiteOfRow(np.zeros(len(targets), dtype=np.int64), 1)
    found = scores_by_site(spec, probabilities, targets, groups, one_site)
    return {name: sums[0] for name, sums in found.items()}


def scores_by_site(
    spec: TallySpec,
    probabilities: Floats,
    targets: Codes,
    groups: Mapping[str, Codes],
    of: SiteOfRow,
) -> dict[str, Floats]:
    """As `count_scores`, of the rows of several sites, each site's for itself.

    Args:
        spec: what to count.
        probabilities: as for `count_scores`, of all rows, and known to be right.
        targets: alike.
        groups: alike.
        of: which site each row is of.

    Returns:
        per segment name, shape (sites, segment.length), float64.
    """
    if not spec.schema.is_binary:
        return {
            name: sums
            for code, label in enumerate(spec.class_labels)
            for name, sums in _sums(
                spec, (label,), of.sites, of.codes, probabilities[:, code], targets == code
            )
        }
    score, truth = probabilities[:, 1], targets == 1
    return {
        name: sums
        for family in ((Group(),), *spec.families)
        for name, sums in _sums(
            spec,
            tuple(group.label for group in family),
            of.sites,
            len(family) * of.codes + places(family, groups, len(targets)),
            score,
            truth,
        )
    }


def _sums(
    spec: TallySpec,
    labels: tuple[str, ...],
    sites: int,
    place: Codes,
    score: Floats,
    truth: Codes,
) -> Iterator[tuple[str, Floats]]:
    """Sums of the rows at each place: of a site's groups, one after the other, named `labels`."""
    bins, count = len(spec.calibration_edges) - 1, sites * len(labels)
    bin_of = np.repeat(np.arange(bins), np.diff(spec.calibration_edges))[score_bin(spec, score)]
    # Sums of whole numbers below 2**53: exact in a float.
    scores = table(place, count, bin_of, bins, fixed_point(score).astype(np.float64))
    squares = fixed_point(np.square(score - truth)).astype(np.float64)
    errors = table(place, count, np.zeros_like(place), 1, squares)
    for at, label in enumerate(labels):
        for name, counted in (("score_sum", scores), ("squared_error", errors)):
            own = counted[at :: len(labels)].astype(np.int64)
            yield from exact_sums(f"{name}/{label}", own).items()
