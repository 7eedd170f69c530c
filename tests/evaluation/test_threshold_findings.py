"""A table by threshold tells no small cell, and what it tells is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.score_findings import score_findings_by_scope
from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import TallySpec
from evaluation.threshold_findings import explorers, threshold_effects
from evaluation.window_sums import ScopeSums
from federation.schema import Numeric, SensitiveAttribute, TaskSchema

SPEC = TallySpec(
    TaskSchema((Numeric("x", 0, 1),), "y", ("no", "yes"), (SensitiveAttribute("sex", ("F", "M")),))
)
MINIMUM = 10


def counted(sizes: tuple[int, int], seed: int):
    """Scores that are calibrated, in two groups of these sizes."""
    draws = np.random.default_rng(seed)
    sex = np.repeat([0, 1], sizes)
    score = draws.beta(1.5, 1.5 + sex)
    label = (draws.random(len(sex)) < score).astype(np.int64)
    judged = np.stack([1 - score, score], axis=1), label, {"sex": sex}
    outcomes = count_outcomes(SPEC, *judged)
    sums = outcomes | count_scores(SPEC, *judged) | count_site_gaps(SPEC, outcomes)
    scores = score_findings_by_scope(SPEC, {"overall": sums}, MINIMUM)["overall"]
    return score, label, sex, ScopeSums(sums, 0.0, 5), scores


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.integers(0, 120), st.integers(0, 400)), st.integers(0, 2**31))
def test_no_small_cell_follows_from_the_table(sizes, seed) -> None:
    score, label, sex, scope, scores = counted(sizes, seed)
    for explorer in explorers(SPEC, scope, scores):
        for place, name in enumerate(("F", "M")):
            for positive, rate in ((1, "true_positive_rate"), (0, "false_positive_rate")):
                own = score[(sex == place) & (label == positive)]
                told = [
                    getattr(group, rate)
                    for row in explorer.rows
                    for group in row.groups
                    if group.group == name
                ]
                if not told or None in told:
                    continue
                selected = np.rint(np.array([1.0, *told, 0.0]) * len(own)).astype(int)
                cells = -np.diff(selected)
                small = (cells > 0) & (cells < MINIMUM)
                # The threshold of one half is told by TN, FP, FN and TP anyway.
                near_half = [abs(row.threshold - 0.5) < 1e-9 for row in explorer.rows]
                edges = np.array([False, *near_half, False])
                assert not np.any(small & ~(edges[:-1] | edges[1:]))


def test_a_row_says_what_its_threshold_does() -> None:
    score, label, sex, scope, scores = counted((3000, 5000), 1)
    (explorer,) = explorers(SPEC, scope, scores)
    assert len(explorer.rows) > 10
    for row in explorer.rows:
        for place, group in enumerate(row.groups):
            own = score[sex == place]
            assert group.selection_rate == pytest.approx(np.mean(own >= row.threshold))
        right = (score >= row.threshold) == (label == 1)
        assert row.figures.accuracy == pytest.approx(np.mean(right))


def test_rules_stand_on_the_scale_of_scores() -> None:
    score, _, sex, scope, scores = counted((3000, 5000), 2)
    outcomes = threshold_effects(SPEC, scope, scores)
    assert {one.criterion for one in outcomes} >= {"demographic_parity", "equalized_odds"}
    parity = next(one for one in outcomes if one.criterion == "demographic_parity")
    selected = []
    for place, rule in enumerate(parity.rules):
        own = score[sex == place]
        by_score = [np.mean(own >= threshold) for threshold in rule.thresholds]
        selected.append(rule.first * by_score[0] + (1 - rule.first) * by_score[1])
    assert selected[0] == pytest.approx(selected[1], abs=0.01)
    assert parity.before.gaps.demographic_parity_difference > 0.1


def test_a_group_whose_curve_is_withheld_has_no_row() -> None:
    *_, scope, scores = counted((15, 3000), 3)
    withheld = {one.group for one in scores if not one.roc}
    assert "F" in withheld
    for explorer in explorers(SPEC, scope, scores):
        assert all(group.group != "F" for row in explorer.rows for group in row.groups)
    assert threshold_effects(SPEC, scope, scores) == ()
