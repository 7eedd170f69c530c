"""Random groups: every site in one, of sizes as agreed, the same at every side, nobody's choice."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_consortium import signed_rules
from test_agreement import POLICY, agreement

from client.consent import Refusal, check_agreement
from federation import config_file
from federation.config import (
    FederationRules,
    Robustness,
    group_quorum,
    group_sizes,
    group_threshold,
    usual_quorum,
    usual_threshold,
)
from federation.errors import ConfigError
from federation.layout import count_segment
from federation.round_layout import UPDATE, training_layout
from federation.sum_groups import smallest_sum_group, sum_group_of, sum_groups
from privacy.secure_sum.terms import tolerated_colluders

SITES = tuple(f"s{number:02d}" for number in range(14))
RULES = FederationRules(sites=SITES, quorum=usual_quorum(14), threshold=usual_threshold(14))
MEDIAN = Robustness(aggregate="median", groups=4)


def grouped(**changes: object):
    base = {
        "federation": RULES,
        "cohorts": {},
        "public_rows": dict.fromkeys(SITES, 100),
        "robustness": MEDIAN,
    }
    return agreement(**(base | changes))


@pytest.mark.parametrize("round_", [1, 2, 3, 4])
def test_every_site_is_in_one_group_of_its_round(round_: int) -> None:
    groups = sum_groups(grouped(), round_)
    assert [len(group.sites) for group in groups] == [4, 4, 3, 3]
    assert sorted(site for group in groups for site in group.sites) == list(SITES)
    for site in SITES:
        assert site in sum_group_of(grouped(), round_, site).sites


def test_the_draw_is_that_of_agreement_and_round_alone() -> None:
    assert sum_groups(grouped(), 1) == sum_groups(grouped(), 1)
    assert sum_groups(grouped(), 1) != sum_groups(grouped(), 2)
    assert sum_groups(grouped(), 1) != sum_groups(grouped(seed=2), 1)
    # The same settings under another name are to give the same model.
    assert sum_groups(grouped(), 1) == sum_groups(grouped(run="another"), 1)


def test_the_draw_favours_no_pair_of_sites() -> None:
    rounds = 400
    many = grouped(rounds=rounds)
    together = Counter(
        (a, b)
        for round_ in range(1, rounds + 1)
        for group in sum_groups(many, round_)
        for a in group.sites
        for b in group.sites
        if a < b
    )
    expected = rounds * (2 * 6 + 2 * 3) / (14 * 13 / 2)
    # Five standard deviations of a binomial count; the draw is fixed, so this cannot flicker.
    spread = 5 * (expected * (1 - expected / rounds)) ** 0.5
    assert len(together) == 14 * 13 // 2
    assert all(abs(count - expected) < spread for count in together.values())


def test_an_evaluation_is_one_sum_over_all_sites() -> None:
    everyone = ((SITES, RULES.quorum, RULES.threshold),)
    assert [(g.sites, g.quorum, g.threshold) for g in sum_groups(grouped(), 5)] == list(everyone)
    without = grouped(robustness=Robustness())
    assert sum_groups(without, 1) == sum_groups(grouped(), 5)


@given(st.integers(9, 200), st.data())
def test_every_group_can_hold_a_session(sites: int, data) -> None:
    names = tuple(str(number) for number in range(sites))
    groups = data.draw(st.integers(3, sites // 3))
    quorum = data.draw(st.integers(max(3, (sites + 1) // 2 + 1), sites))
    threshold = data.draw(st.integers(2, quorum))
    rules = FederationRules(sites=names, quorum=quorum, threshold=threshold)
    sizes = group_sizes(sites, groups)
    assert (sum(sizes), len(sizes), sizes[0] - sizes[-1] <= 1) == (sites, groups, True)
    for size in sizes:
        q, t = group_quorum(rules, size), group_threshold(rules, size)
        assert 3 <= q <= size
        assert 2 <= t <= q
        assert tolerated_colluders(t, q, size) >= 1
        assert q * sites >= quorum * size


@pytest.mark.parametrize("sites", range(9, 40))
def test_usual_rules_of_a_federation_are_about_those_of_its_groups(sites: int) -> None:
    names = tuple(str(number) for number in range(sites))
    rules = FederationRules(
        sites=names, quorum=usual_quorum(sites), threshold=usual_threshold(sites)
    )
    for size in group_sizes(sites, 3):
        assert usual_quorum(size) <= group_quorum(rules, size) <= usual_quorum(size) + 1
        assert abs(group_threshold(rules, size) - usual_threshold(size)) <= 1


def test_a_training_round_in_groups_carries_no_count_of_held_out_rows() -> None:
    """Sums over ever other sites could be solved for counts that stay the same."""
    tally = count_segment("rows", 1, 100, 14)
    together = training_layout(grouped(robustness=Robustness()), 5, (tally,))
    apart = training_layout(grouped(), 5, (tally,))
    assert {s.name for s in together.segments} - {s.name for s in apart.segments} == {
        "overall/rows"
    }
    assert UPDATE in {s.name for s in apart.segments}


@pytest.mark.parametrize(
    ("rule", "tolerated", "fewest"),
    [
        (Robustness(), 0, 3),
        (Robustness(aggregate="median", groups=3), 1, 3),
        (Robustness(aggregate="median", groups=4), 1, 3),
        (Robustness(aggregate="median", groups=7), 3, 4),
        (Robustness(aggregate="trimmed_mean", groups=5, trim=0.2), 1, 3),
        (Robustness(aggregate="trimmed_mean", groups=5, trim=0.4), 2, 5),
        (Robustness(aggregate="trimmed_mean", groups=10, trim=0.2), 2, 6),
    ],
)
def test_how_many_malicious_sites_are_tolerated(rule: Robustness, tolerated, fewest) -> None:
    assert (rule.tolerated, rule.fewest_groups) == (tolerated, fewest)


TABLE = {"federation": {"sites": list(SITES)}, "robustness": {"aggregate": "median", "groups": 4}}


def test_what_suits_the_sites_is_accepted() -> None:
    assert config_file.parse(TABLE).robustness == MEDIAN


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("robustness.groups=5", "robustness.groups"),
        ("robustness.groups=2", "robustness.groups"),
        ("robustness.aggregate=mean", "robustness.groups"),
        ("site_policy.minimum_quorum=4", "robustness.groups"),
        ("site_policy.minimum_threshold=3", "robustness.groups"),
        ('cohorts={a=["s00","s01","s02"]}', "cohorts"),
        ('simulation.attackers=[{site="nobody"}]', "simulation.attackers.site"),
        ('simulation.attackers=[{site="s00"},{site="s00"}]', "simulation.attackers.site"),
    ],
)
def test_what_is_impossible_together_is_refused(override: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_file.parse(TABLE, [override])
    assert refused.value.key == key


def test_a_trim_that_trims_nothing_is_refused() -> None:
    table = TABLE | {"robustness": {"aggregate": "trimmed_mean", "groups": 4, "trim": 0.2}}
    with pytest.raises(ConfigError) as refused:
        config_file.parse(table)
    assert refused.value.key == "robustness.trim"
    assert config_file.parse(table, ["robustness.trim=0.25"]).robustness.trimmed == 1


def asked(**changes: object):
    return POLICY.model_copy(update={"site": "s00", "public_rows": 100, "tasks": ("heart",)}
                             | changes)  # fmt: skip


def consent(policy, proposed) -> None:
    """Of a site that holds the sample run rules, and knows all sites."""
    signed = signed_rules()
    named = proposed.model_copy(update={"rules_digest": signed.digest()})
    check_agreement(policy, signed, frozenset(SITES), named)


def test_a_site_measures_its_floors_by_the_smallest_group() -> None:
    smallest = smallest_sum_group(grouped())
    assert (len(smallest.sites), smallest.quorum, smallest.threshold) == (3, 3, 2)
    allowed = grouped(privacy=None)
    policy = asked(allow_without_privacy=True)
    consent(policy, allowed)
    for floor, code in (
        ({"minimum_quorum": 4}, "quorum_too_small"),
        ({"minimum_threshold": 3}, "threshold_too_small"),
    ):
        with pytest.raises(Refusal) as refused:
            consent(policy.model_copy(update=floor), allowed)
        assert refused.value.code == code
        whole = allowed.model_copy(update={"robustness": Robustness()})
        consent(policy.model_copy(update=floor), whole)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"robustness": Robustness(aggregate="median", groups=5)}, "groups_too_small"),
        ({"robustness": Robustness(aggregate="median", groups=20)}, "groups_too_small"),
        ({"cohorts": {"a": SITES}}, "groups_impossible"),
    ],
)
def test_a_site_refuses_groups_that_no_config_would_ask_for(changes: dict, code: str) -> None:
    policy = asked(allow_without_privacy=True)
    with pytest.raises(Refusal) as refused:
        consent(policy, grouped(privacy=None, **changes))
    assert refused.value.code == code
