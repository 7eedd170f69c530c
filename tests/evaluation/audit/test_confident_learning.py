"""The joint of given and true labels is cleanlab's, and the same from any partition into sites."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_noise_cases import CASES, case, flipped_case

from evaluation.audit.confident_learning import (
    CONFIDENT,
    FRACTION,
    ROWS,
    WHOLE,
    confidence_segments,
    confidence_sums,
    confidence_thresholds,
    confident_counts,
    confident_joint,
    confident_segments,
    counted_as,
    label_noise,
)
from evaluation.audit.doubtful_rows import doubt
from evaluation.audit.folds import fold_of
from federation.errors import DataError
from federation.layout import VectorLayout
from federation.schema import TaskSchema

FROZEN = json.loads(Path(__file__).with_name("cleanlab_joints.json").read_text())["joints"]


def summed(parts):
    return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}


def federated(probabilities, labels, site, sites):
    """The joint as a coordinator gets it: two sums through the vector that leaves a site."""
    classes = probabilities.shape[1]
    schema = TaskSchema((), "y", tuple(str(c) for c in range(classes)), maximum_rows=len(labels))
    first = VectorLayout(confidence_segments(schema, sites), sites)
    second = VectorLayout(confident_segments(schema, sites), sites)
    members = [site == number for number in range(sites)]
    sums = summed(
        [first.decode(first.encode(confidence_sums(probabilities[m], labels[m]))) for m in members]
    )
    thresholds = confidence_thresholds(sums)
    counts = summed(
        [
            second.decode(
                second.encode(
                    {
                        CONFIDENT: confident_counts(probabilities[m], labels[m], thresholds)
                        .ravel()
                        .astype(float)
                    }
                )
            )
            for m in members
        ]
    )[CONFIDENT]
    return confident_joint(counts.astype(int).reshape(classes, classes), sums[ROWS].astype(int))


@pytest.mark.parametrize("of", CASES, ids=str)
def test_the_joint_is_cleanlabs(of) -> None:
    probabilities, labels = case(*of)
    theirs = np.array(FROZEN["/".join(map(str, of))])
    ours = label_noise(probabilities, labels)
    # With ten classes many cells are rounded by the same amount, and which one gives way is up to
    # the machine's sort: one record at most.
    assert np.abs(ours.joint - theirs).max() <= (1 if of[2] == 10 else 0)
    assert abs(ours.wrong - (theirs.sum() - np.trace(theirs))) <= 2
    assert np.array_equal(ours.joint.sum(axis=1), np.bincount(labels, minlength=of[2]))


@given(
    st.sampled_from([c for c in CASES if c[1] <= 1500]),
    st.integers(1, 9),
    st.floats(0.1, 5),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_any_partition_gives_the_pooled_joint(of, sites, skew, seed) -> None:
    probabilities, labels = case(*of)
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet([skew] * sites, of[2])  # sites may lack a class, or all rows
    site = np.array([draw.choice(sites, p=shares[label]) for label in labels])
    pooled = label_noise(probabilities, labels)
    assert np.array_equal(federated(probabilities, labels, site, sites).joint, pooled.joint)


def test_rows_at_a_tie_stay_counted() -> None:
    # A constant is its own mean; rounding it to 2**-20 must not push its rows below the threshold.
    for share in np.random.default_rng(0).uniform(0.5, 1, 200):
        probabilities = np.tile([1 - share, share], (50, 1))
        counts = confident_counts(
            probabilities,
            np.ones(50, dtype=int),
            confidence_thresholds(confidence_sums(probabilities, np.ones(50, dtype=int))),
        )
        assert counts.tolist() == [[0, 0], [0, 50]]


def test_where_several_thresholds_are_reached_the_most_probable_class_counts() -> None:
    row = np.array([[0.5, 0.3, 0.2]])
    assert counted_as(row, np.array([0.9, 0.25, 0.15])).tolist() == [0]  # cleanlab, not the paper
    assert counted_as(row, np.array([0.9, 0.25, 0.25])).tolist() == [1]
    assert counted_as(row, np.array([0.9, 0.4, 0.4])).tolist() == [-1]


def test_a_class_nobody_has_is_never_counted_and_has_no_rows() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    noise = label_noise(probabilities, np.array([0, 1]))
    assert noise.joint[:, 2].tolist() == [0, 0, 0]
    assert noise.joint.sum(axis=1).tolist() == [1, 1, 0]


def test_no_rows_have_no_share() -> None:
    noise = label_noise(np.zeros((0, 2)), np.zeros(0, dtype=int))
    assert (noise.rows, noise.wrong, noise.share) == (0, 0, None)


def test_the_two_words_are_exact() -> None:
    sums = confidence_sums(np.array([[0.25, 0.75]] * 7), np.array([1] * 7))
    assert sums[WHOLE].tolist() == [0, 5]
    assert sums[FRACTION].tolist() == [0, 0.25]


def test_more_flipped_labels_give_a_larger_estimate_which_is_an_upper_bound() -> None:
    shares = []
    for flipped in (0, 5, 10, 20):
        labels, probabilities, wrong = flipped_case(2, 1500, 2, flipped)
        shares.append(label_noise(probabilities, labels).share)
        assert shares[-1] > 0.9 * wrong.mean()
    assert shares == sorted(shares)
    assert shares[0] < 0.02 < shares[1]


@pytest.mark.parametrize("flipped", [5, 10, 20])
def test_flipped_labels_come_first_in_the_ranking(flipped) -> None:
    labels, probabilities, wrong = flipped_case(2, 1500, 2, flipped)
    first = doubt(probabilities, labels).likely_mislabelled(int(wrong.sum() // 2))
    assert wrong[first].mean() > 0.9


def test_the_most_uncertain_rows_have_the_least_margin() -> None:
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.45, 0.55], [0.0, 1.0]])
    doubts = doubt(probabilities, np.array([0, 0, 1, 0]))
    assert doubts.most_uncertain(3).tolist() == [1, 2, 0]
    assert doubts.entropy[[1, 3]].tolist() == pytest.approx([np.log(2), 0])
    assert doubts.suggested.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("wrong", [[[0.5, 0.6]], [[np.nan, 1.0]], [[-0.1, 1.1]]])
def test_what_are_no_probabilities_is_refused(wrong) -> None:
    with pytest.raises(DataError, match="does not sum to 1"):
        label_noise(np.array(wrong), np.array([0]))
    with pytest.raises(DataError, match="expected"):
        confidence_sums(np.full((3, 2), 0.5), np.array([0]))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=5), st.integers(2, 5))
def test_rows_that_are_alike_share_a_fold_and_folds_are_even(rows, folds) -> None:
    identities, targets = (np.array(column) for column in zip(*rows, strict=True))
    fold = fold_of(identities, targets, folds, seed=1)
    for one in np.unique(identities):
        assert len(set(fold[identities == one])) == 1
    _, first = np.unique(identities, return_index=True)
    sizes = np.bincount(fold[first], minlength=folds)
    assert sizes.max() - sizes.min() <= 1
