"""One window's secure sum, scope by scope, whether its counts were exact or carried noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.measurement import OUTSIDE
from evaluation.noised_counts import outcomes_of
from evaluation.tally_spec import OVERALL, TallySpec
from federation.evaluation_agreement import JUDGING
from federation.evaluation_record import StageRecord
from federation.task import Floats


@dataclass(frozen=True, slots=True)
class ScopeSums:
    """The sums of one scope.

    Attributes:
        sums: per name of `TallySpec.segments`, `TallySpec.report_segments` but for site gaps where
            there is noise, and `feature/NAME`.
        noise_variance: of the noise in each count; 0 where counts are exact.
        sites: with rows, if counts are exact; else as many as are in the sum.
    """

    sums: Mapping[str, Floats]
    noise_variance: float
    sites: int


def sums_by_scope(
    spec: TallySpec, record: StageRecord, cohorts: Mapping[str, tuple[str, ...]]
) -> dict[str, ScopeSums]:
    """`overall` first, then every cohort that has survivors.

    Args:
        spec: what was counted.
        record: of a stage.
        cohorts: sites per cohort, as agreed.
    """
    alive = {
        name: len(set(sites) & set(record.survivors)) for name, sites in sorted(cohorts.items())
    }
    if not record.noise_variance:
        scopes = {OVERALL: record.in_scope(OVERALL)}
        scopes |= {name: record.in_scope(name) for name in alive if alive[name]}
        return {
            name: ScopeSums(sums, 0.0, int(sums["sites"][0]))
            for name, sums in scopes.items()
            if sums
        }
    parts = {name: sums for name in (OVERALL, *alive, OUTSIDE) if (sums := record.in_scope(name))}
    segments = next(iter(parts.values()))
    whole: dict[str, Floats] = {
        name: np.sum([part[name] for part in parts.values()], axis=0) for name in segments
    }
    named = {OVERALL: (whole, len(parts))} | {
        name: (parts[name], 1) for name in alive if alive[name] and name in parts
    }
    judged = record.stage in JUDGING
    return {
        name: ScopeSums(
            {**sums, **(outcomes_of(spec, sums) if judged else {})},
            count * record.noise_variance,
            len(record.survivors) if name == OVERALL else alive[name],
        )
        for name, (sums, count) in named.items()
    }
