"""Calibration from sums is calibration of the rows: sklearn's, or re-derived row by row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from evaluation.calibration import (
    Calibration,
    brier_score,
    expected_calibration_error,
    in_the_large,
    murphy_parts,
)
from evaluation.score_tallies import count_scores
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import TallySpec
from evaluation.tally_sums import TallySums
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
SPEC = TallySpec(TaskSchema((), "died", ("no", "yes"), (SEX,), maximum_rows=50_000), score_bins=100)


def drawn(rows, seed):
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.2, 2.5, rows)
    return scores, rng.random(rows) < scores**1.3, rng.integers(0, 2, rows)


def counted(scores, labels, sex, label="overall", spec=SPEC):
    rows = np.stack([1 - scores, scores], axis=1), labels.astype(int), {"sex": sex}
    sums = count_outcomes(spec, *rows) | count_scores(spec, *rows)
    return Calibration.of(TallySums(spec, sums), label)


@given(st.integers(1, 400), st.integers(0, 1000))
def test_brier_score_and_bins_are_sklearns(rows, seed) -> None:
    scores, labels, sex = drawn(rows, seed)
    found = counted(scores, labels, sex)
    theirs = brier_score_loss(labels, scores, pos_label=True)
    assert brier_score(found) == pytest.approx(theirs, abs=2**-21)
    observed, mean = calibration_curve(labels, scores, n_bins=10)
    held = found.rows > 0
    np.testing.assert_array_equal((found.positives / found.rows.clip(1))[held], observed)
    np.testing.assert_allclose((found.score_sums / found.rows.clip(1))[held], mean, atol=2**-21)


@given(st.integers(1, 400), st.integers(0, 1000), st.sampled_from([2, 7, 10, 37, 100, 256]))
def test_ece_is_that_of_the_rows_on_the_agreed_bins(rows, seed, bins) -> None:
    scores, labels, sex = drawn(rows, seed)
    spec = TallySpec(SPEC.schema, score_bins=bins)
    found = counted(scores, labels, sex, spec=spec)
    place = np.digitize(np.floor(scores * bins), spec.calibration_edges[1:-1])
    error = sum(
        abs(scores[place == b].mean() - labels[place == b].mean()) * np.mean(place == b)
        for b in range(len(found.rows))
        if np.any(place == b)
    )
    assert expected_calibration_error(found) == pytest.approx(error, abs=2**-20)


@given(st.integers(2, 300), st.integers(0, 1000))
def test_calibration_in_the_large_has_students_interval_of_the_rows(rows, seed) -> None:
    scores, labels, sex = drawn(rows, seed)
    value, low, high = in_the_large(counted(scores, labels, sex))
    theirs = ttest_1samp(scores - labels, 0).confidence_interval(0.95)
    assert value == pytest.approx(np.mean(scores - labels), abs=2**-20)
    assert (low, high) == pytest.approx(
        (max(theirs.low, -1), min(theirs.high, 1)), abs=1e-4 if rows > 5 else 2e-2
    )


@given(st.integers(1, 400), st.integers(0, 1000))
def test_murphys_parts_are_those_of_the_rows_and_add_up(rows, seed) -> None:
    scores, labels, sex = drawn(rows, seed)
    found = counted(scores, labels, sex)
    parts = murphy_parts(found)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(brier_score(found), abs=1e-12)
    place = np.floor(scores * 10).astype(int)
    rate = np.array([labels[place == b].mean() for b in place])
    mean = np.array([scores[place == b].mean() for b in place])
    assert parts.reliability == pytest.approx(np.mean((mean - rate) ** 2), abs=1e-5)
    assert parts.resolution == pytest.approx(np.mean((rate - labels.mean()) ** 2), abs=1e-9)
    # Stephenson, Coelho and Jolliffe 2008: within-bin variance less twice the covariance.
    apart = np.mean((scores - mean) ** 2) - 2 * np.mean((scores - mean) * (labels - rate))
    assert parts.within_bins == pytest.approx(apart, abs=1e-5)


def test_scores_that_are_the_chances_are_calibrated_and_doubled_odds_are_not() -> None:
    rng = np.random.default_rng(1)
    chance = rng.beta(2, 5, 40_000)
    labels, sex = rng.random(40_000) < chance, np.zeros(40_000, int)
    honest = counted(chance, labels, sex)
    assert expected_calibration_error(honest) < 0.01
    _, low, high = in_the_large(honest)
    assert low < 0 < high
    odds = 2 * chance / (1 - chance)
    overstated = counted(odds / (1 + odds), labels, sex)
    assert expected_calibration_error(overstated) > 0.1
    assert in_the_large(overstated)[1] > 0.1


def test_groups_together_are_their_rows_together() -> None:
    scores, labels, sex = drawn(500, 3)
    both = counted(scores, labels, sex, "sex=F") + counted(scores, labels, sex, "sex=M")
    whole = counted(scores, labels, sex)
    np.testing.assert_array_equal(both.rows, whole.rows)
    np.testing.assert_array_equal(both.score_sums, whole.score_sums)
    assert both.squared_error == whole.squared_error


def test_no_rows_have_no_calibration_and_one_row_no_interval() -> None:
    nobody = counted(np.zeros(0), np.zeros(0, bool), np.zeros(0, int))
    assert brier_score(nobody) is expected_calibration_error(nobody) is None
    assert murphy_parts(nobody) is in_the_large(nobody) is None
    one = counted(np.array([0.75]), np.array([True]), np.array([0]))
    assert in_the_large(one) == (-0.25, -1.0, 1.0)
