"""Outcomes counted for a release with noise: two tables per family, and what follows from them.

The noise in each cell grows with the number of tables that a record is in. So nothing is counted
that follows from a table (rows), and no cell twice (cohorts and all sites). What follows is made of
the sums here: sums of scores by the middle of each score bin, at most half a bin from the truth per
row. Losses are left out: over many bins they would be of the noise.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from evaluation.group_metrics import TN, TP
from evaluation.tally_spec import (
    FRACTION_BITS,
    Family,
    Group,
    TallySpec,
)
from federation.layout import Segment, count_segment
from federation.task import Floats

CONFUSIONS, SCORES = "confusions", "score_bins"


def noised_segments(spec: TallySpec, summands: int) -> tuple[Segment, ...]:
    """Per family two tables with disjoint cells: outcomes, and score bins by label.

    Args:
        spec: of a task of two classes.
        summands: most sites in a sum.
    """
    most = spec.schema.maximum_rows
    return tuple(
        count_segment(f"{name}/{_name(family)}", cells * len(family), most, summands)
        for family in _families(spec)
        for name, cells in ((CONFUSIONS, 4), (SCORES, 2 * spec.score_bins))
    )


def noised_tables(spec: TallySpec, outcomes: Mapping[str, Floats]) -> dict[str, Floats]:
    """A site's exact counts in these tables.

    Args:
        spec: what was counted.
        outcomes: per name of `spec.segments`.
    """
    tables = {}
    for family in _families(spec):
        labels = [group.label for group in family]
        for name, segment in ((CONFUSIONS, "confusion"), (SCORES, "scores")):
            tables[f"{name}/{_name(family)}"] = np.concatenate(
                [outcomes[f"{segment}/{label}"] for label in labels]
            )
    return tables


def outcomes_of(spec: TallySpec, sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """Sums of the tables under the names of `spec.segments`, and of sums of scores.

    Counts may be negative, by noise.

    Args:
        spec: what was counted.
        sums: of one scope, per name of `noised_segments`.
    """
    result: dict[str, Floats] = {}
    for family in _families(spec):
        confusions = sums[f"{CONFUSIONS}/{_name(family)}"].reshape(len(family), 4)
        scores = sums[f"{SCORES}/{_name(family)}"].reshape(len(family), -1)
        for group, confusion, of_group in zip(family, confusions, scores, strict=True):
            result |= {f"confusion/{group.label}": confusion, f"scores/{group.label}": of_group}
            result |= _score_sums(spec, group, of_group.reshape(2, -1))
    overall = result[f"confusion/{Group().label}"]
    result["rows"] = np.array([overall.sum()])
    result["correct"] = np.array([overall[TN] + overall[TP]])
    return result


def _score_sums(spec: TallySpec, group: Group, scores: Floats) -> Iterator[tuple[str, Floats]]:
    middles = _middles(spec)
    by_bin = scores.sum(axis=0) * middles
    sums = np.add.reduceat(by_bin, spec.calibration_edges[:-1])
    yield from _two_words(f"score_sum/{group.label}", sums)


def _two_words(name: str, totals: Floats) -> Iterator[tuple[str, Floats]]:
    whole = np.floor(totals)
    fraction = np.floor((totals - whole) * 2**FRACTION_BITS) / 2**FRACTION_BITS
    yield f"{name}/whole", whole
    yield f"{name}/fraction", fraction


def _middles(spec: TallySpec) -> Floats:
    middles: Floats = (np.arange(spec.score_bins) + 0.5) / spec.score_bins
    return middles


def _families(spec: TallySpec) -> tuple[Family, ...]:
    return ((Group(),), *spec.families)


def _name(family: Family) -> str:
    return family[0].attribute
