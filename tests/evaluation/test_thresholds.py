"""Thresholds from histograms against fairlearn's ThresholdOptimizer on the rows themselves."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from fairlearn.postprocessing import ThresholdOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from evaluation.group_metrics import false_positive_rate, selection_rate, true_positive_rate
from evaluation.mitigation.figures import figures
from evaluation.mitigation.threshold_table import confusion_at
from evaluation.mitigation.thresholds import (
    ALIKE,
    GroupThresholds,
    cross_fitted,
    expected_confusions,
    threshold_outcomes,
    threshold_rules,
)
from federation.errors import DataError
from federation.task import SiteRequest
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.heart import HeartTask

THEIRS = {
    "demographic_parity": "demographic_parity",
    "equal_opportunity": "true_positive_rate_parity",
    "false_positive_rate_parity": "false_positive_rate_parity",
    "equalized_odds": "equalized_odds",
}
RATES = {
    "true_positive_rate": true_positive_rate,
    "false_positive_rate": false_positive_rate,
    "selection_rate": selection_rate,
}
GAPS = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
)


class GivenScores(ClassifierMixin, BaseEstimator):
    """A fitted estimator whose scores are its inputs."""

    def fit(self, *_):
        return self

    def predict_proba(self, rows):
        positive = np.asarray(rows)[:, 0]
        return np.stack([1 - positive, positive], axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


@cache
def real_rows(records: str, attribute: str):
    """Labels, group names and a model's scores on real records."""
    task = AcsEmploymentTask(hidden=(), regions=3) if records == "acs" else HeartTask()
    parts = [task.load(SiteRequest(site, 7)) for site in task.sites]
    held_out = [rows for part in parts for rows in (part.reference, part.current)]
    # Solved to the end: where a descent stops short, threads decide what the last steps come to.
    model = LogisticRegression(solver="newton-cholesky", tol=1e-6)
    model.fit(
        np.concatenate([part.train.inputs.double().numpy() for part in parts]),
        np.concatenate([part.train.targets.numpy() for part in parts]),
    )
    (groups,) = (one.groups for one in task.schema.attributes if one.name == attribute)
    return (
        np.concatenate([rows.targets.numpy() for rows in held_out]),
        np.array(groups)[np.concatenate([rows.groups[attribute] for rows in held_out])],
        model.predict_proba(np.concatenate([r.inputs.double().numpy() for r in held_out]))[:, 1],
    )


def histograms(labels, groups, scores, bins: int):
    where = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return {
        str(name): np.stack(
            [np.bincount(where[(groups == name) & (labels == y)], minlength=bins) for y in (0, 1)]
        )
        for name in np.unique(groups)
    }


def expected_on_rows(labels, groups, chances):
    """TN, FP, FN, TP per group of decisions with these probabilities."""
    return np.array([
        [
            np.sum((1 - chances)[inside & (labels == 0)]), np.sum(chances[inside & (labels == 0)]),
            np.sum((1 - chances)[inside & (labels == 1)]), np.sum(chances[inside & (labels == 1)]),
        ]
        for name in np.unique(groups)
        for inside in [groups == name]
    ])  # fmt: skip


def fairlearns(labels, groups, scores, criterion: str):
    rows = pd.DataFrame({"score": scores})
    theirs = ThresholdOptimizer(
        estimator=GivenScores(), constraints=THEIRS[criterion], prefit=True,
        predict_method="predict_proba",
    )  # fmt: skip
    theirs.fit(rows, labels, sensitive_features=groups)
    return theirs._pmf_predict(rows, sensitive_features=groups)[:, 1]


@pytest.mark.parametrize("criterion", THEIRS)
@pytest.mark.parametrize(
    ("attribute", "accuracy", "gap"),
    [
        ("sex", 0.002, 0.009),
        ("race", 0.002, 0.009),
        # 306 positives with a disability: on so few rows fairlearn fits what bins cannot see.
        ("disability", 0.003, 0.015),
    ],
)
def test_100_bins_do_what_fairlearn_does_on_the_rows(attribute, accuracy, gap, criterion) -> None:
    labels, groups, scores = real_rows("acs", attribute)
    tables = histograms(labels, groups, scores, 100)
    thresholds = threshold_rules(tables, criterion, attribute)
    ours = figures(expected_on_rows(labels, groups, thresholds.probability(scores, groups)))
    theirs = figures(
        expected_on_rows(labels, groups, fairlearns(labels, groups, scores, criterion))
    )
    assert abs(ours.accuracy - theirs.accuracy) <= accuracy
    for name in GAPS:
        assert abs(getattr(ours.gaps, name) - getattr(theirs.gaps, name)) <= gap
    # What is expected from the histograms is what the rule does to the rows behind them.
    from_counts = figures(expected_confusions(thresholds, tables))
    assert from_counts.accuracy == pytest.approx(ours.accuracy, abs=1e-12)
    for name in GAPS:
        assert getattr(from_counts.gaps, name) == pytest.approx(getattr(ours.gaps, name), abs=1e-12)


tables_of_two = st.integers(2, 12).flatmap(
    lambda bins: st.lists(
        st.lists(st.integers(0, 30), min_size=2 * bins, max_size=2 * bins), min_size=2, max_size=3
    ).map(lambda groups: [np.array(one).reshape(2, bins) for one in groups])
)


@settings(deadline=None, max_examples=25)
@given(tables_of_two, st.sampled_from(sorted(THEIRS)))
def test_of_rows_at_bin_centres_it_is_fairlearns_own_result(tables, criterion: str) -> None:
    for table in tables:
        table[:, 0] += 1  # both labels occur
    bins = tables[0].shape[1]
    by_name = {f"g{place}": table for place, table in enumerate(tables)}
    rows = [
        (label, name, (bin_ + 0.5) / bins)
        for name, table in by_name.items()
        for (label, bin_), count in np.ndenumerate(table)
        for _ in range(count)
    ]
    labels, groups, scores = (np.array(column) for column in zip(*rows, strict=True))
    thresholds = threshold_rules(by_name, criterion, "sex")
    ours = expected_confusions(thresholds, by_name)
    theirs = expected_on_rows(labels, groups, fairlearns(labels, groups, scores, criterion))
    # Other rules may be as good, where rows are few; none is better or worse.
    assert figures(ours).accuracy == pytest.approx(figures(theirs).accuracy, abs=1e-9)
    odds = ("true_positive_rate", "false_positive_rate")
    for rate in odds if criterion == "equalized_odds" else (ALIKE[criterion],):
        by_group = RATES[rate](ours)
        np.testing.assert_allclose(by_group, by_group[0], atol=1e-9)


@pytest.mark.parametrize("criterion", THEIRS)
def test_the_rate_that_was_named_is_alike_and_what_it_costs_is_shown(criterion) -> None:
    labels, groups, scores = real_rows("acs", "disability")
    tables = histograms(labels, groups, scores, 100)
    confusions = {name: confusion_at(table, 50) for name, table in tables.items()}
    outcomes = {one.criterion: one for one in threshold_outcomes(tables, confusions, "disability")}
    mine = outcomes[criterion]
    before, after = mine.before, mine.after
    assert mine.rows == len(labels)
    assert before.gaps.demographic_parity_difference > 0.3
    named = {
        "demographic_parity": "demographic_parity_difference",
        "equal_opportunity": "equal_opportunity_difference",
        "equalized_odds": "equalized_odds_difference",
    }.get(criterion)
    if named:
        assert getattr(after.gaps, named) < 1e-6
    if criterion == "demographic_parity":  # they conflict: parity leaves odds apart
        assert after.gaps.equalized_odds_difference > 0.05
    assert after.accuracy <= before.accuracy + 1e-9 or criterion != "demographic_parity"
    # Rules that were not fitted on the rows are nearly as good on so many of them.
    assert mine.cross_fitted is not None
    assert abs(mine.cross_fitted.accuracy - after.accuracy) < 0.01
    if named:
        assert getattr(mine.cross_fitted.gaps, named) < 0.05


def test_on_few_rows_the_fitted_rules_flatter_themselves() -> None:
    tables = histograms(*real_rows("heart", "sex"), 100)
    flattered = figures(
        expected_confusions(threshold_rules(tables, "equalized_odds", "sex"), tables)
    )
    honest = cross_fitted(tables, "equalized_odds", "sex")
    assert flattered.gaps.equalized_odds_difference < 1e-6
    assert honest.gaps.equalized_odds_difference > 0.01
    assert honest == cross_fitted(tables, "equalized_odds", "sex")


def test_a_saved_rule_decides_as_it_did() -> None:
    labels, groups, scores = real_rows("heart", "sex")
    thresholds = threshold_rules(
        histograms(labels, groups, scores, 100), "equalized_odds", "sex", "ab" * 32
    )
    again = GroupThresholds.from_json(thresholds.to_json())
    assert again == thresholds
    uniform = np.random.default_rng(1).random(len(scores))
    np.testing.assert_array_equal(
        again.apply(scores, groups, uniform), thresholds.apply(scores, groups, uniform)
    )


def test_decisions_come_as_often_as_the_rule_says_and_never_against_certainty() -> None:
    labels, groups, scores = real_rows("acs", "disability")
    thresholds = threshold_rules(
        histograms(labels, groups, scores, 50), "equalized_odds", "disability"
    )
    chances = thresholds.probability(scores, groups)
    assert np.any((chances > 0) & (chances < 1))
    chosen = thresholds.apply(scores, groups, np.random.default_rng(5).random(len(scores)))
    deviation = np.sqrt(np.sum(chances * (1 - chances)))
    assert abs(chosen.sum() - chances.sum()) < 5 * deviation
    assert not chosen[chances == 0].any()
    assert chosen[chances == 1].all()


def test_a_row_of_no_group_with_a_rule_is_decided_as_the_model_decides() -> None:
    tables = {"F": np.array([[5, 3], [1, 4]]), "M": np.array([[4, 4], [2, 9]])}
    thresholds = threshold_rules(tables, "demographic_parity", "sex")
    chances = thresholds.probability(np.array([0.49, 0.5]), ["unknown", "unknown"])
    np.testing.assert_array_equal(chances, [0.0, 1.0])


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"F": np.ones((2, 4), int)}, "two groups"),
        ({"F": np.ones((2, 4), int), "M": np.ones((2, 5), int)}, "same score bins"),
        ({"F": np.ones((2, 4), int), "M": np.array([[1] * 4, [0] * 4])}, "M has no positive"),
        ({"F": np.ones((2, 4), int), "M": np.array([[-3] * 4, [1] * 4])}, "M has no positive or n"),
    ],
)
def test_what_cannot_be_made_alike_is_refused(tables, told: str) -> None:
    with pytest.raises(DataError, match=told):
        threshold_rules(tables, "demographic_parity", "sex")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score_bins": 3}, "a cut outside"),
        ({"rules": []}, None),
        ({"otherwise": 1.5}, "otherwise"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_was_changed_is_refused(change, told) -> None:
    thresholds = threshold_rules(
        {"F": np.array([[9, 5, 3, 2], [1, 4, 4, 8]]), "M": np.array([[4, 4, 1, 1], [2, 9, 1, 0]])},
        "demographic_parity", "sex",
    )  # fmt: skip

    text = json.dumps(json.loads(thresholds.to_json()) | change)
    if told is None:
        assert GroupThresholds.from_json(text).rules == ()
        return
    with pytest.raises(DataError, match=told):
        GroupThresholds.from_json(text)


@pytest.mark.parametrize(
    ("score", "uniform"), [([0.5, 1.1], [0.1, 0.1]), ([0.5, 0.6], [0.1, 1.0]), ([0.5, 0.6], [0.1])]
)
def test_scores_and_draws_out_of_range_are_refused(score, uniform) -> None:
    tables = {"F": np.array([[5, 3], [1, 4]]), "M": np.array([[4, 4], [2, 9]])}
    thresholds = threshold_rules(tables, "demographic_parity", "sex")
    with pytest.raises(DataError, match="expected"):
        thresholds.apply(np.array(score), ["F", "M"], np.array(uniform))
