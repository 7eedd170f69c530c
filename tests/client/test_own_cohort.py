"""What one site adds to the sums of a discovery, whatever the coordinator asks again."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from client.cohort_discovery import cluster_values
from client.journal import Journal
from evaluation.measurement import Measurement, WindowRows, agreed_measurement, count
from evaluation.monitoring.cohort_discovery import COSTS, MEMBERS, MOVES
from evaluation.run_layout import evaluation_spec as spec_of
from federation.cluster_terms import ClusterTerms
from federation.cohort_record import OwnCohort
from federation.config import EvaluationRules, FederationRules, TaskChoice
from federation.errors import ConfigError, ProtocolViolation
from federation.evaluation_agreement import EvaluationAgreement, GridTerms, Stage
from federation.schema import Numeric, TaskSchema

SCHEMA = TaskSchema((Numeric("age", 0, 100, "years"),), "ill", ("no", "yes"), ())
SITES = ("a", "b", "c", "d", "e", "f")
GRID = GridTerms(feature="age", edges=(0.0, 50.0, 100.0), quantile_bins=((0, 1), (2, 3), (4,)))
YOUNG, OLD = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
STAY, BOTH_OPEN = (True, False), (True, True)


def asked(stage: Stage, step: int, **changes) -> EvaluationAgreement:
    told = {"centres": {"age": (YOUNG, OLD)}} | changes
    return EvaluationAgreement(
        run=f"{stage}-{step}",
        rules_digest="0" * 64,
        task=TaskChoice(name="any"),
        federation=FederationRules(sites=SITES, quorum=len(SITES), threshold=4),
        public_rows=dict.fromkeys(SITES, 10),
        evaluation=EvaluationRules(),
        stage=stage,
        window="2017",
        spec_digest=spec_of(SCHEMA, EvaluationRules()).digest(),
        grids=(GRID,),
        clusters=ClusterTerms.model_validate({"discovery": "d", "count": 2, "step": step} | told),
    )


def counts(step: int, *admitted: tuple[bool, ...], **changes) -> EvaluationAgreement:
    return asked(Stage.COHORT_COUNTS, step, admitted=admitted, **changes)


@dataclass
class Site:
    path: Path
    ages: list[float]
    kept: list[OwnCohort] = field(default_factory=list)

    def add(self, agreement: EvaluationAgreement) -> dict[str, list[float]]:
        """In a process of its own: nothing but the disk is left of the one before."""
        measurement: Measurement = agreed_measurement(SCHEMA, agreement)
        nothing = np.zeros(len(self.ages), np.int64)
        rows = WindowRows({"age": np.array(self.ages)}, nothing, {})
        journal, counted = Journal(self.path), count(measurement, rows, None)
        try:
            values = cluster_values(
                agreement, measurement, counted, journal.discoveries, self.kept.append
            )
            measurement.layout(agreement).encode({f"overall/{n}": v for n, v in values.items()})
        finally:
            journal.close()
        return {name: each.tolist() for name, each in values.items()}


@pytest.fixture
def young(tmp_path) -> Site:
    return Site(tmp_path / "journal.sqlite", [20.0] * 9 + [70.0])


def test_a_site_counts_in_its_own_slot_and_tells_itself_which(young: Site) -> None:
    assert young.add(asked(Stage.COHORT_MOVES, 1))[MOVES] == [0, 0, 0, 0, 1, 0]
    told = young.add(counts(1, STAY, (False, True), BOTH_OPEN))
    assert told == {"sites": [1], MEMBERS: [1, 0], "clusters/age": [9, 1, 0, 0, 0, 0]}
    assert [(one.cohort, one.step) for one in young.kept] == [("cohort 1", 1)]
    assert young.kept[0].distances[0] < young.kept[0].distances[1]
    # From where it stands now.
    assert young.add(asked(Stage.COHORT_MOVES, 2))[MOVES] == [1, 0, 0, 0, 0, 0]


def test_rows_that_change_between_moves_and_counts_change_nothing(young: Site) -> None:
    young.add(asked(Stage.COHORT_MOVES, 1))
    young.ages = [70.0] * 30
    told = young.add(counts(1, STAY, (False, True), BOTH_OPEN))
    assert (told[MEMBERS], told["clusters/age"]) == ([1, 0], [9, 1, 0, 0, 0, 0])
    assert young.add(counts(1, STAY, (False, True), BOTH_OPEN)) == told


def test_a_move_that_is_not_admitted_is_not_made(young: Site) -> None:
    young.add(asked(Stage.COHORT_MOVES, 1))
    told = young.add(counts(1, STAY, (False, True), (False, True)))  # only the second is open
    assert told[MEMBERS] == [0, 1]
    assert young.add(asked(Stage.COHORT_MOVES, 2))[MOVES] == [0, 0, 1, 0, 0, 0]
    assert young.add(counts(2, STAY, (False, True), (False, False)))[MEMBERS] == [0, 1]
    young.add(asked(Stage.COHORT_MOVES, 3))
    assert young.add(counts(3, STAY, BOTH_OPEN, (False, False)))[MEMBERS] == [1, 0]


def test_no_step_is_answered_in_two_ways(young: Site) -> None:
    with pytest.raises(ProtocolViolation, match="out of order"):
        young.add(counts(1, STAY, (False, True), BOTH_OPEN))
    young.add(asked(Stage.COHORT_MOVES, 1))
    swapped = {"age": (OLD, YOUNG)}
    with pytest.raises(ProtocolViolation, match="other ones before"):
        young.add(asked(Stage.COHORT_MOVES, 1, centres=swapped))
    with pytest.raises(ProtocolViolation, match="other ones before"):
        young.add(counts(1, STAY, (False, True), BOTH_OPEN, centres=swapped))
    young.add(counts(1, STAY, (False, True), BOTH_OPEN))
    with pytest.raises(ProtocolViolation, match="other moves were admitted"):
        young.add(counts(1, STAY, (False, True), (False, True)))


def test_a_site_without_rows_adds_to_no_sum_and_is_in_no_cohort(tmp_path) -> None:
    empty = Site(tmp_path / "journal.sqlite", [])
    starts = {"centres": {}, "rows": {"age": (30, 30, 0)}, "seeds": (1, 2, 3)}
    added = (
        empty.add(asked(Stage.COHORT_STARTS, 0, **starts)),
        empty.add(asked(Stage.COHORT_MOVES, 1)),
        empty.add(counts(1, STAY, (False, True), BOTH_OPEN)),
    )
    assert not any(any(each) for values in added for each in values.values())
    assert [(one.cohort, one.distances) for one in empty.kept] == [(None, ())]


def test_starts_cost_more_the_further_they_are(young: Site) -> None:
    starts = {"centres": {}, "rows": {"age": (300, 30, 0)}, "seeds": (1, 2)}
    near = young.add(asked(Stage.COHORT_STARTS, 0, **starts))[COSTS]
    young.path = young.path.with_name("another.sqlite")
    starts["rows"] = {"age": (0, 30, 300)}
    far = young.add(asked(Stage.COHORT_STARTS, 0, **starts))[COSTS]
    assert len(near) == 2
    assert all(a < b for a, b in zip(near, far, strict=True))


@pytest.mark.parametrize("centres", [{"weight": (YOUNG, OLD)}, {"age": ((0.5, 0.5), (0.5, 0.5))}])
def test_centres_of_other_features_or_bins_are_refused(centres) -> None:
    with pytest.raises(ConfigError, match="shares in the bins of"):
        agreed_measurement(SCHEMA, asked(Stage.COHORT_MOVES, 1, centres=centres))
