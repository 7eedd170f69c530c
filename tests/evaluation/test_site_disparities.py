"""Each site's own gap, as a histogram over sites: what the pooled gap can hide."""

import numpy as np
import pytest

from evaluation.group_metrics import demographic_parity_difference
from evaluation.site_disparities import count_site_gaps, site_disparities_by_scope
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import TallySpec
from evaluation.tally_sums import TallySums
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
SPEC = TallySpec(TaskSchema((), "died", ("no", "yes"), (SEX,), maximum_rows=5_000))
MULTI = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,), maximum_rows=5_000))
PARITY = "site_gaps/sex/demographic_parity_difference"
ODDS = "site_gaps/sex/equalized_odds_difference"
OPPORTUNITY = "site_gaps/sex/equal_opportunity_difference"
ACCURACY = "site_gaps/sex/accuracy_difference"


def outcomes(confusion):
    """Tallies of a site whose F and M have these TN, FP, FN, TP."""
    rows = [
        (sex, truth, predicted)
        for sex, counts in enumerate(confusion)
        for (truth, predicted), n in zip(((0, 0), (0, 1), (1, 0), (1, 1)), counts, strict=True)
        for _ in range(n)
    ]
    sex, truth, predicted = np.array(rows, dtype=int).reshape(-1, 3).T
    score = np.where(predicted == 1, 0.9, 0.1)
    return count_outcomes(SPEC, np.stack([1 - score, score], axis=1), truth, {"sex": sex})


def voted(confusion):
    votes = count_site_gaps(SPEC, outcomes(confusion))
    assert all(vote.sum() == 1 and len(vote) == 7 for vote in votes.values())
    return {name: int(np.argmax(vote)) for name, vote in votes.items()}


def summed(sites):
    own = [outcomes(site) for site in sites]
    whole = [tallies | count_site_gaps(SPEC, tallies) for tallies in own]
    return {name: np.sum([each[name] for each in whole], axis=0) for name in whole[0]}


def test_a_site_votes_for_the_bucket_of_each_of_its_gaps() -> None:
    # Selected: 50 of 100 and 62 of 100; TPR 40/50 and 46/50; FPR 10/50 and 16/50.
    assert voted([(40, 10, 10, 40), (34, 16, 4, 46)]) == {
        PARITY: 3, ODDS: 3, OPPORTUNITY: 3, ACCURACY: 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("selected", "bucket"),
    [(500, 0), (519, 0), (521, 1), (549, 1), (551, 2), (601, 3), (701, 4), (1000, 5)],
)
def test_buckets_are_closed_below(selected, bucket) -> None:
    assert voted([(500, 500, 0, 0), (1000 - selected, selected, 0, 0)])[PARITY] == bucket


def test_a_gap_of_everything_is_in_the_last_bucket_and_none_in_the_first() -> None:
    assert voted([(0, 50, 0, 0), (50, 0, 0, 0)])[PARITY] == 5
    assert voted([(25, 25, 0, 0), (25, 25, 0, 0)])[PARITY] == 0


@pytest.mark.parametrize(("positives", "place"), [(20, 0), (19, 6)])
def test_a_denominator_needs_twenty_rows(positives, place) -> None:
    votes = voted([(30, 0, 0, 40), (30, 0, 0, positives)])
    assert votes[OPPORTUNITY] == votes[ODDS] == place
    assert votes[PARITY] != 6
    assert voted([(19, 0, 0, 0), (30, 0, 0, 0)])[PARITY] == 6


def test_a_site_without_rows_cannot_tell() -> None:
    assert set(voted([(0, 0, 0, 0), (0, 0, 0, 0)]).values()) == {6}


def test_sites_unfair_in_opposite_directions_are_seen_where_the_pooled_gap_is_none() -> None:
    women, men = (20, 60, 5, 15), (60, 20, 15, 5)
    sums = summed([(women, men), (men, women)] * 3)
    family = SPEC.families[0]
    pooled = demographic_parity_difference(TallySums(SPEC, sums).outcomes(family)[:2])
    assert pooled == 0
    parity = site_disparities_by_scope(SPEC, {"overall": sums}, 3)["overall"][0]
    assert (parity.metric, parity.sites) == ("demographic_parity_difference", 6)
    assert parity.counts == (0, 0, 0, 0, 0, 6)
    assert parity.edges == (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


def test_classes_compare_accuracy_alone() -> None:
    rng = np.random.default_rng(0)
    targets, sex = rng.integers(0, 3, 300), np.repeat([0, 1], 150)
    guess = np.where(sex == 0, targets, (targets + 1) % 3)
    tallies = count_outcomes(MULTI, np.eye(3)[guess], targets, {"sex": sex})
    votes = count_site_gaps(MULTI, tallies)
    assert list(votes) == [ACCURACY]
    assert np.argmax(votes[ACCURACY]) == 5


FAIR = ((40, 10, 10, 40), (40, 10, 10, 40))


@pytest.mark.parametrize(
    ("cohorts", "withheld"),
    [
        ({}, {"overall": False}),
        ({"overall": 2}, {"overall": True}),
        ({"overall": 10, "north": 5}, {"overall": False, "north": False}),
        (
            {"overall": 10, "north": 5, "south": 5},
            dict.fromkeys(("overall", "north", "south"), False),
        ),
        # Two sites outside the cohort would follow.
        ({"overall": 10, "north": 8}, {"overall": False, "north": True}),
        # South lost sites; so north, the smaller one that is shown, goes too, and east may stay.
        (
            {"overall": 12, "south": 2, "east": 6, "north": 4},
            {"overall": False, "south": True, "east": False, "north": True},
        ),
        ({"overall": 8, "south": 0, "north": 8}, {"overall": False, "south": True, "north": False}),
    ],
)
def test_no_fewer_sites_than_agreed_can_be_told_apart(cohorts, withheld) -> None:
    sums = {scope: summed([FAIR] * sites) if sites else zeros() for scope, sites in cohorts.items()}
    sums = sums or {"overall": summed([FAIR] * 3)}
    found = site_disparities_by_scope(SPEC, sums, 3)
    assert {scope: bool(own[0].withheld) for scope, own in found.items()} == withheld
    for own in found.values():
        for each in own:
            assert (each.sites == 0) == (each.counts == ()) == bool(each.withheld)
            assert each.scope in sums


def zeros():
    return {name: np.zeros_like(values) for name, values in summed([FAIR]).items()}


def test_a_task_without_attributes_has_nothing_to_compare() -> None:
    plain = TallySpec(TaskSchema((), "died", ("no", "yes")))
    assert count_site_gaps(plain, {}) == {}
    assert site_disparities_by_scope(plain, {"overall": {}}, 3) == {"overall": ()}
