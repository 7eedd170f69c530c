"""The terms of a discovery's questions: what is impossible is refused with its reason."""

import json

import pytest
from pydantic import ValidationError

from federation.cluster_terms import ClusterTerms
from federation.config import EvaluationRules, FederationRules, TaskChoice
from federation.errors import ConfigError
from federation.evaluation_agreement import EvaluationAgreement

SITES = ("a", "b", "c", "d", "e", "f")
CENTRES = {"age": ((0.25, 0.75), (0.5, 0.5))}
STAY = ((True, False), (False, True), (True, True))


def terms(**changes) -> ClusterTerms:
    plain = {"discovery": "run.2017.2", "count": 2, "step": 1, "centres": CENTRES} | changes
    return ClusterTerms.model_validate_json(json.dumps(plain))


def agreement(clusters: ClusterTerms | None, **changes) -> EvaluationAgreement:
    facts = {
        "run": "r",
        "rules_digest": "0" * 64,
        "task": TaskChoice(name="heart"),
        "federation": FederationRules(sites=SITES, quorum=len(SITES), threshold=4),
        "public_rows": dict.fromkeys(SITES, 10),
        "evaluation": EvaluationRules(),
        "stage": "cohort_moves",
        "window": "2017",
        "spec_digest": "0" * 64,
        "clusters": clusters,
    }
    read = EvaluationAgreement.model_validate(
        facts | {"stage": "survey", "clusters": None}, strict=False
    )
    plain = json.loads(read.to_bytes()) | {"stage": facts["stage"]}
    if clusters is not None:
        plain["clusters"] = clusters.model_dump(mode="json")
    return EvaluationAgreement.from_bytes(json.dumps(plain | changes).encode())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"centres": {"age": ((0.25, 0.74), (0.5, 0.5))}}, "shares that sum to 1"),
        ({"centres": {"age": ((0.25, 0.75),)}}, "2 rows of the same bins"),
        ({"centres": {"age": ((0.25, 0.75), (1.0,))}}, "2 rows of the same bins"),
        ({"centres": {}}, "0 with rows and seeds, else with centres"),
        ({"step": 0}, "0 with rows and seeds, else with centres"),
        ({"seeds": (1,)}, "0 with rows and seeds, else with centres"),
        ({"admitted": STAY[:2]}, "3 rows of 2"),
        ({"admitted": ((True,), (True,), (True,))}, "3 rows of 2"),
        ({"admitted": ((False, True), *STAY[1:])}, "staying is always admitted"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        terms(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"centres": {"age": ((0.0, 1.0), (0.5, 0.5))}},
        {"count": 1},
        {"step": 23},
        {"step": 0, "centres": {}, "rows": {"age": (1, 2)}, "seeds": tuple(range(65))},
        {"discovery": "../elsewhere"},
        {"admitted": ((1, 0), (0, 1), (1, 1))},
    ],
)
def test_what_is_out_of_bounds_is_refused(changes) -> None:
    with pytest.raises(ValidationError):
        terms(**changes)


def test_the_three_questions_are_agreed_on() -> None:
    first = terms(step=0, centres={}, rows={"age": (1, 2)}, seeds=(7,))
    for stage, asked in (
        ("cohort_starts", first),
        ("cohort_moves", terms()),
        ("cohort_counts", terms(admitted=STAY)),
    ):
        agreed = agreement(asked, stage=stage)
        assert EvaluationAgreement.from_bytes(agreed.to_bytes()) == agreed


@pytest.mark.parametrize(
    ("clusters", "changes", "says"),
    [
        (None, {}, "some if, and only if, cohort_moves needs them"),
        (terms(), {"stage": "survey"}, "some if, and only if, survey needs them"),
        (terms(), {"stage": "cohort_starts"}, "as cohort_starts has"),
        (terms(), {"stage": "cohort_counts"}, "as cohort_counts has"),
        (terms(admitted=STAY), {}, "as cohort_moves has"),
        (terms(), {"cohorts": {"x": ["a", "b", "c"]}}, "none where clusters are found"),
        (terms(count=3, centres={"age": ((0.5, 0.5),) * 3}), {}, "at most 2 of these sites"),
    ],
)
def test_a_sum_that_could_single_out_a_site_is_not_agreed_on(clusters, changes, says) -> None:
    with pytest.raises(ConfigError, match=says):
        agreement(clusters, **changes)


def test_no_site_may_be_missing() -> None:
    rules = json.loads(agreement(terms()).to_bytes())["federation"] | {"quorum": 5}
    with pytest.raises(ConfigError, match="all 6 sites"):
        agreement(terms(), federation=rules)


def test_an_agreement_without_clusters_is_what_it_was_before_there_were_any() -> None:
    assert b"clusters" not in agreement(None, stage="survey").to_bytes()
