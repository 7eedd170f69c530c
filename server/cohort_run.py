"""Which sites are alike: a series of secure sums over one window, none of too few sites.

Every site whose rows are in the window's own sum is in every sum of the discovery. Were one left
out, what is missing from the clusters would be its counts; so there is no margin for dropouts: a
sum without all of them is asked again, by the same command, and costs nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from evaluation.measurement import FEATURE, SITES, feature_grids
from evaluation.monitoring.cohort_contrast import contrasts
from evaluation.monitoring.cohort_discovery import (
    MEMBERS,
    Centres,
    Discovery,
    Settlement,
    Sums,
    best_start,
    coarse_counts,
    discover,
    initial_centres,
)
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.tally_spec import OVERALL
from federation.cluster_terms import ClusterTerms
from federation.cohort_record import CohortDiscovery
from federation.config import FederationConfig, FederationRules
from federation.errors import ProtocolViolation, RoundFailed, UsageError
from federation.evaluation_agreement import Stage
from federation.evaluation_record import FrozenReference, StageRecord, file_name
from federation.task import Codes
from federation.timestamp import utc_now
from server.evaluation_run import Evaluator

STARTS = 50
"""Sets of centres that sites are asked about before the first step."""


@dataclass
class CohortRun:
    """One discovery, step by step; whatever was summed before is not asked again.

    Attributes:
        evaluator: asks the sites.
        reference: frozen; its bins are what sites are compared in.
        record: of the window whose rows they are.
        count: clusters.
        progress: told what is asked.
    """

    evaluator: Evaluator
    reference: FrozenReference
    record: StageRecord
    count: int
    progress: Callable[[str], None] = lambda _: None
    _step: int = field(default=0, init=False)
    _sums: int = field(default=0, init=False)
    _members: Sums = field(default_factory=dict, init=False)

    @cached_property
    def grids(self) -> tuple[FeatureGrid, ...]:
        """Of all features."""
        return feature_grids(self.evaluator.task.schema, self.reference.grids)

    @property
    def discovery(self) -> str:
        """Its name: the same for the same question, so that a second start goes on."""
        return discovery_name(self.evaluator.run.id, self.record.window, self.count)

    def find(self) -> CohortDiscovery:
        """Start where the sites are nearest, and go on until nothing moves.

        Raises:
            HedgerowError: as `server.single_sum.sum_once`; RoundFailed also if any site is missing.
        """
        rules = self.evaluator.config.evaluation
        start = self._best_start()
        found = discover(start, self._moves, self._counts, rules.minimum_contributors)
        return self._described(found)

    def _best_start(self) -> Centres:
        seeds = start_seeds(self.evaluator.config.run.seed)
        rows = self._rows()
        starts = [initial_centres(self.grids, rows, self.count, seed) for seed in seeds]
        told = {name: tuple(each.tolist()) for name, each in rows.items()}
        return best_start(starts, self._ask(Stage.COHORT_STARTS, seeds=seeds, rows=told))

    def _rows(self) -> Mapping[str, Codes]:
        sums = self.record.in_scope(OVERALL)
        fine = {
            grid.feature.name: np.rint(sums[f"{FEATURE}/{grid.feature.name}"]).astype(np.int64)
            for grid in self.grids
        }
        return coarse_counts(self.grids, fine)

    def _moves(self, centres: Centres) -> Sums:
        self._step += 1
        self.progress(f"step {self._step}: which sites would move")
        return self._ask(Stage.COHORT_MOVES, centres=_shares(centres))

    def _counts(self, answer: Settlement, centres: Centres) -> Sums:
        self.progress(f"step {self._step}: what the clusters hold")
        admitted = tuple(tuple(row) for row in answer.admitted.tolist())
        sums = self._ask(Stage.COHORT_COUNTS, centres=_shares(centres), admitted=admitted)
        self._members = {MEMBERS: sums[MEMBERS]}
        return sums

    def _ask(self, stage: Stage, **told: object) -> Sums:
        terms = ClusterTerms.model_validate(
            {"discovery": self.discovery, "count": self.count, "step": self._step, **told}
        )
        self._sums += 1
        try:
            record = self.evaluator.sum(
                stage,
                self.record.window,
                under=f"{self.discovery}.{self._step}",
                federation=rules_of_all(self.evaluator.config.federation, self.record.survivors),
                grids=self.reference.grids,
                clusters=terms,
            )
        except ProtocolViolation:
            raise  # no site is missing: a check failed
        except RoundFailed as error:
            raise RoundFailed(
                f"{error}; a discovery needs every site of the window's sum: the same command goes "
                "on when all are back"
            ) from error
        return record.in_scope(OVERALL)

    def _described(self, found: Discovery) -> CohortDiscovery:
        members = self._members.get(MEMBERS, np.zeros(self.count))
        return CohortDiscovery(
            window=self.record.window,
            discovery=self.discovery,
            clusters=self.count,
            sites=_sites_with_rows(self.record),
            rows=int(self.record.in_scope(OVERALL)["rows"][0]),
            cohorts=found.cohorts,
            differ_in=contrasts(found.centres, members),
            steps=found.rounds,
            sums=self._sums,
            reason=found.reason,
            at=utc_now(),
        )


def discovery_name(run: str, window: str, count: int) -> str:
    """Of a run's discovery of `count` cohorts on a window."""
    return f"{run}.{file_name(window)}.{count}"


def start_seeds(seed: int) -> tuple[int, ...]:
    """Of the starts, from that of the run."""
    return tuple(np.random.SeedSequence(seed).generate_state(STARTS).tolist())


def rules_of_all(rules: FederationRules, sites: tuple[str, ...]) -> FederationRules:
    """These sites are asked, and none may be missing."""
    return rules.model_copy(update={"sites": tuple(sorted(sites)), "quorum": len(sites)})


def require_discoverable(config: FederationConfig, record: StageRecord, count: int) -> None:
    """Return if cohorts of sites can be found on what was counted of a window.

    Raises:
        UsageError: counts carry noise, cohorts are declared, or there are too few sites.
    """
    if config.evaluation.epsilon is not None:
        raise UsageError(
            f"evaluation.epsilon = {config.evaluation.epsilon:g}: cohorts are discovered from "
            "exact counts only; expected a run without it"
        )
    if config.cohorts:
        raise UsageError(
            f"cohorts = {', '.join(sorted(config.cohorts))}: their sums are known, and beside "
            "those of discovered ones could single out a site; expected a run without [cohorts]"
        )
    least, sites = config.evaluation.minimum_contributors, _sites_with_rows(record)
    if not 2 <= count <= sites // least:
        raise UsageError(
            f"--clusters {count}: {sites} sites with rows in the window, in cohorts of at least "
            f"{least} (evaluation.minimum_contributors), make "
            + (f"2 to {sites // least}" if sites >= 2 * least else "no two; more sites are needed")
        )


def _sites_with_rows(record: StageRecord) -> int:
    return int(record.in_scope(OVERALL)[SITES][0])


def _shares(centres: Centres) -> dict[str, tuple[tuple[float, ...], ...]]:
    return {name: tuple(map(tuple, each.tolist())) for name, each in centres.shares.items()}
