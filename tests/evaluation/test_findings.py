"""From sites' rows through the ring to the summary: what a reader is told, and what is withheld."""

import numpy as np
import pytest
from fairlearn import metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from evaluation import fairlearn_compat, findings
from evaluation.tallies import count_features, count_outcomes
from evaluation.tally_spec import TallySpec
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("-59", "60+"))
FEATURES = (Numeric("bmi", 10.0, 50.0), Categorical("ward", ("A", "B")))
BINARY = TallySpec(
    TaskSchema(FEATURES, "died", ("no", "yes"), (SEX, AGE), maximum_rows=5_000),
    intersections=(("sex", "age"),),
)
MULTI = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,), maximum_rows=5_000))
PLAIN = TallySpec(TaskSchema((), "died", ("no", "yes")))


class Population:
    """Rows of several sites and the sum that a coordinator decodes."""

    def __init__(self, spec, rows, seed=0, *, unknown=0.05, sites=4):
        rng = np.random.default_rng(seed)
        classes = len(spec.schema.classes)
        self.spec, self.sites = spec, sites
        self.targets = rng.integers(0, classes, rows)
        logits = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[self.targets]
        self.probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        share = [(1 - unknown) * 0.3, (1 - unknown) * 0.7, unknown]
        self.groups = {a.name: rng.choice(3, rows, p=share) for a in spec.schema.attributes}
        self.site_of = rng.integers(0, sites, rows)

    def sums(self, sites=None):
        sites = range(self.sites) if sites is None else sites
        layout = VectorLayout(self.spec.segments(self.sites), self.sites)
        words = RingVector.zeros(layout.stretches)
        for site in sites:
            here = self.site_of == site
            groups = {name: codes[here] for name, codes in self.groups.items()}
            counted = count_outcomes(
                self.spec, self.probabilities[here], self.targets[here], groups
            )
            words.add(layout.encode(counted))
        return layout.decode(words)

    @property
    def predicted(self):
        return (self.probabilities[:, 1] >= 0.5).astype(int)


def rates_of(fairness, attribute, group):
    return next(g for g in fairness.groups if (g.attribute, g.group) == (attribute, group))


def gap_of(fairness, attribute, metric):
    return next(d for d in fairness.disparities if (d.attribute, d.metric) == (attribute, metric))


@given(st.integers(2, 300), st.integers(0, 1000))
@settings(max_examples=40)
def test_utility_is_sklearns_on_the_pooled_rows(rows, seed) -> None:
    one = Population(BINARY, rows, seed)
    found = findings.utility(BINARY, one.sums())
    y, score = one.targets, one.probabilities[:, 1]
    assert found.rows == rows
    assert found.accuracy.value == accuracy_score(y, one.predicted)
    assert found.accuracy.low < found.accuracy.high
    assert found.log_loss == pytest.approx(log_loss(y, one.probabilities, labels=[0, 1]), abs=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(y, score, pos_label=1), abs=1e-6)
    if len(set(y.tolist())) == 2:
        assert found.balanced_accuracy == balanced_accuracy_score(y, one.predicted)
        assert found.auc.kind == "exact_bounds"
        assert found.auc.low - 1e-12 <= roc_auc_score(y, score) <= found.auc.high + 1e-12


def test_utility_of_more_classes_is_sklearns_on_the_pooled_rows() -> None:
    one = Population(MULTI, 900)
    found = findings.utility(MULTI, one.sums())
    y, predicted = one.targets, np.argmax(one.probabilities, axis=1)
    assert found.accuracy.value == accuracy_score(y, predicted)
    assert found.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(y, predicted), abs=1e-12
    )
    assert found.log_loss == pytest.approx(log_loss(y, one.probabilities), abs=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(y, one.probabilities), abs=1e-6)
    exact = roc_auc_score(y, one.probabilities, multi_class="ovr", average="macro")
    assert found.auc.low <= exact <= found.auc.high
    assert found.auc.high - found.auc.low < 0.02


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
def test_utility_of_no_rows_says_so(spec) -> None:
    sums = Population(spec, 0).sums()
    for found in (findings.utility(spec, sums), findings.majority_baseline(spec, sums)):
        assert (found.rows, found.balanced_accuracy, found.log_loss, found.brier) == (
            0, None, None, None,
        )  # fmt: skip
        assert (found.accuracy.value, found.accuracy.reason) == (None, "no held-out rows")
        assert (found.auc.value, found.auc.reason) == (None, "not every class occurs")


def test_a_class_that_does_not_occur_leaves_no_auc_but_a_balanced_accuracy() -> None:
    one = Population(MULTI, 100)
    one.targets[one.targets == 2] = 1
    found = findings.utility(MULTI, one.sums())
    recalls = [np.mean(np.argmax(one.probabilities, axis=1)[one.targets == c] == c) for c in (0, 1)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert found.auc.reason == "not every class occurs"


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
def test_majority_baseline_is_sklearns_dummy_with_the_prior(spec) -> None:
    one = Population(spec, 501)
    found = findings.majority_baseline(spec, one.sums())
    y, nothing = one.targets, np.zeros((501, 1))
    dummy = DummyClassifier(strategy="prior").fit(nothing, y)
    prior = dummy.predict_proba(nothing)
    assert found.accuracy.value == accuracy_score(y, dummy.predict(nothing))
    assert found.balanced_accuracy == balanced_accuracy_score(y, dummy.predict(nothing))
    assert found.log_loss == pytest.approx(log_loss(y, prior), rel=1e-12)
    scores = prior[:, 1] if spec is BINARY else prior
    assert found.brier == pytest.approx(brier_score_loss(y, scores), rel=1e-12)
    assert (found.auc.low, found.auc.value, found.auc.high) == (0.5, 0.5, 0.5)


def test_majority_baseline_of_one_class_is_always_right() -> None:
    one = Population(BINARY, 40)
    one.targets[:] = 1
    found = findings.majority_baseline(BINARY, one.sums())
    assert (found.accuracy.value, found.log_loss, found.brier) == (1, 0, 0)
    assert (found.balanced_accuracy, found.auc.value) == (1, None)


@given(st.integers(2, 200), st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_gaps_of_summed_counts_are_fairlearns_whatever_the_partition(rows, seed, sites) -> None:
    one = Population(BINARY, rows, seed, sites=sites)
    tallies = TallySums(BINARY, one.sums())
    for family, codes in zip(
        BINARY.families,
        (one.groups["sex"], one.groups["age"], 3 * one.groups["sex"] + one.groups["age"]),
        strict=True,
    ):
        confusion = tallies.outcomes(family)
        for name in GAPS:
            expected = getattr(theirs, name)(one.targets, one.predicted, sensitive_features=codes)
            np.testing.assert_array_equal(getattr(fairlearn_compat, name)(confusion), expected)


GAPS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equal_opportunity_difference",
)


def test_rates_and_gaps_of_large_groups_are_fairlearns() -> None:
    one = Population(BINARY, 4_000)
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    sex = np.array(SEX.groups)[one.groups["sex"]]
    frame = theirs.MetricFrame(
        metrics={
            "selection_rate": theirs.selection_rate,
            "true_positive_rate": theirs.true_positive_rate,
            "false_positive_rate": theirs.false_positive_rate,
            "accuracy": accuracy_score,
        },
        y_true=one.targets,
        y_pred=one.predicted,
        sensitive_features=sex,
    )
    for group in SEX.groups:
        rates = rates_of(found, "sex", group)
        assert rates.rows == np.sum(sex == group)
        assert rates.positives == np.sum(one.targets[sex == group])
        for name in frame.by_group.columns:
            estimate = getattr(rates, name)
            assert estimate.value == frame.by_group[name][group]
            assert estimate.low < estimate.value < estimate.high
        exact = roc_auc_score(one.targets[sex == group], one.probabilities[sex == group, 1])
        assert rates.auc.low <= exact <= rates.auc.high
    for name in GAPS:
        gap = gap_of(found, "sex", name)
        expected = getattr(theirs, name)(one.targets, one.predicted, sensitive_features=sex)
        assert gap.estimate.value == expected
        assert gap.estimate.low <= expected <= gap.estimate.high
        assert 0 < gap.null_expectation < 1
    parity = gap_of(found, "sex", "demographic_parity_difference")
    by_rate = sorted(SEX.groups, key=lambda g: frame.by_group["selection_rate"][g])
    assert parity.between == (by_rate[0], by_rate[-1])


def test_same_sums_give_the_same_fairness() -> None:
    one = Population(BINARY, 500)
    first = findings.fairness(BINARY, one.sums(), "overall", 10)
    assert first == findings.fairness(BINARY, one.sums(), "overall", 10)


def test_intersections_are_groups_of_their_own_attribute() -> None:
    found = findings.fairness(BINARY, Population(BINARY, 3_000, unknown=0).sums(), "overall", 10)
    names = [g.group for g in found.groups if g.attribute == "sex & age"]
    assert names == ["F & -59", "F & 60+", "M & -59", "M & 60+"]
    assert gap_of(found, "sex & age", "equalized_odds_difference").estimate.value is not None


def test_an_empty_unknown_group_is_left_out_and_an_empty_declared_one_is_not() -> None:
    one = Population(BINARY, 400, unknown=0)
    one.groups["sex"][:] = 1
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    assert [g.group for g in found.groups if g.attribute == "sex"] == ["F", "M"]
    empty = rates_of(found, "sex", "F")
    assert (empty.rows, empty.suppressed) == (0, False)
    gap = gap_of(found, "sex", "demographic_parity_difference")
    assert gap.estimate.value is None
    assert gap.estimate.reason == "fewer than two groups with rows"
    assert gap.between == ()


@pytest.mark.parametrize(("rows", "suppressed"), [(10, False), (9, True)])
def test_a_group_smaller_than_the_minimum_is_hidden_with_its_rows(rows, suppressed) -> None:
    one = Population(BINARY, 2_000, unknown=0)
    one.groups["sex"][:rows] = 2
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    small = rates_of(found, "sex", "unknown")
    assert small.suppressed == suppressed
    if suppressed:
        assert (small.rows, small.positives, small.selection_rate, small.auc) == (
            0,
            None,
            None,
            None,
        )
        hidden = [g.group for g in found.groups if g.attribute == "sex" and g.suppressed]
        assert hidden == ["F", "unknown"]


def test_hidden_groups_are_compared_as_one() -> None:
    """What follows by subtraction anyway is said: all rows less those of the groups shown."""
    one = Population(BINARY, 2_000, unknown=0)
    one.groups["sex"][:9] = 2
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    combined = rates_of(found, "sex", "F or unknown")
    assert combined.combines == ("F", "unknown")
    merged = np.where(one.groups["sex"] == 2, 0, one.groups["sex"])
    one.groups["sex"] = merged
    plain = findings.fairness(BINARY, one.sums(), "overall", 10)
    assert combined == rates_of(plain, "sex", "F").model_copy(
        update={"group": "F or unknown", "combines": ("F", "unknown")}
    )
    for name in GAPS:
        together, folded = (gap_of(f, "sex", name) for f in (found, plain))
        assert together.estimate.value == folded.estimate.value
        assert set(together.between) == {"M", "F or unknown"}


def test_hidden_groups_that_are_few_together_stay_hidden() -> None:
    one = Population(BINARY, 2_000, unknown=0)
    one.groups["sex"][:] = 1
    one.groups["sex"][:4], one.groups["sex"][4:8] = 0, 2
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    assert [g.group for g in found.groups if g.attribute == "sex"] == ["F", "M", "unknown"]
    by_rows = gap_of(found, "sex", "demographic_parity_difference").estimate.reason
    assert by_rows == "fewer than two groups with enough rows to be shown"
    by_labels = gap_of(found, "sex", "accuracy_difference").estimate.reason
    assert by_labels == "fewer than two groups with enough positives and negatives to be shown"


def test_many_hidden_groups_are_counted_not_named() -> None:
    one = Population(BINARY, 2_000, unknown=0)
    one.groups["sex"][:5], one.groups["age"][:5] = 2, 2
    one.groups["sex"][5:8] = 2
    one.groups["age"][8:12] = 2
    found = findings.fairness(BINARY, one.sums(), "overall", 10)
    (combined,) = (g for g in found.groups if g.attribute == "sex & age" and g.combines)
    assert combined.group == f"{len(combined.combines)} groups"
    assert len(combined.combines) > 3


def few_positives(count):
    """2,000 rows, none of sex unknown but the first 100; of these, `count` positives."""
    one = Population(BINARY, 2_000, unknown=0)
    one.groups["sex"][:100] = 2
    one.groups["age"][:100] = np.arange(100) % 2
    one.targets[:100] = np.arange(100) < count
    return one


@pytest.mark.parametrize(("positives", "told"), [(10, True), (9, False), (91, False), (90, True)])
def test_few_labels_of_a_kind_hide_all_that_depends_on_labels(positives, told) -> None:
    one = few_positives(positives)
    one.groups["age"][:] = 0
    spec = TallySpec(BINARY.schema)
    one.spec = spec
    found = findings.fairness(spec, one.sums(), "overall", 10)
    group = rates_of(found, "sex", "unknown")
    assert group.rows == 100
    assert group.selection_rate.value is not None
    assert (group.positives is not None) == told
    others = [rates_of(found, "sex", name).positives is None for name in SEX.levels]
    for name in ("true_positive_rate", "false_positive_rate", "precision", "accuracy", "auc"):
        estimate = getattr(group, name)
        assert (estimate.value is not None) == told
        if not told:
            assert estimate.reason == (
                "fewer than 10 positives or negatives, here or in a related group"
            )
    assert any(others) == (not told)  # or the total less the others would tell


def test_hidden_groups_are_left_out_of_the_gaps() -> None:
    one = few_positives(3)
    spec = TallySpec(BINARY.schema)
    one.spec = spec
    found = findings.fairness(spec, one.sums(), "overall", 10)
    shown = [g.group for g in found.groups if g.attribute == "sex" and g.positives is not None]
    assert shown == ["M", "F or unknown"]
    assert rates_of(found, "sex", "F").positives is None
    opportunity = gap_of(found, "sex", "equal_opportunity_difference")
    pair = [rates_of(found, "sex", g).true_positive_rate.value for g in shown]
    assert opportunity.estimate.value == max(pair) - min(pair)
    parity = gap_of(found, "sex", "demographic_parity_difference")
    rates = [rates_of(found, "sex", g).selection_rate.value for g in SEX.groups]
    assert parity.estimate.value == max(rates) - min(rates)


def test_a_minimum_of_one_shows_every_row() -> None:
    one = Population(BINARY, 60)
    found = findings.fairness(BINARY, one.sums(), "overall", 1)
    assert not any(group.suppressed for group in found.groups)
    for attribute in ("sex", "age", "sex & age"):
        assert sum(g.rows for g in found.groups if g.attribute == attribute) == 60


def test_a_rate_of_nothing_is_not_estimable_and_says_why() -> None:
    one = Population(BINARY, 300, unknown=0)
    one.targets[one.groups["sex"] == 0] = 0
    found = findings.fairness(BINARY, one.sums(), "overall", 1)
    group = rates_of(found, "sex", "F")
    assert (group.true_positive_rate.value, group.positives) == (None, 0)
    assert group.true_positive_rate.reason == "no positives in this group"
    assert group.auc.reason == "not every class occurs"
    gap = gap_of(found, "sex", "equalized_odds_difference")
    assert gap.estimate.reason == "fewer than two groups with positives"


def test_a_ratio_of_zeros_says_why() -> None:
    one = Population(BINARY, 300, unknown=0)
    one.probabilities[:] = [0.9, 0.1]
    found = findings.fairness(BINARY, one.sums(), "overall", 1)
    gap = gap_of(found, "sex", "demographic_parity_ratio")
    assert gap.estimate.reason == "the rate is 0 in every group"
    assert gap_of(found, "sex", "demographic_parity_difference").estimate.value == 0


def test_more_classes_compare_accuracy_alone() -> None:
    one = Population(MULTI, 2_000)
    found = findings.fairness(MULTI, one.sums(), "overall", 10)
    predicted = np.argmax(one.probabilities, axis=1)
    for code, name in enumerate(SEX.groups):
        here = one.groups["sex"] == code
        rates = rates_of(found, "sex", name)
        assert rates.accuracy.value == accuracy_score(one.targets[here], predicted[here])
        assert (rates.selection_rate, rates.positives, rates.auc) == (None, None, None)
    gap, ratio = found.disparities
    assert (gap.metric, ratio.metric) == ("accuracy_difference", "accuracy_ratio")
    assert {one.metric for one in found.comparisons} == {"accuracy"}
    assert gap.estimate.value == theirs.accuracy_score_difference(
        one.targets, predicted, sensitive_features=one.groups["sex"]
    )


def test_a_task_without_attributes_has_no_groups() -> None:
    found = findings.fairness(PLAIN, Population(PLAIN, 50).sums(), "overall", 10)
    assert (found.groups, found.disparities) == ((), ())


def cohorts_with_a_small_group():
    """Two cohorts of two sites; in the first, 4 rows are of unknown sex, in the second 100."""
    one = Population(BINARY, 2_000, unknown=0)
    first, second = (np.flatnonzero(one.site_of // 2 == c) for c in (0, 1))
    one.groups["sex"][first[:4]] = 2
    one.groups["sex"][second[:100]] = 2
    return one, {"overall": one.sums(), "north": one.sums([0, 1]), "south": one.sums([2, 3])}


def test_a_cohorts_small_group_does_not_follow_from_the_other_scopes() -> None:
    _, sums = cohorts_with_a_small_group()
    alone = findings.fairness(BINARY, sums["south"], "south", 10)
    assert rates_of(alone, "sex", "unknown").rows == 100  # overall less this would tell the 4
    scopes = findings.fairness_by_scope(BINARY, sums, 10)
    assert [fairness.scope for fairness in scopes] == ["overall", "north", "south"]
    overall, north, south = (rates_of(scope, "sex", "unknown") for scope in scopes)
    assert north.suppressed
    assert overall.suppressed or south.suppressed


def test_rows_of_no_cohort_are_protected_too() -> None:
    """Sites 2 and 3 are in no cohort: their rows are the whole less the cohort's."""
    one = Population(BINARY, 2_000, unknown=0)
    rest = np.flatnonzero(one.site_of // 2 == 1)
    cohort = np.flatnonzero(one.site_of // 2 == 0)
    one.groups["sex"][rest[:4]] = 2
    one.groups["sex"][cohort[:100]] = 2
    sums = {"north": one.sums([0, 1]), "overall": one.sums()}
    north, overall = findings.fairness_by_scope(BINARY, sums, 10)
    assert north.scope == "north"
    assert any(rates_of(scope, "sex", "unknown").suppressed for scope in (north, overall))


def test_one_scope_by_scope_is_one_scope() -> None:
    one = Population(BINARY, 700)
    sums = one.sums()
    (only,) = findings.fairness_by_scope(BINARY, {"overall": sums}, 10)
    assert only == findings.fairness(BINARY, sums, "overall", 10)


def test_cohorts_that_hold_more_than_everybody_are_refused() -> None:
    one = Population(BINARY, 400)
    with pytest.raises(DataError, match="cohorts hold more rows than all sites together"):
        findings.fairness_by_scope(BINARY, {"overall": one.sums([0]), "north": one.sums()}, 10)


def test_sums_that_are_no_counts_are_refused() -> None:
    sums = Population(BINARY, 100).sums()
    for bad in (-1.0, 0.5):
        broken = sums | {"confusion/overall": np.array([bad, 1.0, 1.0, 1.0])}
        with pytest.raises(DataError, match="sum of confusion/overall: expected whole numbers"):
            findings.utility(BINARY, broken)


def test_more_right_than_there_are_rows_is_refused() -> None:
    sums = Population(MULTI, 100).sums()
    with pytest.raises(DataError, match="sum of correct: expected at most 100 rows, got 101 right"):
        findings.utility(MULTI, sums | {"correct": np.array([101.0])})
    assert findings.utility(MULTI, sums | {"correct": sums["rows"]}).accuracy.value == 1


def test_more_right_than_rows_of_a_group_is_refused() -> None:
    sums = Population(MULTI, 100).sums()
    broken = sums | {"hits/sex=F": np.array([20.0, 21.0])}
    with pytest.raises(DataError, match="sum of hits/sex=F: expected at most 20 rows"):
        findings.fairness(MULTI, broken, "overall", 1)
    wrong_before = 20.0 - sums["hits/sex=F"][1]
    exactly = sums | {
        "hits/sex=F": np.array([20.0, 20.0]),
        "hits/overall": sums["hits/overall"] + [0.0, wrong_before],
    }
    found = findings.fairness(MULTI, exactly, "overall", 1)
    assert rates_of(found, "sex", "F").accuracy.value == 1


def test_groups_that_hold_more_than_all_rows_are_refused() -> None:
    sums = Population(BINARY, 100).sums()
    broken = sums | {"confusion/sex=F": sums["confusion/sex=F"] + [0.0, 0.0, 70.0, 0.0]}
    with pytest.raises(DataError, match="groups of sex hold more rows than there are"):
        findings.fairness(BINARY, broken, "overall", 1)


def test_a_segment_that_is_not_there_is_a_key_error() -> None:
    sums = Population(BINARY, 100).sums()
    sums.pop("scores/sex=F")
    assert findings.utility(BINARY, sums).rows == 100
    with pytest.raises(KeyError, match="scores/sex=F"):
        findings.fairness(BINARY, sums, "overall", 1)


def test_drift_has_every_feature_in_the_schemas_order() -> None:
    rng = np.random.default_rng(3)
    features = [
        {"bmi": rng.normal(mean, 4, rows), "ward": rng.integers(0, 2, rows).astype(float)}
        for mean, rows in ((25, 2_000), (29, 500))
    ]
    reference = count_features(BINARY, features[0], "reference")
    current = count_features(BINARY, features[1], "current")
    bmi, ward = findings.drift(BINARY, reference, current, "north")
    assert (bmi.feature, bmi.scope, bmi.verdict) == ("bmi", "north", "act")
    assert (ward.feature, ward.scope, ward.verdict) == ("ward", "north", "ok")
    assert (bmi.rows_reference, bmi.rows_current) == (2_000, 500)
    assert ward.bins == ("A", "B")
    assert ward.reference[0] == np.mean(features[0]["ward"] == 0)
    both = reference | current
    assert findings.drift(BINARY, both, both, "north") == (bmi, ward)


def test_drift_of_a_window_that_was_not_counted_is_a_key_error() -> None:
    reference = count_features(BINARY, {"bmi": np.ones(3), "ward": np.ones(3)}, "reference")
    with pytest.raises(KeyError, match="current/bmi"):
        findings.drift(BINARY, reference, reference, "overall")
