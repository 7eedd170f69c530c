"""What a reader can work out from all that is published of groups, with an attacker who tries.

The attacker knows every number of the release, and which function of which rows it is: shown cells,
combined groups, and all rows. A cell that is the same in every table that fits is had.
"""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from evaluation import findings, group_metrics
from evaluation.cell_noise import CellNoise
from evaluation.group_metrics import FN, FP, TN, TP
from evaluation.shown_levels import Shown, shown_levels
from evaluation.suppression import across_scopes, partitions
from evaluation.tally_spec import TallySpec
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("-59", "60+"))
SPEC = TallySpec(TaskSchema((), "died", ("no", "yes"), (SEX, AGE)), (("sex", "age"),), score_bins=2)
K = 10


def sums_of(cells):
    """Sums whose finest cells (sex, age, TN-FP-FN-TP), shape (3, 3, 4), are these."""
    sums = {}
    for group in SPEC.groups:
        at = {level.attribute: level.code for level in group.levels}
        picked = cells[at.get("sex", slice(None)), at.get("age", slice(None))]
        confusion = picked.reshape(-1, 4).sum(axis=0)
        sums[f"confusion/{group.label}"] = confusion.astype(float)
        scores = [[confusion[TN], confusion[FP]], [confusion[FN], confusion[TP]]]
        sums[f"scores/{group.label}"] = np.ravel(scores).astype(float)
    return sums


def published_equations(release, spec):
    """Linear equations of all groups' cells that the numbers of one scope's release give.

    Returns rows of shape (groups * 4,) and what they add up to: what a reader gets from rows,
    positives and rates of every group listed, and from all rows together, which are no secret.
    """
    places = {group.label: place for place, group in enumerate(spec.groups)}
    rows, values = [], []

    def learn(members, columns, value):
        row = np.zeros((len(spec.groups), 4))
        for member in members:
            row[places[member], columns] = 1
        rows.append(row.ravel())
        values.append(float(value))

    for group in release.groups:
        names = group.combines or (group.group,)
        attributes = group.attribute.split(" & ")
        members = [
            " & ".join(f"{a}={n}" for a, n in zip(attributes, name.split(" & "), strict=True))
            for name in names
        ]
        if group.suppressed:
            continue
        learn(members, [TN, FP, FN, TP], group.rows)
        if group.selection_rate.value is not None:
            learn(members, [FP, TP], group.rows * group.selection_rate.value)
        if group.positives is not None:
            learn(members, [FN, TP], group.positives)
            if group.true_positive_rate.value is not None:
                learn(members, [TP], group.positives * group.true_positive_rate.value)
            if group.accuracy.value is not None:
                learn(members, [TN, TP], group.rows * group.accuracy.value)
    return rows, values


def attacker(releases, truth):
    """Least and most of every group's rows, positives and negatives, per scope, that fit."""
    count = len(SPEC.groups) * 4
    scopes = len(releases)
    matrix, known = [], []
    for at, release in enumerate(releases):
        equations = zip(*published_equations(release, SPEC), strict=True)
        for row, value in equations:
            whole = np.zeros(scopes * count)
            whole[at * count : (at + 1) * count] = row
            matrix.append(whole)
            known.append(value)
        for column in range(4):  # all rows of a scope
            whole = np.zeros(scopes * count)
            whole[at * count + column] = 1
            matrix.append(whole)
            known.append(float(truth[at][0, column]))
    for partition in across_scopes(partitions(SPEC), len(SPEC.groups), scopes):
        for column in range(4):
            whole = np.zeros(scopes * count)
            whole[[part * 4 + column for part in partition.parts]] += 1
            whole[partition.whole * 4 + column] -= 1
            matrix.append(whole)
            known.append(0.0)
    matrix, known = np.array(matrix), np.array(known)

    def bounds(at, place, columns):
        goal = np.zeros(scopes * count)
        goal[[at * count + place * 4 + column for column in columns]] = 1
        ends = [linprog(sign * goal, A_eq=matrix, b_eq=known) for sign in (1, -1)]
        assert all(end.status == 0 for end in ends)
        return ends[0].fun, -ends[1].fun

    return bounds


cell = st.one_of(st.integers(0, 12), st.integers(10, 60))
finest = st.lists(cell, min_size=36, max_size=36).map(lambda c: np.array(c).reshape(3, 3, 4))


@given(finest)
@settings(max_examples=12, deadline=None)
def test_no_small_group_follows_from_all_that_is_published(cells) -> None:
    cells[2] //= 6  # few rows are of unknown sex
    sums = sums_of(cells)
    release = findings.fairness(SPEC, sums, "overall", K)
    truth = TallySums(SPEC, sums).outcomes(SPEC.groups)
    assume(min(truth[0, [TN, FP]].sum(), truth[0, [FN, TP]].sum()) >= K)
    bounds = attacker([release], [truth])
    for place, confusion in enumerate(truth[1:], start=1):
        rows = confusion.sum()
        if 0 < rows < K:
            low, high = bounds(0, place, [TN, FP, FN, TP])
            assert high - low > 0.5, SPEC.groups[place].label
        for columns in ([TN, FP], [FN, TP]):
            if 0 < confusion[columns].sum() < K:
                low, high = bounds(0, place, columns)
                assert high - low > 0.5, (SPEC.groups[place].label, columns)


def released_numbers(release):
    """Everything that is published, but what is a function of a single listed group's own cells."""
    gaps = [gap.model_dump() for gap in release.disparities]
    return gaps, [one.model_dump() for one in release.comparisons]


@given(finest, st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_gaps_and_comparisons_are_functions_of_what_is_shown(cells, seed) -> None:
    """Rows exchanged between groups that are hidden change nothing that is published.

    So gaps to overall, F1, p-values and intervals tell no more than the shown cells do, whatever
    the attacker makes of them.
    """
    cells[2] //= 6
    sums = sums_of(cells)
    tallies = TallySums(SPEC, sums)
    (levels,) = shown_levels([tallies], K)
    other = exchanged(cells, levels, np.random.default_rng(seed))
    if other is None:
        return
    again = sums_of(other)
    (levels_again,) = shown_levels([TallySums(SPEC, again)], K)
    if not np.array_equal(levels, levels_again):
        return
    first, second = (findings.fairness(SPEC, s, "overall", K) for s in (sums, again))
    assert released_numbers(first) == released_numbers(second)


def exchanged(cells, levels, rng):
    """Another table with the same shown cells, if a swap of one row in a rectangle gives one."""
    level = dict(zip((group.label for group in SPEC.groups), levels, strict=True))
    names = [list(attribute.groups) for attribute in (SEX, AGE)]
    hidden = [
        (i, j)
        for i, j in itertools.product(range(3), range(3))
        if level[f"sex={names[0][i]} & age={names[1][j]}"] == Shown.NOTHING
    ]
    rectangles = [
        (a, b)
        for a, b in itertools.combinations(hidden, 2)
        if a[0] != b[0] and a[1] != b[1] and {(a[0], b[1]), (b[0], a[1])} <= set(hidden)
    ]
    rng.shuffle(rectangles)
    for (i, j), (m, n) in rectangles:
        column = int(rng.integers(0, 4))
        if cells[i, j, column] and cells[m, n, column]:
            other = cells.copy()
            other[[i, m], [j, n], column] -= 1
            other[[i, m], [n, j], column] += 1
            return other
    return None


def test_a_swap_among_hidden_groups_exists() -> None:
    """The test above is no test if no table has such a rectangle."""
    cells = np.full((3, 3, 4), 40)
    cells[1:, 1:] = 2
    (levels,) = shown_levels([TallySums(SPEC, sums_of(cells))], K)
    other = exchanged(cells, levels, np.random.default_rng(0))
    assert other is not None
    first, second = (findings.fairness(SPEC, sums_of(c), "overall", K) for c in (cells, other))
    assert released_numbers(first) == released_numbers(second)
    assert first == second


def test_cohorts_tell_no_small_group_of_each_other() -> None:
    rng = np.random.default_rng(4)
    for _ in range(3):
        north, south = rng.integers(0, 25, (2, 3, 3, 4))
        north[2], south[1] = north[2] // 8, south[1] // 4
        scopes = {
            "overall": sums_of(north + south),
            "north": sums_of(north),
            "south": sums_of(south),
        }
        releases = findings.fairness_by_scope(SPEC, scopes, K)
        truth = [TallySums(SPEC, one).outcomes(SPEC.groups) for one in scopes.values()]
        bounds = attacker(releases, truth)
        for at, place in itertools.product(range(3), range(1, len(SPEC.groups))):
            if 0 < truth[at][place].sum() < K:
                low, high = bounds(at, place, [TN, FP, FN, TP])
                assert high - low > 0.5


def test_every_rate_of_a_shown_group_is_its_own() -> None:
    cells = np.full((3, 3, 4), 40)
    cells[2] = 0
    cells[0, 0] = [70, 30, 10, 50]
    found = findings.fairness(SPEC, sums_of(cells), "overall", K)
    group = next(g for g in found.groups if g.group == "F & -59")
    confusion = np.array([70, 30, 10, 50])
    for name in (
        "selection_rate", "true_positive_rate", "true_negative_rate", "false_positive_rate",
        "false_negative_rate", "precision", "accuracy", "balanced_accuracy", "f1",
    ):  # fmt: skip
        estimate = getattr(group, name)
        assert estimate.value == float(getattr(group_metrics, name)(confusion))
        assert estimate.low < estimate.value < estimate.high


def test_a_denominator_below_the_minimum_is_not_estimable_and_says_so() -> None:
    cells = np.full((3, 3, 4), 40)
    cells[2] = 0
    cells[0] = [[80, 3, 40, 4], [80, 0, 40, 0], [0, 0, 0, 0]]
    found = findings.fairness(SPEC, sums_of(cells), "overall", K)
    few, none = (
        next(g for g in found.groups if g.group == name) for name in ("F & -59", "F & 60+")
    )
    assert few.precision.value is None
    assert few.precision.reason == "fewer than 10 predicted positives in this group"
    assert none.precision.reason == "no predicted positives in this group"
    assert few.true_positive_rate.value == 4 / 44
    gap = next(
        d for d in found.disparities
        if (d.attribute, d.metric) == ("sex & age", "precision_difference")
    )  # fmt: skip
    assert not {"F & -59", "F & 60+"} & set(gap.between)


NOISE = CellNoise(60.0, "discrete_laplace")


def noised(cells, noise, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: values + noise.sample(values.shape, rng) for name, values in sums_of(cells).items()
    }


def test_noised_counts_give_wider_intervals_and_hide_what_the_noise_drowns() -> None:
    cells = np.full((3, 3, 4), 60)
    cells[2] = 1
    exact = findings.fairness(SPEC, sums_of(cells), "overall", K)
    found = findings.fairness(SPEC, noised(cells, NOISE), "overall", K, NOISE)
    by_name = {(g.attribute, g.group): g for g in found.groups}
    for group in exact.groups:
        other = by_name.get((group.attribute, group.group))
        if group.rows < 200 or other is None:
            continue
        mine, theirs = group.selection_rate, other.selection_rate
        assert theirs.high - theirs.low > mine.high - mine.low
        assert abs(theirs.value - mine.value) < 0.15
    assert not any(g.rows for g in found.groups if g.group == "unknown & unknown")
    drowned = findings.fairness(
        SPEC, noised(cells, CellNoise(1e4, "gaussian")), "overall", K, CellNoise(1e4, "gaussian")
    )
    hidden = [g for g in drowned.groups if g.suppressed]
    assert hidden
    assert all(g.reason == "fewer than 10 rows, or no more than the noise" for g in hidden)


def test_noised_counts_may_be_negative_and_need_not_add_up() -> None:
    cells = np.full((3, 3, 4), 60)
    cells[2] = 0
    sums = noised(cells, NOISE)
    assert any((values < 0).any() for values in sums.values())
    scopes = {"overall": sums, "north": noised(cells, NOISE, 1)}
    assert len(findings.fairness_by_scope(SPEC, scopes, K, NOISE)) == 2
    with pytest.raises(DataError, match="expected whole numbers >= 0"):
        findings.fairness(SPEC, sums, "overall", K)


def test_noised_counts_of_more_classes_allow_for_both_counts_noise() -> None:
    """Right answers and rows are noised; their ratio is covered in 95 % of tables and more."""
    spec = TallySpec(TaskSchema((), "digit", ("0", "1", "2"), (SEX,)))
    noise, covered = CellNoise(50.0, "gaussian"), []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        sums = {f"hits/{group.label}": np.array([600.0, 480.0]) for group in spec.groups}
        sums = {name: one + noise.sample((2,), rng) for name, one in sums.items()}
        found = findings.fairness(spec, sums, "overall", K, noise)
        accuracy = found.groups[0].accuracy
        covered.append(accuracy.low <= 0.8 <= accuracy.high)
        assert found.groups[0].auc is None
    assert np.mean(covered) >= 0.95
