"""What many sites count of a model, added up: their rows are judged apart and counted at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from client.observation import Judged
from evaluation.score_tallies import scores_by_site
from evaluation.site_disparities import count_gaps_of_sites
from evaluation.tallies import (
    SiteOfRow,
    count_features,
    count_outcomes,
    exact_sums,
    outcomes_by_site,
    require_features,
    require_few_rows,
    row_losses,
)
from evaluation.tally_spec import OVERALL, TallySpec, Window
from federation.round_layout import scoped
from federation.task import Codes, Floats, Rows, SiteData

JudgedSite = tuple[Judged, SiteData]
"""What a site's held-out rows are, as judged and as loaded."""

MOST_ROWS = 1 << 31


def counts_by_scope(
    scopes: Sequence[str], tallies: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Floats]:
    """The counted segments of a round, as `VectorLayout.encoded_sum` adds them up.

    Args:
        scopes: of the run: `overall` and its cohorts.
        tallies: per scope, what `chunk_tallies` or `chunk_report` counted of the sites that are in
            no narrower one; not empty.
    """
    parts = list(tallies.values())
    overall = {name: _joined([one[name] for one in parts]) for name in parts[0]}
    none = {name: np.zeros(value.shape[-1]) for name, value in overall.items()}
    by_name = {**dict.fromkeys(scopes, none), **tallies, OVERALL: overall}
    return {
        scoped(scope, name): value for scope in scopes for name, value in by_name[scope].items()
    }


def chunk_tallies(spec: TallySpec, sites: Sequence[JudgedSite]) -> dict[str, Floats]:
    """`client.observation.outcome_tallies` of many sites, as `VectorLayout.encoded_sum` adds them.

    Each site's rows went through the model by themselves: in a larger batch the last bits of a
    probability could be others, and so its bin. Counting is exact however rows are spread, but for
    the sums of losses: their two words are split and rounded site by site.

    Args:
        spec: what is counted.
        sites: their rows, judged by the incoming model; at least one site.

    Returns:
        per segment name: the sum over the sites, shape (segment.length,); or of losses, what each
        site has, shape (sites, segment.length).

    Raises:
        DataError: as `outcome_tallies`.
    """
    judged = [one for one, _ in sites]
    for _, targets, _ in judged:
        require_few_rows(spec, len(targets))
    probabilities, targets, groups = _pooled(spec, judged)
    tallies = count_outcomes(_wide(spec), probabilities, targets, groups)
    ends = np.cumsum([len(one) for _, one, _ in judged])
    losses = zip(("log_loss", "brier"), row_losses(spec, probabilities, targets), strict=True)
    for name, codes in losses:
        parts = exact_sums(name, _sums_by_site(codes, ends))
        tallies |= {part: words[:, np.newaxis] for part, words in parts.items()}
    return tallies


def chunk_report(spec: TallySpec, sites: Sequence[JudgedSite]) -> dict[str, Floats]:
    """As `chunk_tallies`, and all else that sites count in an evaluation round.

    Raises:
        DataError: as `client.observation.report_tallies` and `window_tallies`.
    """
    judged, data = [one for one, _ in sites], [one for _, one in sites]
    tallies, pooled = chunk_tallies(spec, sites), _pooled(spec, judged)
    of = SiteOfRow(np.repeat(np.arange(len(judged)), [len(one[1]) for one in judged]), len(judged))
    gaps = count_gaps_of_sites(spec, lambda family: outcomes_by_site(spec, family, pooled, of))
    return tallies | scores_by_site(spec, *pooled, of) | gaps | _windows(spec, data)


def _pooled(spec: TallySpec, judged: Sequence[Judged]) -> Judged:
    """The judged rows of all sites, one site's after the other's."""
    return (
        np.concatenate([one for one, _, _ in judged]),
        np.concatenate([one for _, one, _ in judged]),
        {
            attribute.name: np.concatenate([one[attribute.name] for _, _, one in judged])
            for attribute in spec.schema.attributes
        },
    )


def _wide(spec: TallySpec) -> TallySpec:
    """The same, for the rows of many sites."""
    return replace(spec, schema=replace(spec.schema, maximum_rows=MOST_ROWS))


def _windows(spec: TallySpec, data: Sequence[SiteData]) -> dict[str, Floats]:
    """Feature histograms of all sites' rows of both windows."""
    wide, counted = _wide(spec), dict[str, Floats]()
    for name in get_args(Window):
        parts: list[Rows] = [getattr(one, name) for one in data]
        for rows in parts:
            require_features(spec, rows.features)
        pooled = {
            feature.name: np.concatenate([rows.features[feature.name] for rows in parts])
            for feature in spec.schema.features
        }
        counted |= count_features(wide, pooled, name)
    return counted


def _sums_by_site(codes: Codes, ends: Codes) -> Codes:
    """Sums of consecutive stretches that end before `ends`, shape (sites,); one may be empty."""
    running = np.concatenate([[0], np.cumsum(codes)])
    return np.diff(running[ends], prepend=0)


def _joined(counts: Sequence[Floats]) -> Floats:
    """The sum of counts; of what sites have one by one, all of it."""
    return np.concatenate(counts) if counts[0].ndim == 2 else np.sum(counts, axis=0)
