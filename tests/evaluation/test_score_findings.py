"""What a report says of scores is true of the rows, and says nothing of the few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from evaluation.score_findings import score_findings_by_scope
from evaluation.score_tallies import count_scores
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import TallySpec
from federation.errors import DataError
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("young", "old"))
BINARY = TallySpec(
    TaskSchema((), "died", ("no", "yes"), (SEX, AGE), maximum_rows=100_000), (("sex", "age"),)
)
MULTI = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,), maximum_rows=100_000))


class Population:
    """Rows in cohorts `north` and `south`, and in neither."""

    def __init__(self, spec, rows, seed=0, shares=(0.3, 0.68, 0.02)):
        rng = np.random.default_rng(seed)
        classes = len(spec.schema.classes)
        self.spec = spec
        self.targets = rng.choice(classes, rows, p=[0.7, 0.3] if classes == 2 else [0.5, 0.3, 0.2])
        logits = rng.normal(size=(rows, classes)) + 1.3 * np.eye(classes)[self.targets]
        self.probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        self.groups = {a.name: rng.choice(3, rows, p=shares) for a in spec.schema.attributes}
        self.cohort = rng.choice(["north", "south", "rest"], rows)

    def sums(self, here=slice(None)):
        groups = {name: codes[here] for name, codes in self.groups.items()}
        own = self.probabilities[here], self.targets[here], groups
        return count_outcomes(self.spec, *own) | count_scores(self.spec, *own)

    def scopes(self):
        return {"overall": self.sums()} | {
            name: self.sums(self.cohort == name) for name in ("north", "south")
        }


def told(scores, attribute, group):
    return next(each for each in scores if (each.attribute, each.group) == (attribute, group))


@given(st.integers(100, 3000), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_what_is_told_of_a_group_holds_for_its_rows(rows, seed) -> None:
    people = Population(BINARY, rows, seed)
    scores = score_findings_by_scope(BINARY, {"overall": people.sums()}, 1)["overall"]
    for code, name in enumerate(("F", "M")):
        here = people.groups["sex"] == code
        y, score = people.targets[here], people.probabilities[here, 1]
        found = told(scores, "sex", name)
        assert (found.rows, found.positives) == (len(y), y.sum())
        assert found.auc.low - 1e-9 <= roc_auc_score(y, score) <= found.auc.high + 1e-9
        assert found.auc_sampling.low < found.auc.value < found.auc_sampling.high
        distance = ks_2samp(score[y == 1], score[y == 0]).statistic
        assert found.ks.low - 1e-9 <= distance <= found.ks.high + 1e-9
        assert found.brier == pytest.approx(brier_score_loss(y, score), abs=1e-6)
        assert found.calibration_in_the_large.value == pytest.approx(np.mean(score - y), abs=1e-6)
        parts = found.brier_parts
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
        assert total == pytest.approx(found.brier, abs=1e-9)
        for each in found.reliability:
            inside = (score >= each.low) & ((score < each.high) | (each.high == 1))
            assert each.rows == inside.sum()
            if each.rows:
                assert each.mean_score == pytest.approx(score[inside].mean(), abs=1e-6)
                assert each.observed.value == y[inside].mean()
        for point in found.roc:
            above = score >= (np.inf if point.threshold is None else point.threshold)
            assert point.true_positive_rate == above[y == 1].mean()
            assert point.false_positive_rate == above[y == 0].mean()


def test_a_curve_of_few_points_encloses_the_area_of_the_whole_curve() -> None:
    people = Population(BINARY, 20_000, 5)
    scores = score_findings_by_scope(BINARY, {"overall": people.sums()}, 10)["overall"]
    for name, here in (("overall", slice(None)), ("M", people.groups["sex"] == 1)):
        found = told(scores, "overall" if name == "overall" else "sex", name)
        assert 20 <= len(found.roc) <= 64
        curve = np.array([(p.false_positive_rate, p.true_positive_rate) for p in found.roc])
        assert curve[0].tolist() == [0, 0]
        assert curve[-1].tolist() == [1, 1]
        false, true, _ = roc_curve(people.targets[here], people.probabilities[here, 1])
        area, whole = np.trapezoid(curve[:, 1], curve[:, 0]), np.trapezoid(true, false)
        assert area == pytest.approx(whole, abs=2e-3)


def test_curves_have_at_most_64_points_for_any_number_of_bins() -> None:
    for bins in (2, 3, 11, 64, 255, 1000):
        spec = TallySpec(BINARY.schema, score_bins=bins)
        scores = score_findings_by_scope(spec, {"overall": Population(spec, 3000).sums()}, 1)
        assert 2 <= max(len(each.roc) for each in scores["overall"]) <= 64
        assert len(scores["overall"][0].reliability) == min(10, bins)


@pytest.mark.parametrize("minimum_cell", [5, 10, 20])
def test_no_published_cell_is_small(minimum_cell) -> None:
    for seed in range(4):
        people = Population(BINARY, 1500, seed, shares=(0.06, 0.9, 0.04))
        found = score_findings_by_scope(BINARY, people.scopes(), minimum_cell)
        told_any = 0
        for each in (group for scope in found.values() for group in scope if group.roc):
            negatives = each.rows - each.positives
            points = [(p.false_positive_rate, p.true_positive_rate) for p in each.roc]
            cells = np.diff(points, axis=0) * [negatives, each.positives]
            hits = [b.observed.value * b.rows if b.rows else 0 for b in each.reliability]
            misses = [b.rows - h for b, h in zip(each.reliability, hits, strict=True)]
            held = np.rint(np.concatenate([cells.ravel(), hits, misses]))
            assert not np.any((held > 0) & (held < minimum_cell))
            told_any += len(held) > 6
        assert told_any >= 3


def test_a_small_group_is_withheld_and_its_company_told_as_one() -> None:
    people = Population(BINARY, 4000, 1, shares=(0.3, 0.698, 0.002))
    assert 0 < np.sum(people.groups["sex"] == 2) < 20
    scores = score_findings_by_scope(BINARY, {"overall": people.sums()}, 20)["overall"]
    small = told(scores, "sex", "unknown")
    assert small.suppressed
    assert (small.rows, small.positives, small.auc, small.roc) == (0, None, None, ())
    assert small.reason == "fewer than 20 rows"
    beside = told(scores, "sex", "F")
    assert beside.suppressed
    assert "subtraction" in beside.reason
    both = told(scores, "sex", "F or unknown")
    here = people.groups["sex"] != 1
    assert both.combines == ("F", "unknown")
    assert (both.rows, both.positives) == (here.sum(), people.targets[here].sum())
    exact = roc_auc_score(people.targets[here], people.probabilities[here, 1])
    assert both.auc.low <= exact <= both.auc.high
    assert both.roc == both.reliability == ()


def test_groups_with_few_positives_tell_their_rows_alone() -> None:
    people = Population(BINARY, 4000, 1)
    people.targets[people.groups["sex"] == 0] = 0
    scores = score_findings_by_scope(BINARY, {"overall": people.sums()}, 20)["overall"]
    found = told(scores, "sex", "F")
    assert found.suppressed
    assert found.rows == np.sum(people.groups["sex"] == 0)
    assert found.positives is None
    assert "positives or negatives" in found.reason


def test_classes_are_told_one_against_the_rest_and_a_rare_one_is_not() -> None:
    people = Population(MULTI, 3000)
    for rare in (False, True):
        if rare:
            people.targets[np.flatnonzero(people.targets == 2)[4:]] = 0
        found = score_findings_by_scope(MULTI, people.scopes(), 10)["overall"]
        assert [(each.attribute, each.group) for each in found] == [
            ("class", "0"), ("class", "1"), ("class", "2")
        ]  # fmt: skip
        assert [each.suppressed for each in found] == [False, rare, rare]
        exact = roc_auc_score(people.targets == 0, people.probabilities[:, 0])
        assert found[0].auc.low <= exact <= found[0].auc.high
    assert found[1].reason == "so that a small group beside it does not follow by subtraction"
    assert found[2].reason == "fewer than 10 rows"


def test_scopes_come_in_the_order_given_and_unknown_groups_without_rows_do_not() -> None:
    people = Population(BINARY, 900, shares=(0.4, 0.6, 0.0))
    scopes = people.scopes()
    turned = {name: scopes[name] for name in ("south", "overall", "north")}
    found = score_findings_by_scope(BINARY, turned, 10)
    assert list(found) == list(turned)
    names = [(each.attribute, each.group) for each in found["overall"]]
    assert names[:5] == [
        ("overall", "overall"), ("sex", "F"), ("sex", "M"), ("age", "young"), ("age", "old")
    ]  # fmt: skip
    assert not any("unknown" in group for _, group in names)
    assert found["north"][0].rows == np.sum(people.cohort == "north")


def test_nobody_at_all_has_no_curves_but_a_place() -> None:
    scores = score_findings_by_scope(BINARY, {"overall": Population(BINARY, 0).sums()}, 10)
    everyone = scores["overall"][0]
    assert everyone.rows == 0
    assert everyone.brier is everyone.ece is everyone.brier_parts is None
    assert everyone.roc == everyone.reliability == ()
    assert everyone.auc.reason == everyone.ks.reason == "not every class occurs"
    assert everyone.calibration_in_the_large.reason == "no rows"


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
def test_cohorts_that_hold_more_than_all_sites_are_refused(spec) -> None:
    people = Population(spec, 300)
    swapped = {"overall": people.sums(people.cohort == "north"), "north": people.sums()}
    with pytest.raises(DataError, match="cohorts hold more"):
        score_findings_by_scope(spec, swapped, 10)
