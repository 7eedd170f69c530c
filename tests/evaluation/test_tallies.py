"""What sites count adds up to what the pooled rows would count, bit for bit."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss

from evaluation.tallies import count_features, count_outcomes
from evaluation.tally_spec import TallySpec
from federation.errors import ConfigError, DataError
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("-59", "60+"))
LOSSES = ("log_loss", "brier")
FEATURES = (Numeric("bmi", 10.0, 50.0), Categorical("ward", ("A", "B", "C")))
BINARY = TallySpec(
    TaskSchema(FEATURES, "died", ("no", "yes"), (SEX, AGE), maximum_rows=500),
    intersections=(("sex", "age"),),
    score_bins=20,
    feature_bins=8,
)
MULTI = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,), maximum_rows=500), score_bins=20)


def drawn_rows(spec, rows, seed, *, temperature=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, len(spec.schema.classes))) * temperature
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = rng.integers(0, len(spec.schema.classes), rows)
    groups = {a.name: rng.integers(0, len(a.groups), rows) for a in spec.schema.attributes}
    return probabilities, targets, groups


def drawn_features(rows, seed):
    rng = np.random.default_rng(seed)
    bmi = rng.choice([np.nan, 9.0, 10.0, 15.0, 22.5, 50.0, 51.0, np.inf, -np.inf], rows)
    ward = rng.choice([np.nan, 0.0, 1.0, 2.0, 3.0], rows)
    return {"bmi": bmi, "ward": ward}


def parts(rows, sites, seed):
    return np.random.default_rng(seed).integers(0, sites, rows)


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
@given(rows=st.integers(0, 120), sites=st.integers(1, 6), seed=st.integers(0, 2**20))
def test_decoded_sum_of_the_sites_is_the_tally_of_the_pooled_rows(spec, rows, sites, seed) -> None:
    probabilities, targets, groups = drawn_rows(spec, rows, seed)
    layout = VectorLayout(spec.segments(sites), sites)
    site_of = parts(rows, sites, seed)

    def words(here):
        own = {name: codes[here] for name, codes in groups.items()}
        return layout.encode(count_outcomes(spec, probabilities[here], targets[here], own))

    total = RingVector.zeros(layout.stretches)
    for site in range(sites):
        total.add(words(site_of == site))
    pooled = layout.decode(words(np.ones(rows, bool)))
    summed = layout.decode(total)
    for name in LOSSES:  # whole and fraction carry over; their sum is the tally
        whole, fraction = f"{name}/whole", f"{name}/fraction"
        assert summed.pop(whole) + summed.pop(fraction) == pooled.pop(whole) + pooled.pop(fraction)
    for name, counts in pooled.items():
        np.testing.assert_array_equal(summed[name], counts)


@given(rows=st.integers(0, 120), sites=st.integers(1, 6), seed=st.integers(0, 2**20))
def test_summed_histograms_are_those_of_the_pooled_rows(rows, sites, seed) -> None:
    layout = VectorLayout(BINARY.window_segments("current", sites), sites)
    features, site_of = drawn_features(rows, seed), parts(rows, sites, seed)

    def words(here):
        own = {name: values[here] for name, values in features.items()}
        return layout.encode(count_features(BINARY, own, "current"))

    total = RingVector.zeros(layout.stretches)
    for site in range(sites):
        total.add(words(site_of == site))
    np.testing.assert_array_equal(total.buffer, words(np.ones(rows, bool)).buffer)


@given(rows=st.integers(1, 150), seed=st.integers(0, 2**20))
def test_binary_tallies_agree_with_sklearn(rows, seed) -> None:
    probabilities, targets, groups = drawn_rows(BINARY, rows, seed)
    tallies = count_outcomes(BINARY, probabilities, targets, groups)
    predicted = (probabilities[:, 1] >= 0.5).astype(int)
    theirs = confusion_matrix(targets, predicted, labels=[0, 1]).ravel()
    np.testing.assert_array_equal(tallies["confusion/overall"], theirs)
    assert tallies["correct"] == np.sum(predicted == targets)
    assert tallies["rows"] == rows
    summed = {name: tallies[f"{name}/whole"] + tallies[f"{name}/fraction"] for name in LOSSES}
    assert summed["log_loss"] / rows == pytest.approx(
        log_loss(targets, probabilities, labels=[0, 1]), abs=2**-20
    )
    assert summed["brier"] / rows == pytest.approx(
        brier_score_loss(targets, probabilities[:, 1], pos_label=1), abs=2**-20
    )


@given(rows=st.integers(1, 150), seed=st.integers(0, 2**20))
def test_multiclass_tallies_agree_with_sklearn(rows, seed) -> None:
    probabilities, targets, groups = drawn_rows(MULTI, rows, seed)
    tallies = count_outcomes(MULTI, probabilities, targets, groups)
    predicted = np.argmax(probabilities, axis=1)
    for code in range(3):
        theirs = confusion_matrix(targets == code, predicted == code, labels=[False, True])
        np.testing.assert_array_equal(tallies[f"confusion/class={code}"], theirs.ravel())
    for code, name in enumerate(SEX.groups):
        here = groups["sex"] == code
        correct = np.sum(predicted[here] == targets[here])
        np.testing.assert_array_equal(tallies[f"hits/sex={name}"], [here.sum(), correct])
    brier = (tallies["brier/whole"] + tallies["brier/fraction"])[0] / rows
    theirs = brier_score_loss(targets, probabilities, labels=[0, 1, 2])
    assert brier == pytest.approx(theirs, abs=2**-20)


def counted_by_masks(spec, probabilities, targets, groups):
    """The same tallies group by group, a mask for each: slow, and plain to see."""

    def tables(label, score, predicted, truth):
        place = np.minimum((score * spec.score_bins).astype(np.int64), spec.score_bins - 1)
        yield f"confusion/{label}", np.bincount(2 * truth + predicted, minlength=4)
        cells = np.bincount(spec.score_bins * truth + place, minlength=2 * spec.score_bins)
        yield f"scores/{label}", cells

    if spec.schema.is_binary:
        score = probabilities[:, 1]
        for group in spec.groups:
            inside = group.members(groups, len(targets))
            here = score[inside]
            yield from tables(group.label, here, here >= 0.5, targets[inside])
        return
    predicted = np.argmax(probabilities, axis=1)
    for group in spec.groups:
        inside = group.members(groups, len(targets))
        hits = [inside.sum(), (inside & (predicted == targets)).sum()]
        yield f"hits/{group.label}", np.array(hits)
    for code, label in enumerate(spec.class_labels):
        truth = (targets == code).astype(int)
        yield from tables(label, probabilities[:, code], predicted == code, truth)


@pytest.mark.parametrize("spec", [BINARY, MULTI], ids=["binary", "three classes"])
@pytest.mark.parametrize("dtype", [np.int64, np.int8])
@given(rows=st.integers(0, 150), seed=st.integers(0, 2**20))
@settings(max_examples=30)
def test_one_pass_over_all_groups_counts_what_a_mask_for_each_does(spec, dtype, rows, seed) -> None:
    probabilities, targets, groups = drawn_rows(spec, rows, seed)
    coded = {name: codes.astype(dtype) for name, codes in groups.items()}
    tallies = count_outcomes(spec, probabilities, targets.astype(dtype), coded)
    expected = dict(counted_by_masks(spec, probabilities, targets, groups))
    assert expected.keys() == {name for name in tallies if name.count("/") == 1} - {
        f"{loss}/{word}" for loss in LOSSES for word in ("whole", "fraction")
    }
    for name, counts in expected.items():
        np.testing.assert_array_equal(tallies[name], counts)


def test_group_tables_hold_the_rows_of_their_group_and_no_others() -> None:
    probabilities, targets, groups = drawn_rows(BINARY, 300, 3)
    tallies = count_outcomes(BINARY, probabilities, targets, groups)
    here = (groups["sex"] == 0) & (groups["age"] == 1)
    predicted = (probabilities[:, 1] >= 0.5).astype(int)
    theirs = confusion_matrix(targets[here], predicted[here], labels=[0, 1]).ravel()
    np.testing.assert_array_equal(tallies["confusion/sex=F & age=60+"], theirs)
    scores = tallies["scores/sex=F & age=60+"].reshape(2, 20)
    for label in (0, 1):
        mine = probabilities[here & (targets == label), 1]
        theirs, _ = np.histogram(mine, bins=np.linspace(0, 1, 21))
        np.testing.assert_array_equal(scores[label], theirs)


def test_families_hold_every_row_exactly_once() -> None:
    tallies = count_outcomes(BINARY, *drawn_rows(BINARY, 200, 5))
    for family in BINARY.families:
        total = sum(tallies[f"confusion/{group.label}"] for group in family)
        np.testing.assert_array_equal(total, tallies["confusion/overall"])


@pytest.mark.parametrize(("score", "predicted"), [(0.5, 1), (np.nextafter(0.5, 0), 0)])
def test_one_half_is_predicted_positive_and_less_is_not(score, predicted) -> None:
    tallies = outcomes_of([[1 - score, score]], [1])
    np.testing.assert_array_equal(tallies["confusion/overall"], np.eye(4)[2 + predicted])


def test_a_tie_between_classes_goes_to_the_first() -> None:
    groups = {"sex": np.array([0])}
    tallies = count_outcomes(MULTI, np.array([[0.4, 0.4, 0.2]]), np.array([0]), groups)
    assert tallies["correct"] == 1


@pytest.mark.parametrize(
    ("score", "place"), [(0.0, 0), (0.049999, 0), (0.05, 1), (0.999, 19), (1.0, 19)]
)
def test_score_bins_are_closed_below_and_the_last_one_above_too(score, place) -> None:
    scores = outcomes_of([[1 - score, score]], [0])["scores/overall"]
    assert np.flatnonzero(scores).tolist() == [place]


def test_a_surely_wrong_row_costs_what_a_ten_millionth_does() -> None:
    tallies = outcomes_of([[1.0, 0.0]], [1])
    total = tallies["log_loss/whole"] + tallies["log_loss/fraction"]
    assert total == pytest.approx(-math.log(1e-7), abs=2**-21)
    assert tallies["brier/whole"] == 1


def test_the_worst_site_still_fits_its_segments_and_one_row_more_is_refused() -> None:
    most = BINARY.schema.maximum_rows

    def worst(rows):
        return outcomes_of(np.tile([1.0, 0.0], (rows, 1)), np.ones(rows, int))

    layout = VectorLayout(BINARY.segments(5), 5)
    decoded = layout.decode(layout.encode(worst(most)))
    assert decoded["log_loss/whole"] + decoded["log_loss/fraction"] == pytest.approx(
        -most * math.log(1e-7), abs=most * 2**-21
    )
    with pytest.raises(DataError, match=r"501 rows.*maximum_rows = 500"):
        worst(most + 1)
    with pytest.raises(DataError, match=r"501 rows"):
        count_features(BINARY, drawn_features(501, 0), "current")


@pytest.mark.parametrize(("sites", "exact"), [(2047, True), (2048, False)])
def test_fractions_are_exact_for_up_to_2047_sites(sites, exact) -> None:
    by_name = {segment.name: segment for segment in BINARY.segments(sites)}
    assert (by_name["log_loss/fraction"].step <= 2**-20) == exact
    assert VectorLayout(BINARY.segments(sites), sites)


def test_no_rows_count_as_zeros_of_the_right_shape() -> None:
    tallies = count_outcomes(BINARY, *drawn_rows(BINARY, 0, 0))
    tallies |= count_features(BINARY, drawn_features(0, 0), "reference")
    segments = BINARY.segments(3) + BINARY.window_segments("reference", 3)
    assert {segment.name: segment.length for segment in segments} == {
        name: len(values) for name, values in tallies.items()
    }
    assert all(not values.any() for values in tallies.values())


@pytest.mark.parametrize(
    "bad", [[[np.nan, 1.0]], [[-0.1, 1.1]], [[0.5, 0.4998]], [[0.5, 0.5002]], [[np.inf, 0.0]]]
)
def test_what_is_no_probability_is_refused(bad) -> None:
    with pytest.raises(DataError, match="does not sum to 1"):
        outcomes_of(bad, [0])


@pytest.mark.parametrize("sum_", [0.99995, 1.00005])
def test_rounding_of_float32_is_no_reason_to_refuse(sum_) -> None:
    assert outcomes_of([[sum_ - 0.25, 0.25]], [0])["rows"] == 1


def outcomes_of(probabilities, targets, sex=None, age=None):
    zeros = np.zeros(len(targets), int)
    groups = {"sex": zeros if sex is None else sex, "age": zeros if age is None else age}
    return count_outcomes(BINARY, np.asarray(probabilities, float), np.asarray(targets), groups)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: outcomes_of([[0.5, 0.3, 0.2]], [0]), r"expected \(rows, 2\), got \(1, 3\)"),
        (lambda: outcomes_of([0.5, 0.5], [0, 1]), r"expected \(rows, 2\), got \(2,\)"),
        (lambda: outcomes_of([[0.5, 0.5]], [2]), "targets: expected indices 0 to 1"),
        (lambda: outcomes_of([[0.5, 0.5]], [-1]), "targets: expected indices 0 to 1"),
        (lambda: outcomes_of([[0.5, 0.5]], [0, 1]), r"targets: expected \(1,\) integers"),
        (lambda: outcomes_of([[0.5, 0.5]], [0.0]), r"targets: .*got \(1,\) float64"),
        (
            lambda: outcomes_of([[0.5, 0.5]], [0], sex=np.array([3])),
            "attribute sex: expected indices 0 to 2",
        ),
        (
            lambda: count_outcomes(BINARY, np.array([[0.5, 0.5]]), np.array([0]), {}),
            "column sex is absent",
        ),
        (lambda: features_of([20.0], [4.0]), "feature ward: expected level indices 0 to 2, 3 for"),
        (lambda: features_of([20.0], [0.5]), "feature ward: expected level indices"),
        (lambda: features_of([20.0], [-1.0]), "feature ward: expected level indices"),
        (lambda: features_of([20.0, 21.0], [1.0]), "the same for all"),
        (lambda: features_of([[20.0]], [[1.0]]), "the same for all"),
        (lambda: count_features(BINARY, {}, "current"), "column bmi is absent"),
    ],
)
def test_rows_that_break_the_schema_are_refused_by_name(call, says) -> None:
    with pytest.raises(DataError, match=says):
        call()


def features_of(bmi, ward):
    return count_features(BINARY, {"bmi": np.array(bmi), "ward": np.array(ward)}, "current")


@pytest.mark.parametrize(
    ("value", "bin_"),
    [
        (9.999, "below 10"),
        (10.0, "10 to 15"),
        (14.999, "10 to 15"),
        (15.0, "15 to 20"),
        (50.0, "45 to 50"),
        (50.001, "above 50"),
        (np.inf, "above 50"),
        (-np.inf, "below 10"),
        (np.nan, "missing"),
    ],
)
def test_numbers_fall_into_the_bin_that_names_them(value, bin_) -> None:
    histogram = features_of([value], [0.0])["current/bmi"]
    assert BINARY.bin_labels(FEATURES[0])[int(np.flatnonzero(histogram)[0])] == bin_


@pytest.mark.parametrize(
    ("code", "bin_"), [(0.0, "A"), (2.0, "C"), (3.0, "other"), (np.nan, "missing")]
)
def test_levels_fall_into_the_bin_that_names_them(code, bin_) -> None:
    histogram = features_of([20.0], [code])["current/ward"]
    assert BINARY.bin_labels(FEATURES[1])[int(np.flatnonzero(histogram)[0])] == bin_


def test_groups_are_overall_then_every_level_then_every_combination() -> None:
    labels = [group.label for group in BINARY.groups]
    assert labels[:4] == ["overall", "sex=F", "sex=M", "sex=unknown"]
    assert labels[7:] == [f"sex={s} & age={a}" for s in SEX.groups for a in AGE.groups]
    combined = BINARY.groups[-1]
    assert (combined.attribute, combined.name) == ("sex & age", "unknown & unknown")


@pytest.mark.parametrize("intersections", [(("sex",),), (("sex", "sex"),), (("sex", "race"),)])
def test_an_intersection_needs_two_attributes_of_the_task(intersections) -> None:
    with pytest.raises(ConfigError, match=r"two or more distinct.*it has: age, sex"):
        TallySpec(BINARY.schema, intersections)


def test_the_same_intersection_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each set of attributes once"):
        TallySpec(BINARY.schema, (("sex", "age"), ("age", "sex")))


@pytest.mark.parametrize(("level", "fine"), [("x or b=y", True), ("x & b=y", False)])
def test_groups_that_read_alike_are_refused(level, fine) -> None:
    attributes = (SensitiveAttribute("a", ("x", level)), SensitiveAttribute("b", ("y",)))
    schema = TaskSchema((), "y", ("0", "1"), attributes)
    if fine:
        assert TallySpec(schema, (("a", "b"),))
        return
    with pytest.raises(ConfigError, match=r"'a=x & b=y'.*groups of distinct names"):
        TallySpec(schema, (("a", "b"),))


@pytest.mark.parametrize("key", ["score_bins", "feature_bins"])
def test_two_bins_are_enough_and_one_is_not(key) -> None:
    assert TallySpec(BINARY.schema, **{key: 2})
    with pytest.raises(ConfigError, match=f"evaluation.{key} = 1: expected at least 2 bins"):
        TallySpec(BINARY.schema, **{key: 1})


SAME = TaskSchema(
    (Numeric("bmi", 10, 50), Categorical("ward", ("A", "B", "C"))),
    "died",
    ("no", "yes"),
    (SEX, AGE),
    maximum_rows=500,
)


def changed(**fields):
    return replace(BINARY, schema=replace(BINARY.schema, **fields))


def test_one_spec_has_one_digest_however_its_numbers_are_written() -> None:
    again = TallySpec(SAME, (("sex", "age"),), 20, 8)
    assert again.digest() == BINARY.digest()
    assert len(BINARY.digest()) == 64
    # Frozen: a digest that changes without a change of what is counted breaks agreements.
    assert BINARY.digest() == "d42afd7154162053cef2acff1277fb7ff7b8b296e70a6adcba15bb717017ca8a"


@pytest.mark.parametrize(
    "other",
    [
        replace(BINARY, intersections=()),
        replace(BINARY, intersections=(("age", "sex"),)),
        replace(BINARY, score_bins=21),
        replace(BINARY, feature_bins=9),
        changed(maximum_rows=501),
        changed(classes=("no", "maybe")),
        changed(label="dead"),
        changed(attributes=(SEX, SensitiveAttribute("age", ("-60", "60+")))),
        changed(attributes=(AGE, SEX)),
        changed(features=(Numeric("bmi", 10, 51), FEATURES[1])),
        changed(features=(Numeric("bmi", 10, 50, "kg/m2"), FEATURES[1])),
        changed(features=(Numeric("bmi", 10, 50, scale="log"), FEATURES[1])),
        changed(features=(Numeric("bmi", 10, 50, scale_unit=2.0), FEATURES[1])),
        changed(features=(FEATURES[0], Categorical("ward", ("A", "C", "B")))),
        changed(features=FEATURES[::-1]),
    ],
)
def test_the_digest_changes_with_all_that_decides_what_is_counted(other) -> None:
    assert other.digest() != BINARY.digest()
