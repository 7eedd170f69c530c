"""Every kind of partition gives each row to one site, and skews what it says it skews."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet, kstest

from federation.errors import ConfigError
from federation.partition_choice import (
    DrawnPartition,
    IidPartition,
    QuantityPartition,
    numbered_sites,
    parse_partition_choice,
)
from federation.task import Rows
from simulations.partition.concentrated_law import draw_without_replacement, log_weights
from simulations.partition.drawing import draw, row_owners
from simulations.partition.row_pool import RowPool
from simulations.partition.site_sizes import equal_sizes, largest_remainders, skewed_sizes


def pool_of(rows: int, classes: int = 3, seed: int = 0) -> RowPool:
    """Rows of random labels, with two groups, a feature with ties and gaps, and four windows."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 30, rows).astype(float)
    values[generator.random(rows) < 0.05] = np.nan
    return RowPool(
        Rows(
            torch.from_numpy(generator.standard_normal((rows, 2)).astype(np.float32)),
            torch.from_numpy(generator.integers(0, classes, rows)),
            {"age": values},
            {"sex": generator.integers(0, 3, rows)},
        ),
        np.sort(generator.integers(0, 4, rows)),
        "windows",
    )


def choice(kind: str, **parameters: object) -> DrawnPartition:
    parsed = parse_partition_choice({"kind": kind, **parameters})
    assert parsed.kind != "natural"
    return parsed


KINDS = st.one_of(
    st.just(choice("iid")),
    st.floats(1e-5, 1e5).map(lambda alpha: choice("dirichlet", alpha=alpha)),
    st.floats(0, 5).map(lambda sigma: choice("quantity", sigma=sigma)),
    st.floats(1e-4, 100).map(lambda beta: choice("quantity", law="dirichlet", beta=beta)),
    st.floats(0, 1).map(lambda mixing: choice("feature", feature="age", mixing=mixing)),
    st.just(choice("feature", feature="age", direction="descending")),
    st.just(choice("feature", input_noise=0.5)),
    st.just(choice("time")),
)


@given(KINDS, st.integers(3, 40), st.integers(0, 400), st.floats(0.01, 0.99), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_every_row_is_at_one_site_in_one_split(
    kind: DrawnPartition, sites: int, spare: int, share: float, seed: int
) -> None:
    kind = kind.model_copy(update={"held_out_share": share})
    pool = pool_of(kind.minimum_rows * sites + spare)
    drawn = draw(kind, pool, numbered_sites(sites), seed)
    assert np.array_equal(np.sort(drawn.rows), np.arange(len(pool)))
    assert drawn.lengths.shape == (sites, 3)
    assert drawn.lengths.min() >= 1
    assert drawn.lengths.sum(axis=1).min() >= kind.minimum_rows
    of_sites = [drawn.of(site) for site in drawn.sites]
    assert np.array_equal(
        np.concatenate([part for parts in of_sites for part in parts]), drawn.rows
    )
    assert [[len(part) for part in parts] for parts in of_sites] == drawn.lengths.tolist()


@given(KINDS, st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_the_same_seed_gives_the_same_partition_and_names_do_not_matter(
    kind: DrawnPartition, seed: int
) -> None:
    pool = pool_of(120)
    first = draw(kind, pool, numbered_sites(7), seed)
    again = draw(kind, pool, tuple("abcdefg"), seed)
    assert np.array_equal(first.rows, again.rows)
    assert np.array_equal(first.lengths, again.lengths)


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "quantity"])
def test_another_seed_gives_another_partition(kind: str) -> None:
    pool = pool_of(120)
    first, other = (draw(choice(kind), pool, numbered_sites(7), seed) for seed in (1, 2))
    assert not np.array_equal(first.rows, other.rows)


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "quantity", "time"])
def test_as_many_sites_as_there_are_rows_for_and_not_one_more(kind: str) -> None:
    pool = pool_of(43)
    assert len(draw(choice(kind), pool, numbered_sites(10), 0).sites) == 10
    with pytest.raises(ConfigError) as refused:
        draw(choice(kind), pool, numbered_sites(11), 0)
    assert refused.value.key == "federation.sites"
    assert "at most 10 for 43 rows" in str(refused.value)
    assert ("resample = true" in str(refused.value)) == (kind != "time")


# -- label skew ----------------------------------------------------------------------------------


def label_counts(alpha: float, rows: int, classes: int, sites: int, seed: int) -> np.ndarray:
    labels = np.random.default_rng(9).integers(0, classes, rows)
    pool = pool_of(rows)
    rows_ = Rows(pool.rows.inputs, torch.from_numpy(labels), pool.rows.features, pool.rows.groups)
    owners = row_owners(
        choice("dirichlet", alpha=alpha),
        RowPool(rows_, None, "table"),
        sites,
        np.random.default_rng(seed),
    )
    return np.stack([np.bincount(labels[owners == k], minlength=classes) for k in range(sites)])


@given(st.integers(2, 10), st.integers(3, 60), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_towards_alpha_0_a_site_has_one_class_unless_it_used_one_up(
    classes: int, sites: int, seed: int
) -> None:
    counts = label_counts(1e-6, 20 * sites, classes, sites, seed)
    assert ((counts > 0).sum(axis=1) > 1).sum() <= classes - 1


def test_towards_infinite_alpha_labels_are_as_of_rows_at_random() -> None:
    counts = label_counts(1e6, 40_000, 4, 20, 3)
    whole = counts.sum(axis=0) / counts.sum()
    deviation = np.sqrt(2000 * whole * (1 - whole))
    assert (np.abs(counts - 2000 * whole) < 5 * deviation).all()


def test_sites_differ_less_as_alpha_grows() -> None:
    def spread(alpha: float) -> float:
        counts = label_counts(alpha, 6000, 5, 30, 1)
        laws = counts / counts.sum(axis=1, keepdims=True)
        return float(np.abs(laws - counts.sum(axis=0) / counts.sum()).sum(axis=1).mean())

    spreads = [spread(alpha) for alpha in (0.01, 0.3, 3.0, 30.0, 3000.0)]
    assert spreads == sorted(spreads, reverse=True)


def test_sites_of_a_label_skew_are_equally_large() -> None:
    counts = label_counts(0.1, 1003, 5, 10, 1)
    assert sorted(set(counts.sum(axis=1).tolist())) == [100, 101]


@pytest.mark.parametrize("concentration", [0.3, 2.0])
def test_laws_are_drawn_from_the_dirichlet_distribution(concentration: float) -> None:
    logs = log_weights(np.full((4000, 3), concentration), np.random.default_rng(5))
    laws = np.exp(logs)
    first = (laws / laws.sum(axis=1, keepdims=True))[:, 0]
    theirs = dirichlet.rvs([concentration] * 3, size=4000, random_state=6)[:, 0]
    assert kstest(first, theirs).pvalue > 1e-3


def test_a_tiny_concentration_is_no_zero_over_zero() -> None:
    logs = log_weights(np.full((1000, 4), 1e-6), np.random.default_rng(1))
    assert np.isfinite(logs).all()
    assert set(np.bincount(logs.argmax(axis=1), minlength=4) > 200) == {True}


def test_what_is_used_up_is_drawn_from_the_others() -> None:
    generator = np.random.default_rng(0)
    tilt = np.array([0.0, -1e3, -1e6])
    assert draw_without_replacement(6, tilt, np.array([4, 1, 9]), generator).tolist() == [4, 1, 1]
    assert draw_without_replacement(3, tilt, np.array([0, 5, 9]), generator).tolist() == [0, 3, 0]


def test_a_first_site_draws_its_labels_by_its_law() -> None:
    tilt, left = np.log([3.0, 1.0]), np.array([10**9, 10**9])
    drawn = draw_without_replacement(10**6, tilt, left, np.random.default_rng(0))
    assert drawn[0] / 10**6 == pytest.approx(0.75, abs=0.003)


# -- quantity skew -------------------------------------------------------------------------------


def test_largest_remainders_go_to_the_largest_fractions() -> None:
    assert largest_remainders(10, np.array([1.2, 1.5, 7.3])).tolist() == [1, 2, 7]
    assert largest_remainders(7, np.array([1.0, 1.0, 1.0])).tolist() == [3, 2, 2]
    assert largest_remainders(0, np.array([1.0, 2.0])).tolist() == [0, 0]


@given(st.integers(0, 10**6), st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50))
def test_largest_remainders_are_within_one_of_the_share(total: int, weights: list[float]) -> None:
    sizes = largest_remainders(total, np.array(weights))
    assert sizes.sum() == total
    assert (np.abs(sizes - total * np.array(weights) / sum(weights)) < 1 + 1e-6).all()


def test_a_lognormal_law_has_the_deviation_that_was_asked_for() -> None:
    asked = QuantityPartition(kind="quantity", sigma=1.3, minimum_rows=3)
    sizes = skewed_sizes(10**9, 3000, asked, np.random.default_rng(4))
    assert np.log(sizes - 3).std() == pytest.approx(1.3, rel=0.05)


def test_a_dirichlet_law_of_sizes_has_the_variance_that_was_asked_for() -> None:
    asked = QuantityPartition(kind="quantity", law="dirichlet", beta=0.7, minimum_rows=3)
    sites, rows = 4000, 10**9
    shares = (skewed_sizes(rows, sites, asked, np.random.default_rng(4)) - 3) / rows
    expected = (sites - 1) / (sites**2 * (sites * 0.7 + 1))
    assert shares.var() == pytest.approx(expected, rel=0.15)


def test_without_spread_all_sites_are_equally_large() -> None:
    asked = QuantityPartition(kind="quantity", sigma=0.0)
    sizes = skewed_sizes(103, 10, asked, np.random.default_rng(0))
    assert sorted(sizes.tolist()) == sorted(equal_sizes(103, 10).tolist())


# -- feature skew and time -----------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_sites_have_stretches_of_a_feature_and_missing_values_come_last(direction: str) -> None:
    pool = pool_of(300)
    asked = choice("feature", feature="age", direction=direction)
    owners = row_owners(asked, pool, 9, np.random.default_rng(1))
    values = pool.rows.features["age"]
    missing = np.isnan(values)
    assert owners[missing].min() >= owners[~missing].max()
    signed = values if direction == "ascending" else -values
    for site in range(8):
        here, next_ = (signed[(owners == k) & ~missing] for k in (site, site + 1))
        assert not len(next_) or here.max() <= next_.min()


def test_mixing_takes_a_feature_skew_back_to_rows_at_random() -> None:
    pool = pool_of(4000)
    values = np.nan_to_num(pool.rows.features["age"], nan=30.0)

    def explained(mixing: float) -> float:
        asked = choice("feature", feature="age", mixing=mixing)
        owners = row_owners(asked, pool, 10, np.random.default_rng(2))
        means = np.array([values[owners == site].mean() for site in range(10)])
        return float(means.var() / values.var())

    sorted_, half, mixed = explained(0.0), explained(0.5), explained(1.0)
    assert sorted_ > 0.9
    assert 0.1 < half < 0.5
    assert mixed < 0.02


def test_equal_values_are_shared_out_at_random() -> None:
    pool = pool_of(400)
    same = Rows(pool.rows.inputs, pool.rows.targets, {"age": np.zeros(400)}, pool.rows.groups)
    asked = choice("feature", feature="age")
    owners = row_owners(asked, RowPool(same, None, "table"), 4, np.random.default_rng(0))
    assert (np.bincount(owners[:100], minlength=4) > 10).all()


def test_an_unknown_feature_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as refused:
        draw(choice("feature", feature="size"), pool_of(60), numbered_sites(3), 0)
    assert str(refused.value) == "simulation.partition.feature = 'size': expected one of age"


def test_by_time_sites_and_their_current_rows_are_in_order() -> None:
    pool = pool_of(500)
    drawn = draw(choice("time"), pool, numbered_sites(6), 3)
    when = np.empty(500, np.int64)
    when[pool.in_time] = np.arange(500)
    latest = -1
    for site in drawn.sites:
        train, reference, current = drawn.of(site)
        earlier = when[np.concatenate([train, reference])]
        assert latest < earlier.min()
        assert earlier.max() < when[current].min()
        latest = when[current].max()


# -- resampling ----------------------------------------------------------------------------------

RESAMPLED = st.sampled_from(
    [("iid", {}), ("dirichlet", {"alpha": 0.1}), ("quantity", {"sigma": 0.8})]
)


@given(RESAMPLED, st.integers(3, 60), st.integers(4, 12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_resampled_rows_stay_in_their_split_and_are_distinct_at_a_site(
    kind: tuple[str, dict[str, float]], sites: int, rows: int, seed: int
) -> None:
    asked = choice(kind[0], rows_per_site=rows, resample=True, **kind[1])
    drawn = draw(asked, pool_of(600), numbered_sites(sites), seed)
    assert drawn.lengths.sum() == sites * rows == len(drawn.rows)
    splits: list[set[int]] = [set(), set(), set()]
    for site in drawn.sites:
        parts = drawn.of(site)
        whole = np.concatenate(parts)
        assert len(set(whole.tolist())) == len(whole) >= 4
        for split, part in zip(splits, parts, strict=True):
            split.update(part.tolist())
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_a_resampled_site_cannot_have_more_rows_than_there_are() -> None:
    pool, sites = pool_of(100), numbered_sites(5)
    enough = IidPartition(kind="iid", rows_per_site=100, resample=True)
    assert draw(enough, pool, sites, 0).lengths.sum() == 500
    with pytest.raises(ConfigError) as refused:
        draw(enough.model_copy(update={"rows_per_site": 101}), pool, sites, 0)
    assert refused.value.key == "simulation.partition.rows_per_site"


def test_resampled_label_skew_is_one_class_a_site_towards_alpha_0() -> None:
    asked = choice("dirichlet", alpha=1e-6, rows_per_site=10, resample=True)
    pool = pool_of(600)
    drawn = draw(asked, pool, numbered_sites(200), 0)
    for site in drawn.sites:
        assert len(set(pool.labels[np.concatenate(drawn.of(site))].tolist())) == 1
