"""How far apart groups are within each site, as a histogram over sites that no site stands out of.

A model can be fair on the pooled rows and unfair at every site, in opposite directions: the pooled
gap is then an "illusion of fairness" (FeDa4Fair 2025). So each site judges its own held-out rows,
says only which bucket its gap is in, and the buckets are summed securely.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evaluation.group_metrics import Counts, Gap
from evaluation.resampling import ComparedGroups
from evaluation.tally_spec import (
    GAP_EDGES,
    MINIMUM_SUPPORT,
    OVERALL,
    Family,
    TallySpec,
    site_gap_name,
)
from evaluation.tally_sums import TallySums
from federation.score_summary import SiteDisparities
from federation.task import Floats

NOT_ESTIMABLE = len(GAP_EDGES) - 1
"""Place of the sites that cannot tell, behind the buckets."""

BESIDE = "so that the sites outside it, or of a cohort that is withheld, do not follow"


def count_site_gaps(spec: TallySpec, tallies: Mapping[str, Floats]) -> dict[str, Floats]:
    """One site's vote per family and gap, per name `site_gaps/...` of `spec.report_segments`.

    Args:
        spec: what was counted.
        tallies: the site's own, per name of `spec.segments`.

    Returns:
        per segment name, shape (7,): a one in the bucket that the gap is in, or in the last place
        if fewer than two groups have `MINIMUM_SUPPORT` rows in every denominator of a rate.
    """
    own = TallySums(spec, tallies)
    return count_gaps_of_sites(spec, lambda family: own.outcomes(family)[np.newaxis])


def count_gaps_of_sites(spec: TallySpec, outcomes: Callable[[Family], Counts]) -> dict[str, Floats]:
    """As `count_site_gaps`, the votes of several sites added up.

    Args:
        spec: what was counted.
        outcomes: of a family, TN, FP, FN, TP of its groups at each site, shape (sites, groups, 4).
    """
    votes: dict[str, Floats] = {}
    for family in spec.families:
        confusion = outcomes(family)
        votes |= {site_gap_name(family, gap): _votes(gap, confusion) for gap in spec.site_gaps}
    return votes


def site_disparities_by_scope(
    spec: TallySpec, sums: Mapping[str, Mapping[str, Floats]], minimum_contributors: int
) -> dict[str, tuple[SiteDisparities, ...]]:
    """How many sites have a gap of which size, per scope, family and gap.

    A scope is withheld if fewer than `minimum_contributors` sites are in its sum, and so are as
    many of the smallest cohorts as it takes until the sites of `overall` that no shown cohort
    holds are none or at least as many: `overall` less the cohorts tells of these. What is not
    prevented: if all sites of a scope are in one bucket, it is known of each of them.

    Args:
        spec: what was counted.
        sums: per scope, of which `overall` is one and the others are disjoint, per name of
            `spec.report_segments`.
        minimum_contributors: sites.

    Raises:
        KeyError: a segment is not in `sums`, or no scope is `overall`.
        DataError: a count is not a whole number >= 0.
    """
    tallies = {scope: TallySums(spec, of_scope) for scope, of_scope in sums.items()}
    if not spec.families:
        return dict.fromkeys(sums, ())
    sites = {scope: own.sites() for scope, own in tallies.items()}
    withheld = _withheld(sites, minimum_contributors)
    return {
        scope: tuple(
            _disparities(own, family, gap, scope, withheld.get(scope, ""))
            for family in spec.families
            for gap in spec.site_gaps
        )
        for scope, own in tallies.items()
    }


def _votes(gap: Gap, confusion: Counts) -> Floats:
    here = ComparedGroups(confusion, np.zeros(4, dtype=np.int64), MINIMUM_SUPPORT)
    by_group = [metric(confusion) * here.supports(metric) for metric in gap.metrics]
    values = gap.of(by_group, [metric(confusion.sum(axis=-2)) for metric in gap.metrics])
    buckets = np.searchsorted(GAP_EDGES[1:-1], values, side="right")
    buckets[np.isnan(values)] = NOT_ESTIMABLE
    return np.bincount(buckets, minlength=len(GAP_EDGES)).astype(np.float64)


def _withheld(sites: Mapping[str, int], least: int) -> dict[str, str]:
    """The scopes that are withheld, and why."""
    few = f"fewer than {least} sites"
    if sites[OVERALL] < least:
        return dict.fromkeys(sites, few)
    withheld = {scope: few for scope, count in sites.items() if count < least}
    shown = [scope for scope in sites if scope not in {OVERALL, *withheld}]
    shown.sort(key=lambda scope: sites[scope])
    while shown and 0 < sites[OVERALL] - _total(sites, shown) < least:
        withheld[shown.pop(0)] = BESIDE
    return withheld


def _total(sites: Mapping[str, int], scopes: Sequence[str]) -> int:
    return sum(sites[scope] for scope in scopes)


def _disparities(
    tallies: TallySums, family: Family, gap: Gap, scope: str, withheld: str
) -> SiteDisparities:
    named = SiteDisparities(
        scope=scope, attribute=family[0].attribute, metric=gap.name, edges=GAP_EDGES
    )
    if withheld:
        return named.model_copy(update={"withheld": withheld})
    *counts, not_estimable = tallies.site_gaps(family, gap).tolist()
    return named.model_copy(
        update={
            "sites": sum(counts) + not_estimable,
            "not_estimable": not_estimable,
            "counts": tuple(counts),
        }
    )
