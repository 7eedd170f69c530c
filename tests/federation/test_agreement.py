"""Agreement, policy and round layout: what is agreed is what is bound."""

import pytest

from federation.agreement import Agreement, RecordPrivacy
from federation.config import (
    EvaluationRules,
    FederationRules,
    ServerOptimizer,
    TaskChoice,
    Training,
)
from federation.errors import ConfigError, ProtocolViolation, UsageError
from federation.layout import count_segment
from federation.round_layout import RoundKind, evaluation_layout, training_layout
from federation.round_messages import Invitation, Work
from federation.site_policy import SitePolicy

SITES = ("a", "b", "c", "d", "e", "f", "g")
POLICY = SitePolicy(
    split_seed=7, site="a", dataset="d", public_rows=9, tasks=("t",), epsilon_budget=1.0, delta=0.1
)


def agreement(**changes: object) -> Agreement:
    base = Agreement(
        run="r",
        rules_digest="ab" * 32,
        rounds=4,
        seed=1,
        task=TaskChoice(),
        federation=FederationRules(sites=SITES, quorum=6),
        cohorts={"north": ("b", "a", "c"), "south": ("d", "e", "f", "g")},
        public_rows=dict.fromkeys(SITES, 100),
        training=Training(),
        server=ServerOptimizer(),
        privacy=RecordPrivacy(
            noise_multiplier=1.0, delta=1e-3, max_grad_norm=1.0, target_epsilon=None
        ),
        site_level=None,
        evaluation=EvaluationRules(),
    )
    return base.model_copy(update=changes)


def test_an_agreement_travels_unchanged() -> None:
    assert Agreement.from_bytes(agreement().to_bytes()) == agreement()
    assert Agreement.from_bytes(agreement().to_bytes()).digest() == agreement().digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "other"},
        {"rules_digest": "cd" * 32},
        {"rounds": 5},
        {"seed": 2},
        {"privacy": None},
        {"training": Training(local_steps=4)},
        {"federation": FederationRules(sites=SITES, quorum=7)},
        {"public_rows": dict.fromkeys(SITES, 101)},
        {"cohorts": {}},
    ],
)
def test_the_digest_binds_every_setting(changes: dict) -> None:
    assert agreement(**changes).digest() != agreement().digest()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"run": 1}'])
def test_what_is_no_agreement_is_refused_by_field(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^agreement\."):
        Agreement.from_bytes(data)


def test_cohorts_and_the_rest_are_disjoint_groups() -> None:
    assert agreement().groups == (("a", "b", "c"), ("d", "e", "f", "g"))
    assert agreement(cohorts={"north": ("a", "b", "c")}).groups == (
        ("a", "b", "c"),
        ("d", "e", "f", "g"),
    )
    assert agreement(cohorts={}).groups == ()
    assert agreement().scopes("a") == ("overall", "north")
    assert agreement(cohorts={}).scopes("a") == ("overall",)


def test_only_without_privacy_does_a_training_loss_leave() -> None:
    tallies = (count_segment("rows", 1, 10, 4),)
    with_dp = [s.name for s in training_layout(agreement(), 5, tallies).segments]
    without = [s.name for s in training_layout(agreement(privacy=None), 5, tallies).segments]
    assert set(without) - set(with_dp) == {"training/loss"}
    assert {"overall/rows", "north/rows", "south/rows", "update", "weight"} <= set(with_dp)


def test_an_evaluation_round_carries_no_update() -> None:
    layout = evaluation_layout(
        agreement(cohorts={}),
        (count_segment("rows", 1, 10, 4),),
        (count_segment("window", 2, 10, 4),),
    )
    assert [s.name for s in layout.segments] == ["overall/rows", "overall/window"]


def test_a_missing_policy_is_a_usage_error(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot read the site policy"):
        SitePolicy.read(tmp_path / "site.toml")


def test_a_policy_reads_back_readable_by_its_owner_alone(tmp_path) -> None:
    POLICY.write(tmp_path / "site.toml")
    assert SitePolicy.read(tmp_path / "site.toml") == POLICY
    assert (tmp_path / "site.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        (
            'site="a"\ndataset="d"\npublic_rows=1\ntasks=[]\nsplit_seed=1\ndelta=0.1',
            ConfigError,
            r"site\.toml: epsilon_budget = None: expected a number > 0 \(only a site with allow",
        ),
        (
            'site="a"\ndataset="d"\npublic_rows=1\ntasks=[]\nsplit_seed=1\ndelta=0.1\n'
            'allow_without_privacy="yes"',
            ConfigError,
            "site.toml: allow_without_privacy = 'yes': expected true or false",
        ),
        ("site = ", UsageError, "not valid TOML"),
        ("sites = 1", ConfigError, r"site\.toml: sites = 1: expected no such key.* mean site\?"),
        (
            'site = "a"\ndataset = "d"\npublic_rows = 0\ntasks = []\ndelta = 0.1',
            ConfigError,
            "public_rows",
        ),
        (
            'site="a"\ndataset="d"\npublic_rows=1\ntasks=[]\nsplit_seed=1\ndelta=0.1\nminimum_quorum=2',
            ConfigError,
            "minimum_quorum",
        ),
    ],
)
def test_a_wrong_policy_names_the_key(tmp_path, text: str, error: type, named: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(error, match=named):
        SitePolicy.read(tmp_path / "site.toml")


def test_round_bodies_travel_unchanged_and_refuse_what_is_malformed() -> None:
    invitation = Invitation(
        kind=RoundKind.TRAIN,
        agreement_digest="0" * 64,
        layout_digest="2" * 64,
    )
    assert Invitation.from_bytes(invitation.to_bytes()) == invitation
    with pytest.raises(ProtocolViolation, match=r"Invitation\.kind"):
        Invitation.from_bytes(invitation.to_bytes().replace(b'"train"', b'"steal"'))
    assert Work.from_bytes(Work(b"model", b"sealed").to_bytes()) == Work(b"model", b"sealed")
    for bad in (b"", b"\x00" * 7, b"\x00" * 7 + b"\x05abcd"):
        with pytest.raises(ProtocolViolation, match="shorter than its model"):
            Work.from_bytes(bad)
