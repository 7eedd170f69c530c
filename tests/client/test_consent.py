"""A site's own floors: each is refused by its code one step past the bound, and not at it."""

import pytest

from client.consent import Refusal, check_agreement
from federation.agreement import Agreement, RecordPrivacy
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
AGREEMENT = Agreement(
    run="r",
    rounds=4,
    seed=1,
    task=TaskChoice(name="heart"),
    federation=FederationRules(sites=SITES, quorum=4, threshold=3),
    cohorts={},
    public_rows=dict.fromkeys(SITES, 100),
    training=Training(),
    server=ServerOptimizer(),
    privacy=RecordPrivacy(noise_multiplier=1.0, delta=1e-2, max_grad_norm=1.0, target_epsilon=None),
    evaluation=EvaluationRules(minimum_contributors=4),
)


def check(policy: dict | None = None, **agreement: object) -> None:
    check_agreement(
        POLICY.model_copy(update=policy or {}),
        frozenset(SITES),
        AGREEMENT.model_copy(update=agreement),
    )


def test_an_agreement_at_every_floor_is_accepted() -> None:
    check()


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


def test_training_without_privacy_needs_the_sites_word() -> None:
    check({"allow_without_privacy": True}, privacy=None)
