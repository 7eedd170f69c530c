"""Sums of scores: exact to add, of the rows they say, and checked against the histograms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.findings import require_consistent, require_consistent_report
from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import TallySpec
from federation.errors import DataError
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("-59", "60+"))
BINARY = TallySpec(
    TaskSchema((), "died", ("no", "yes"), (SEX, AGE), maximum_rows=500), (("sex", "age"),), 25
)
MULTI = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,), maximum_rows=500), score_bins=20)


def drawn_rows(spec, rows, seed):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, len(spec.schema.classes)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = rng.integers(0, len(spec.schema.classes), rows)
    groups = {a.name: rng.integers(0, len(a.groups), rows) for a in spec.schema.attributes}
    return probabilities, targets, groups


def report_of(spec, rows):
    outcomes = count_outcomes(spec, *rows)
    return outcomes | count_scores(spec, *rows) | count_site_gaps(spec, outcomes)


def summed(spec, rows, sites, seed=0):
    layout = VectorLayout(spec.segments(sites) + spec.report_segments(sites), sites)
    total = RingVector.zeros(layout.stretches)
    probabilities, targets, groups = rows
    site_of = np.random.default_rng(seed).integers(0, sites, len(targets))
    for site in range(sites):
        here = site_of == site
        own = probabilities[here], targets[here], {n: c[here] for n, c in groups.items()}
        total.add(layout.encode(report_of(spec, own)))
    return layout.decode(total)


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
@given(rows=st.integers(0, 150), sites=st.integers(1, 6), seed=st.integers(0, 2**20))
def test_sums_over_sites_are_consistent_and_those_of_the_pooled_rows(
    spec, rows, sites, seed
) -> None:
    drawn = drawn_rows(spec, rows, seed)
    sums, pooled = summed(spec, drawn, sites, seed), count_scores(spec, *drawn)
    for name in {name.rsplit("/", 1)[0] for name in pooled}:
        mine = sums[f"{name}/whole"] + sums[f"{name}/fraction"]
        np.testing.assert_array_equal(mine, pooled[f"{name}/whole"] + pooled[f"{name}/fraction"])
    require_consistent(spec, sums, windows=False)
    require_consistent_report(spec, sums, sites)


def test_sums_are_of_the_rows_of_their_group_and_bin() -> None:
    probabilities, targets, groups = drawn_rows(BINARY, 400, 2)
    sums, score = count_scores(BINARY, probabilities, targets, groups), probabilities[:, 1]
    here = (groups["sex"] == 1) & (groups["age"] == 2)
    name = "score_sum/sex=M & age=unknown"
    assert BINARY.calibration_edges.tolist() == [0, 3, 6, 9, 12, 15, 17, 19, 21, 23, 25]
    theirs, _ = np.histogram(score[here], BINARY.calibration_edges / 25, weights=score[here])
    mine = sums[f"{name}/whole"] + sums[f"{name}/fraction"]
    np.testing.assert_allclose(mine, theirs, atol=here.sum() * 2**-21)
    error = sums["squared_error/sex=M & age=unknown/whole"]
    error = error + sums["squared_error/sex=M & age=unknown/fraction"]
    assert error == pytest.approx(np.square(score - targets)[here].sum(), abs=here.sum() * 2**-21)


def test_classes_are_counted_one_against_the_rest() -> None:
    probabilities, targets, groups = drawn_rows(MULTI, 300, 4)
    sums = count_scores(MULTI, probabilities, targets, groups)
    for code in range(3):
        name = f"squared_error/class={code}"
        theirs = np.square(probabilities[:, code] - (targets == code)).sum()
        mine = sums[f"{name}/whole"][0] + sums[f"{name}/fraction"][0]
        assert mine == pytest.approx(theirs, abs=300 * 2**-21)


def test_segments_and_counts_have_the_same_names_and_lengths() -> None:
    for spec in (BINARY, MULTI):
        report = report_of(spec, drawn_rows(spec, 30, 0))
        segments = spec.segments(3) + spec.report_segments(3)
        assert {s.name: s.length for s in segments} == {n: len(v) for n, v in report.items()}


def test_the_largest_site_fits_its_segments() -> None:
    most = BINARY.schema.maximum_rows
    rows = np.tile([0.0, 1.0], (most, 1)), np.zeros(most, int), {
        "sex": np.zeros(most, int), "age": np.zeros(most, int)
    }  # fmt: skip
    layout = VectorLayout(BINARY.segments(5) + BINARY.report_segments(5), 5)
    decoded = layout.decode(layout.encode(report_of(BINARY, rows)))
    assert decoded["score_sum/overall/whole"][-1] == most
    assert decoded["squared_error/overall/whole"] == most


@pytest.mark.parametrize(
    ("name", "place", "change", "says"),
    [
        ("score_sum/overall/whole", 3, 2, "score_sum/overall: expected what the histogram"),
        ("score_sum/sex=F/whole", 0, -1, "score_sum/sex=F.*(histogram|whole numbers)"),
        ("score_sum/sex=F/whole", 9, 0.5, "score_sum/sex=F/whole: expected whole numbers"),
        ("score_sum/sex=F/fraction", 9, -60, "score_sum/sex=F/fraction: expected numbers >= 0"),
        ("squared_error/overall/whole", 0, 90, "squared_error/overall: expected what the hist"),
        ("squared_error/sex=M/whole", 0, 1, "score sums of groups of sex|squared_error/sex=M"),
        ("scores/sex=F", 0, 1, "scores/sex=F, label 0: expected"),
        ("site_gaps/sex/accuracy_difference", 6, 1, "accuracy_difference: expected 4 votes, got 5"),
        ("site_gaps/sex & age/equalized_odds_difference", 6, -1, "expected 4 votes, got 3"),
    ],
)
def test_what_no_rows_can_give_is_refused_by_name(name, place, change, says) -> None:
    sums = summed(BINARY, drawn_rows(BINARY, 400, 9), 4)
    require_consistent_report(BINARY, sums, 4)
    sums[name] = sums[name].copy()
    sums[name][place] += change
    with pytest.raises(DataError, match=says):
        require_consistent_report(BINARY, sums, 4)


def test_rows_that_are_not_as_promised_are_refused() -> None:
    probabilities, targets, groups = drawn_rows(BINARY, 5, 0)
    with pytest.raises(DataError, match="attribute sex: expected indices"):
        count_scores(BINARY, probabilities, targets, groups | {"sex": np.full(5, 3)})
