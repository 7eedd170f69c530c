"""A site's own floors: each is refused by its code one step past the bound, and not at it."""

from datetime import UTC, datetime

import pytest
from sample_consortium import roster_of, signed_rules

from client.consent import Refusal, check_agreement, check_certificates, check_hours
from federation.agreement import Agreement, NoiseInTheSum, RecordPrivacy
from federation.config import (
    EvaluationRules,
    FederationRules,
    ServerOptimizer,
    TaskChoice,
    Training,
)
from federation.site_policy import SitePolicy

SITES = ("a", "b", "c", "d", "e")
POLICY = SitePolicy(
    site="a",
    split_seed=7,
    dataset="d",
    public_rows=100,
    tasks=("heart",),
    epsilon_budget=1.0,
    delta=1e-2,
    minimum_quorum=4,
    minimum_threshold=3,
    minimum_contributors=4,
)
RULES = {
    "minimum_quorum": 4,
    "minimum_threshold": 3,
    "minimum_contributors": 4,
    "largest_update_clip": 20.0,
    "least_noise_multiplier": 1.0,
    "least_site_level_noise_multiplier": 0.0,
    "allow_without_privacy": False,
    "most_rounds": 4,
}
AGREEMENT = Agreement(
    run="r",
    rules_digest=signed_rules(**RULES).digest(),
    rounds=4,
    seed=1,
    task=TaskChoice(name="heart"),
    federation=FederationRules(sites=SITES, quorum=4, threshold=3),
    cohorts={},
    public_rows=dict.fromkeys(SITES, 100),
    training=Training(),
    server=ServerOptimizer(),
    privacy=RecordPrivacy(noise_multiplier=1.0, delta=1e-2, max_grad_norm=1.0, target_epsilon=None),
    site_level=None,
    evaluation=EvaluationRules(minimum_contributors=4),
)


def check(policy: dict | None = None, rules: dict | None = None, **agreement: object) -> None:
    signed = signed_rules(**RULES | (rules or {}))
    check_agreement(
        POLICY.model_copy(update=policy or {}),
        signed,
        frozenset(SITES),
        AGREEMENT.model_copy(update={"rules_digest": signed.digest()} | agreement),
    )


def test_an_agreement_at_every_floor_is_accepted() -> None:
    check()
    check({"most_rounds": 4, "least_noise_multiplier": 1.0})


def test_the_noise_that_a_site_demands_is_of_runs_with_noise() -> None:
    allowed = {"allow_without_privacy": True}
    check(allowed | {"least_noise_multiplier": 1.5}, allowed, privacy=None)


SHARED = NoiseInTheSum(
    colluders=1, meter_coordinates=16, dimension=20, granularity=2**-10, ring_bits=32,
    largest_code=1000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("training", "shared"),
    [
        (Training(algorithm="scaffold", local_steps=1), SHARED),
        (Training(local_layers=("head.*",), local_steps=1), SHARED),
        (Training(algorithm="scaffold", momentum=0.5), None),
    ],
)
def test_a_site_keeps_nothing_that_no_noise_protects_whatever_its_coordinator_checked(
    training, shared
) -> None:
    allowed = {"allow_shared_noise": True}
    privacy = AGREEMENT.privacy.model_copy(update={"shared": shared})
    with pytest.raises(Refusal) as refused:
        check(allowed, privacy=privacy, training=training)
    assert refused.value.code == "site_state_impossible"
    check(allowed, training=training.model_copy(update={"momentum": 0.0}))


def test_no_work_is_begun_outside_the_hours_and_nothing_is_told_of_them() -> None:
    policy = POLICY.model_copy(update={"hours": ("mon 08:00-09:00",)})
    monday = datetime(2026, 3, 2, 8, 0, tzinfo=UTC).timestamp()
    check_hours(policy, monday)
    told = set()
    for hours in (policy.hours, ("tue 10:00-11:00",)):
        with pytest.raises(Refusal) as caught:
            check_hours(policy.model_copy(update={"hours": hours}), monday + 3600)
        assert caught.value.code == "outside_hours"
        told.add(str(caught.value))
    assert told == {"this site begins no work at this hour"}


@pytest.mark.parametrize(
    ("code", "policy", "agreement"),
    [
        ("task_not_allowed", {"tasks": ("digits",)}, {}),
        ("task_options_differ", {"task_options": {"heart": {"hidden": (8,)}}}, {}),
        (
            "task_options_differ",
            {},
            {"task": TaskChoice(name="heart", options={"held_out_fraction": 0.9})},
        ),
        ("not_invited", {"site": "z", "public_rows": 100}, {}),
        ("quorum_too_small", {"minimum_quorum": 5}, {}),
        ("threshold_too_small", {"minimum_threshold": 4}, {}),
        ("cohorts_too_small", {"minimum_contributors": 5}, {}),
        ("cohorts_too_small", {}, {"cohorts": {"x": ("a", "b", "c")}}),
        ("public_rows_differ", {"public_rows": 99}, {}),
        ("too_many_rounds", {"most_rounds": 3}, {}),
        ("noise_too_small", {"least_noise_multiplier": 1.01}, {}),
        ("privacy_required", {}, {"privacy": None}),
        ("delta_too_large", {"delta": 9e-3}, {}),
        (
            "unknown_site",
            {},
            {"federation": FederationRules(sites=("a", "b", "c", "z"), quorum=4, threshold=3)},
        ),
        (
            "delta_too_large",
            {"public_rows": 101},
            {"public_rows": dict.fromkeys(SITES, 101)},
        ),
    ],
)
def test_a_broken_floor_is_refused_by_its_code(code: str, policy: dict, agreement: dict) -> None:
    with pytest.raises(Refusal) as caught:
        check(policy, **agreement)
    assert caught.value.code == code


LAX = {"minimum_quorum": 3, "minimum_threshold": 2, "minimum_contributors": 3}
OTHER_RINGS = tuple(bits for bits in (16, 20, 24, 32) if bits != AGREEMENT.ring_bits)


@pytest.mark.parametrize(
    ("code", "rules", "agreement"),
    [
        ("quorum_too_small", {"minimum_quorum": 5}, {}),
        ("threshold_too_small", {"minimum_threshold": 4}, {}),
        ("cohorts_too_small", {"minimum_contributors": 5}, {}),
        (
            "cohorts_too_small",
            {},
            {
                "cohorts": {"x": SITES[:3]},
                "federation": FederationRules(sites=SITES[:3], quorum=4, threshold=3),
            },
        ),
        ("update_clip_too_large", {"largest_update_clip": 19.9}, {}),
        ("ring_not_allowed", {"ring_bits": OTHER_RINGS}, {}),
        ("noise_too_small", {"least_noise_multiplier": 1.01}, {}),
        ("noise_too_small", {"least_site_level_noise_multiplier": 0.01}, {}),
        ("too_many_rounds", {"most_rounds": 3}, {}),
        ("privacy_required", {}, {"privacy": None}),
        ("run_rules_differ", {}, {"rules_digest": "0" * 64}),
    ],
)
def test_a_lax_policy_does_not_help_against_the_consortiums_rules(
    code: str, rules: dict, agreement: dict
) -> None:
    lax = LAX | {"allow_without_privacy": True}
    with pytest.raises(Refusal) as caught:
        check(lax, rules, **agreement)
    assert caught.value.code == code
    assert "consortium" in str(caught.value)


def test_lax_rules_do_not_help_against_the_sites_own_policy() -> None:
    for changed in ({"minimum_quorum": 5}, {"minimum_threshold": 4}, {"minimum_contributors": 5}):
        check(rules=LAX)
        with pytest.raises(Refusal, match="below this site's minimum"):
            check(changed, LAX)


def test_training_without_privacy_needs_the_sites_word_and_the_consortiums() -> None:
    allowed = {"allow_without_privacy": True}
    check(allowed, allowed, privacy=None)
    for policy, rules in (({}, allowed), (allowed, {})):
        with pytest.raises(Refusal) as caught:
            check(policy, rules, privacy=None)
        assert caught.value.code == "privacy_required"


def test_an_agent_that_outlives_a_certificate_agrees_to_nothing_more() -> None:
    roster = roster_of({site: site.encode() * 32 for site in SITES}, validity=(100, 200))
    check_certificates(roster, 100.0)
    check_certificates(roster, 200.9)
    for now in (99.9, 201.0):
        with pytest.raises(Refusal) as caught:
            check_certificates(roster, now)
        assert caught.value.code == "certificate_not_current"
