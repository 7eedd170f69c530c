"""Queries as numbers: what a plan counts, against numpy on the pooled rows, however they lie."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.analytics.answers import answers
from evaluation.analytics.counting import count, decode, encode
from evaluation.analytics.fixed_point import Grid, join, limbs, split
from evaluation.analytics.plan import CELLS, SQUARES, SUM, plan_queries
from federation.analytics_query import Query
from federation.errors import ConfigError, DataError
from federation.ring_vector import RingVector
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema
from privacy.mechanisms.discrete_laplace import variance

SCHEMA = TaskSchema(
    features=(Numeric("age", 18, 100), Numeric("shift", -3, 7.5), Categorical("pain", ("a", "b"))),
    label="y",
    classes=("no", "yes"),
    attributes=(SensitiveAttribute("sex", ("F", "M")),),
    maximum_rows=1000,
)
SITES = 4


def plan_of(*queries: Query):
    return plan_queries(SCHEMA, queries, 500)


def rows_of(rng: np.random.Generator, rows: int):
    age = rng.uniform(0, 120, rows)
    age[rng.random(rows) < 0.1] = np.nan
    shift = np.round(rng.normal(2, 4, rows), 1)
    pain = rng.choice([0.0, 1.0, 2.0, np.nan], rows)
    return {"age": age, "shift": shift, "pain": pain}, {"sex": rng.integers(0, 3, rows)}


def summed(plan, features, groups, where):
    """The decoded sum over sites, through the ring."""
    layout = plan.layout(SITES)
    total = RingVector.zeros(layout.stretches)
    for site in range(SITES):
        own = where == site
        values = count(
            plan, {k: v[own] for k, v in features.items()}, {k: v[own] for k, v in groups.items()}
        )
        total.add(layout.encode(encode(values)))
    return decode(plan, layout.decode(total))


def asked(query: Query, features, groups, where):
    plan = plan_of(query)
    (answer,) = answers(plan, summed(plan, features, groups, where), SITES, 3)
    return answer


@given(st.integers(0, 2**32), st.sampled_from(["F", "M", "unknown", None]))
def test_exact_answers_are_numpys_on_the_pooled_rows(seed: int, level: str | None) -> None:
    rng = np.random.default_rng(seed)
    features, groups = rows_of(rng, 400)
    features["age"][:4] = [20, 30, 90, 90]  # on the edges, too
    where = rng.integers(0, SITES, 400)
    inside = (
        np.ones(400, bool) if level is None else groups["sex"] == ("F", "M", "unknown").index(level)
    )
    of = {} if level is None else {"sex": level}

    def ask(**settings):
        return asked(Query(name="q", where=of, **settings), features, groups, where)

    assert ask(kind="count").released.value == inside.sum()
    pain = features["pain"][inside]
    counted = [c.rows for c in ask(kind="count", column="pain").cells]
    assert counted == [*((pain == k).sum() for k in range(3)), np.isnan(pain).sum()]
    age = features["age"][inside]
    known = age[~np.isnan(age)]
    bounded = np.clip(known, 20, 90)
    answer = ask(kind="mean", column="age", bounds=(20.0, 90.0))
    assert answer.rows.value == len(known)
    assert answer.missing.value == np.isnan(age).sum()
    assert answer.clipped.value == ((known < 20) | (known > 90)).sum()
    assert abs(answer.released.value - bounded.mean()) <= answer.released.resolution + 1e-12
    total = ask(kind="sum", column="age", bounds=(20.0, 90.0)).released
    assert abs(total.value - bounded.sum()) <= total.resolution + 1e-9
    spread = ask(kind="variance", column="age", bounds=(20.0, 90.0)).released
    assert abs(spread.value - bounded.var()) <= spread.resolution + 1e-9
    edges = np.linspace(20, 90, 8)
    cells = [c.rows for c in ask(kind="histogram", column="age", bounds=(20, 90), bins=7).cells]
    assert cells[1:-2] == np.histogram(known, edges)[0].tolist()
    assert (cells[0], cells[-2]) == ((known < 20).sum(), (known > 90).sum())


@given(st.integers(0, 2**32), st.lists(st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9]), unique=True,
                                        min_size=1))  # fmt: skip
def test_a_quantile_is_within_its_resolution_of_the_true_one(seed, probabilities) -> None:
    rng = np.random.default_rng(seed)
    features, groups = rows_of(rng, 200)
    query = Query(
        name="q", kind="quantile", column="shift", quantiles=tuple(probabilities), resolution=0.05
    )
    answer = asked(query, features, groups, rng.integers(0, SITES, 200))
    pooled = np.sort(np.clip(features["shift"], -3, 7.5))
    for quantile, p in zip(answer.quantiles, probabilities, strict=True):
        true = pooled[math.ceil(Fraction(str(p)) * 200) - 1]
        assert quantile.released.resolution <= 0.05
        assert abs(quantile.released.value - true) <= quantile.released.resolution + 1e-12
        assert quantile.rank_standard_error == 0


def test_a_quantile_among_clipped_rows_is_the_bound_and_says_so() -> None:
    features = {"age": np.full(8, 5.0), "shift": np.zeros(8), "pain": np.zeros(8)}
    query = Query(name="q", kind="quantile", column="age", quantiles=(0.5,))
    answer = asked(query, features, {"sex": np.zeros(8, int)}, np.arange(8) % SITES)
    (quantile,) = answer.quantiles
    assert (quantile.released.value, quantile.at_bound) == (18, True)


def test_an_exact_answer_about_the_rows_of_few_sites_is_withheld() -> None:
    rng = np.random.default_rng(3)
    features, groups = rows_of(rng, 60)
    groups["sex"] = np.ones(60, np.int64)
    groups["sex"][:3] = 0
    where = np.arange(60) % SITES
    where[:3] = [0, 1, 1]
    query = Query(name="q", kind="count", where={"sex": "F"})
    answer = asked(query, features, groups, where)
    assert answer.released is None
    assert "minimum_contributors = 3" in answer.withheld
    where[2] = 2
    answer = asked(query, features, groups, where)
    assert (answer.withheld, answer.released.value, answer.sites_with_rows) == ("", 3, 3)


@given(st.integers(1, 2**55), st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.integers(1, 9))
def test_limbs_add_up_exactly(bound: int, shares: list[float], sites: int) -> None:
    values = np.array([int(share * bound) for share in shares], np.int64)
    parts = [split(values, limbs(bound)) for _ in range(sites)]
    sums = tuple(sum(limb) for limb in zip(*parts, strict=True))
    assert join(sums) == [sites * int(v) for v in values]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e5), st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_a_grid_moves_no_value_by_more_than_half_a_step(low, width, values) -> None:
    grid = Grid(low, low + width)
    clipped = np.clip(np.array(values, np.float64), low, low + width)
    codes = grid.codes(np.array(values, np.float64))
    assert np.all(np.abs(codes) <= grid.half_width)
    moved = np.abs((codes + grid.origin) * grid.step - clipped)
    assert np.all(moved <= grid.step / 2)
    assert grid.step <= (grid.high - grid.low) / 2**19


@given(
    st.sampled_from(["sum", "mean", "variance", "histogram", "quantile"]),
    st.one_of(st.none(), st.floats(0.01, 10)),
    st.integers(3, 60),
)
def test_the_largest_numbers_of_all_sites_still_add_up(kind, epsilon, sites) -> None:
    quantiles = (0.5,) if kind == "quantile" else ()
    plan = plan_of(Query(name="q", kind=kind, column="age", quantiles=quantiles, epsilon=epsilon))
    layout = plan.layout(sites)
    for sign in (1, -1):
        most = {part: np.full(part.length, sign * part.bound, np.int64) for part in plan.parts}
        total = RingVector.zeros(layout.stretches)
        for _ in range(sites):
            total.add(layout.encode(encode(most)))
        sums = decode(plan, layout.decode(total))
        assert all(sums[p] == [sign * sites * p.bound] * p.length for p in plan.parts)


def test_one_more_than_the_bound_is_refused() -> None:
    plan = plan_of(Query(name="q", kind="count"))
    values = {part: np.full(part.length, part.bound + 1, np.int64) for part in plan.parts}
    with pytest.raises(ValueError, match="beyond 1500"):
        encode(values)


@pytest.mark.parametrize("kind", ["count", "sum", "mean", "variance", "histogram", "quantile"])
def test_one_record_moves_the_parts_by_no_more_than_their_sensitivity(kind: str) -> None:
    query = Query(
        name="q",
        kind=kind,
        column="shift",
        quantiles=(0.5,) if kind == "quantile" else (),
        epsilon=1.0,
    )
    plan = plan_of(query)
    for value in (-1e9, -3.0, 2.25, 7.5, 1e9, math.inf, math.nan):
        one = {"age": np.array([30.0]), "shift": np.array([value]), "pain": np.array([0.0])}
        for part, moved in count(plan, one, {"sex": np.array([0])}).items():
            assert np.abs(moved).sum() <= part.sensitivity
    extreme = {part: int(np.abs(v).sum()) for part, v in count(
        plan, one | {"shift": np.array([7.5])}, {"sex": np.array([0])}
    ).items()}  # fmt: skip
    assert all(extreme[part] == part.sensitivity for part in plan.parts)  # it is reached


def test_the_parts_of_a_query_share_its_epsilon_and_waste_nothing() -> None:
    plan = plan_of(Query(name="q", kind="variance", column="age", epsilon=0.3))
    assert [part.role for part in plan.parts] == [CELLS, SUM, SQUARES]
    spent = sum(Fraction(part.sensitivity) / Fraction(part.scale) for part in plan.parts)
    assert Fraction(0.3) * (1 - Fraction(1, 10**12)) < spent <= Fraction(0.3)
    for part in plan.parts:
        assert part.noise_variance == pytest.approx(variance(part.scale), rel=1e-12)


@pytest.mark.parametrize("kind", ["sum", "mean", "variance"])
def test_a_noised_answer_has_the_error_that_it_states(kind: str) -> None:
    rng = np.random.default_rng(11)
    rows = 5000
    features, groups = rows_of(rng, rows)
    features["age"] = rng.uniform(88, 100, rows)  # far from the middle: every noise counts
    plan = plan_of(Query(name="q", kind=kind, column="age", epsilon=2.0))
    exact = summed(plan, features, groups, rng.integers(0, SITES, rows))
    told, released = [], []
    for _ in range(2000):
        # Normal noise of the stated variance: the discrete Laplace has tests of its own.
        noised = {
            part: np.rint(
                values + rng.normal(0, math.sqrt(SITES * part.noise_variance), part.length)
            )
            .astype(np.int64)
            .tolist()
            for part, values in exact.items()
        }
        (answer,) = answers(plan, noised, SITES, 3)
        released.append(answer.released.value)
        told.append(answer.released.standard_error)
    assert np.std(released) == pytest.approx(np.mean(told), rel=0.07)


def test_too_few_rows_for_the_noise_give_no_mean() -> None:
    features, groups = rows_of(np.random.default_rng(1), 12)
    plan = plan_of(Query(name="q", kind="mean", column="shift", epsilon=0.1))
    sums = summed(plan, features, groups, np.arange(12) % SITES)
    (answer,) = answers(plan, sums, SITES, 3)
    assert answer.released.value is None


def test_exact_sums_that_no_rows_have_are_an_error() -> None:
    plan = plan_of(Query(name="q", kind="count"))
    cells, sites = plan.parts
    with pytest.raises(DataError, match="something else than counts"):
        answers(plan, {cells: [-1], sites: [4]}, SITES, 3)
    with pytest.raises(DataError, match="something else than counts"):
        answers(plan, {cells: [10], sites: [5]}, SITES, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "mean", "column": "agee"}, "did you mean age"),
        ({"kind": "mean", "column": "pain"}, "a number for mean"),
        ({"kind": "mean", "column": "sex"}, "one of age"),
        ({"kind": "mean"}, "the name of a feature"),
        ({"kind": "mean", "column": "age", "bounds": (10.0, 90.0)}, "within the public range"),
        ({"kind": "mean", "column": "age", "bounds": (20.0, 101.0)}, "within the public range"),
        ({"kind": "mean", "column": "age", "bounds": (50.0, 50.0)}, "low < high"),
        ({"kind": "mean", "column": "age", "bins": 5}, "none for kind 'mean'"),
        ({"kind": "histogram", "column": "pain", "bins": 5}, "none for levels"),
        ({"kind": "histogram", "column": "sex", "bounds": (0.0, 1.0)}, "none for levels"),
        ({"kind": "count", "bounds": (0.0, 1.0)}, "none without a column"),
        ({"kind": "count", "where": {"sexx": "F"}}, "did you mean sex"),
        ({"kind": "count", "where": {"sex": "X"}}, "one of F, M, unknown"),
        ({"kind": "quantile", "column": "age"}, "one or more"),
        ({"kind": "quantile", "column": "age", "quantiles": (0.5, 0.5)}, "each of them once"),
        ({"kind": "quantile", "column": "age", "quantiles": (0.5,), "resolution": 1e-4}, "bins"),
    ],
)
def test_a_question_without_an_answer_is_refused(settings, says) -> None:
    with pytest.raises((ConfigError, ValueError), match=says):
        plan_of(Query(name="q", **settings))


def test_bounds_too_narrow_for_their_distance_from_zero_are_refused() -> None:
    def plan(low: float, high: float):
        schema = dataclasses.replace(SCHEMA, features=(Numeric("far", low, high),))
        return plan_queries(schema, [Query(name="q", kind="sum", column="far")], 5)

    with pytest.raises(ConfigError, match="not so close to each other"):
        plan(2.0**33, 2.0**33 + 1)
    far = plan(2.0**33 - 2, 2.0**33 - 1)
    value = {"far": np.array([2.0**33 - 2])}
    (codes,) = (v for p, v in count(far, value, {"sex": np.array([0])}).items() if p.role == SUM)
    assert far.queries[0].grid.step * (codes[0] + far.queries[0].grid.origin) == 2.0**33 - 2


def test_more_rows_than_were_declared_possible_are_refused() -> None:
    features, groups = rows_of(np.random.default_rng(1), 1501)
    plan = plan_of(Query(name="q", kind="count"))
    with pytest.raises(DataError, match="at most 1500"):
        count(plan, features, groups)
    fewer = {k: v[:1500] for k, v in features.items()}
    assert count(plan, fewer, {"sex": groups["sex"][:1500]})[plan.parts[0]].tolist() == [1500]


def test_columns_that_are_absent_ragged_or_no_codes_are_refused() -> None:
    features, groups = rows_of(np.random.default_rng(1), 5)
    plan = plan_of(Query(name="q", kind="count", column="pain"))
    for wrong, of in (
        ({k: v for k, v in features.items() if k != "shift"}, groups),
        (features | {"age": features["age"][:4]}, groups),
        (features | {"pain": np.full(5, 0.5)}, groups),
        (features, {"sex": np.full(5, 3)}),
        (features, {}),
    ):
        with pytest.raises(DataError):
            count(plan, wrong, of)
