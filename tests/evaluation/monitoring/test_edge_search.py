"""Grids made from sums: accurate deciles, atoms alone, and no sum that breaks them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.monitoring.edge_search import DECILES, frozen_grid, refinement
from evaluation.monitoring.feature_grid import FeatureGrid, grids_digest, survey_grid
from federation.errors import ConfigError, DataError
from federation.schema import Categorical, Numeric
from federation.task import SiteRequest
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.heart import HeartTask

AGE = Numeric("age", 0, 100)


def grid_of(feature, values, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)

    def counted(grid):
        counts = grid.count(values)
        return counts + np.rint(rng.normal(0, noise, counts.shape)).astype(int)

    counts = counted(survey_grid(feature))
    finer = refinement(feature, counts)
    return frozen_grid(feature, counts, None if finer is None else (finer, counted(finer)))


def decile_error(grid, values):
    """Of the edge nearest to each exact decile, over the interquartile range; the worst."""
    known = values[~np.isnan(values)]
    exact, edges = np.quantile(known, DECILES, method="inverted_cdf"), np.asarray(grid.edges)
    inside = exact[(exact > edges[0]) & (exact < edges[-1])]
    quartiles = np.quantile(known, [0.25, 0.75])
    spread = (quartiles[1] - quartiles[0]) or 1.0
    return max((np.abs(edges - each).min() / spread for each in inside), default=0.0)


RNG = np.random.default_rng(5)
TAILED = {
    "normal": (AGE, RNG.normal(50, 10, 40_000), 0.002),
    "lognormal on log": (Numeric("x", 0.001, 1e5, scale="log"), RNG.lognormal(0, 2, 40_000), 0.004),
    "lognormal on linear": (Numeric("x", 0, 1e4), RNG.lognormal(0, 2, 40_000), 0.01),
    "student on asinh": (Numeric("x", -1e6, 1e6, scale="asinh"), RNG.standard_t(1.5, 40_000), 0.01),
    "student on linear": (Numeric("x", -1e4, 1e4), RNG.standard_t(1.5, 40_000), 0.02),
    "outside": (Numeric("x", 45, 60), RNG.normal(50, 10, 40_000), 0.002),
}


@pytest.mark.parametrize("name", TAILED)
def test_deciles_are_found_without_a_look_at_the_rows(name) -> None:
    feature, values, limit = TAILED[name]
    grid = grid_of(feature, values)
    assert decile_error(grid, values) <= limit
    assert len(grid.edges) <= 257


def pooled(task):
    data = [task.load(SiteRequest(site, 1)) for site in task.sites]
    return {
        feature: np.concatenate(
            [part.features[feature.name] for d in data for part in (d.train, d.reference)]
        )
        for feature in task.schema.features
    }


@pytest.mark.parametrize("task", [HeartTask, AcsEmploymentTask])
def test_deciles_of_real_columns(task) -> None:
    """Research 3.4: two rounds give .0001 to .006 of the interquartile range."""
    for feature, values in pooled(task()).items():
        grid = grid_of(feature, values)
        if isinstance(feature, Numeric):
            # A discrete column's decile is an edge's neighbour: within one bin of the survey.
            resolution = (feature.high - feature.low) / 1024
            quartiles = np.quantile(values[~np.isnan(values)], [0.25, 0.75])
            assert decile_error(grid, values) <= resolution / max(np.ptp(quartiles), 0.5), feature


def test_quantile_bins_hold_a_tenth_each() -> None:
    feature, values, _ = TAILED["lognormal on linear"]
    grid = grid_of(feature, values)
    shares = [grid.count(values)[list(run)].sum() / len(values) for run in grid.quantile_bins[1:-2]]
    assert len(shares) == 10
    assert all(abs(share - 0.1) < 0.005 for share in shares)


def test_an_atom_stands_alone_and_what_is_beside_it_is_cut_into_pieces() -> None:
    values = np.where(RNG.random(20_000) < 0.92, 0, RNG.lognormal(8, 1, 20_000))
    grid = grid_of(Numeric("gain", 0, 1e5), values)
    counts = grid.count(values)
    runs = [run for run in grid.quantile_bins if counts[list(run)].sum() > 0.9 * len(values)]
    assert len(runs) == 1
    (place,) = runs[0]
    assert grid.edges[place] - grid.edges[place - 1] < 1.0  # of a range of 100,000
    others = [counts[list(run)].sum() / 20_000 for run in grid.quantile_bins if run != runs[0]]
    assert sum(share > 0.015 for share in others) == 4


def test_whole_numbers_are_each_an_atom() -> None:
    values = RNG.integers(0, 12, 9_000).astype(float)
    grid = grid_of(Numeric("grade", 0, 24), values)
    counts = grid.count(values)
    shares = sorted((counts[list(run)].sum() / 9_000 for run in grid.quantile_bins), reverse=True)
    assert all(share == pytest.approx(1 / 12, abs=0.02) for share in shares[:12])
    assert sum(shares[12:]) == 0


def test_a_smooth_feature_needs_no_second_round() -> None:
    assert refinement(AGE, survey_grid(AGE).count(RNG.normal(50, 10, 5_000))) is None
    assert refinement(Categorical("w", ("a",)), np.array([5, 0, 0])) is None


def test_only_crowded_bins_are_split() -> None:
    values = np.concatenate([np.full(900, 7.03), RNG.uniform(0, 100, 9_100)])
    finer = refinement(AGE, survey_grid(AGE).count(values))
    widths = np.diff(finer.edges)
    crowded = survey_grid(AGE).edges[np.searchsorted(survey_grid(AGE).edges, 7.03) - 1]
    narrow = widths < 100 / 1024 * 0.5
    assert np.allclose(np.asarray(finer.edges)[:-1][narrow].min(), crowded)
    assert np.count_nonzero(~narrow) == 2
    assert len(widths) <= 1024


@pytest.mark.parametrize("values", [[], [np.nan] * 9, [7.0] * 50, [1.0, 2, 30, -1, 120, np.nan]])
def test_few_or_no_values_give_a_grid(values) -> None:
    grid = grid_of(AGE, np.array(values))
    assert grid.count(np.array(values)).sum() == len(values)
    assert sum(len(run) for run in grid.quantile_bins) == grid.bins


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 50, 10**6, 2**40]))
def test_sums_that_are_made_up_give_a_grid(seed, size) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(-size, size + 1, 1027) * (rng.random(1027) < rng.random())
    finer = refinement(AGE, counts)
    refined = None if finer is None else (finer, rng.integers(-size, size + 1, finer.bins))
    grid = frozen_grid(AGE, counts, refined, wanted_bins=200)
    assert len(grid.edges) <= 257


def test_deciles_survive_noise() -> None:
    """Noise of one release at epsilon 1: research 3.4 has .007 for a smooth column."""
    values = TAILED["normal"][1]
    assert decile_error(grid_of(AGE, values, noise=1.36), values) <= 0.01


def test_counts_of_another_grid_are_refused() -> None:
    with pytest.raises(DataError, match="age"):
        frozen_grid(AGE, np.zeros(12, int), None)
    with pytest.raises(DataError, match="age"):
        refinement(AGE, np.zeros(1027))
    with pytest.raises(ConfigError, match="wanted_bins"):
        frozen_grid(AGE, np.zeros(1027, int), None, wanted_bins=0)


def test_a_grid_survives_its_json_and_the_digest_binds_it() -> None:
    grids = [
        grid_of(AGE, RNG.normal(50, 10, 900)),
        grid_of(Categorical("w", ("a", "b")), np.zeros(3)),
    ]
    for grid in grids:
        assert FeatureGrid.from_json(grid.to_json()) == grid
    moved = FeatureGrid(AGE, (0.0, 50.0, 100.0))
    other = FeatureGrid(AGE, (0.0, 50.000001, 100.0))
    assert grids_digest([moved]) != grids_digest([other])
    assert grids_digest(grids) != grids_digest(grids[::-1])


@pytest.mark.parametrize(
    "edges",
    [(0.0, 100.0, 50.0), (0.0, float("nan"), 100.0), (1.0, 100.0), (0.0, 99.0), (0.0,),
     (0.0, 50.0, 50.0, 100.0), tuple(np.linspace(0, 100, 1026).tolist())],
)  # fmt: skip
def test_edges_that_cannot_be_are_refused(edges) -> None:
    with pytest.raises(DataError, match="grid of age"):
        FeatureGrid(AGE, edges)


def test_json_that_is_no_grid_is_refused() -> None:
    good = FeatureGrid(AGE, (0.0, 50.0, 100.0)).to_json()
    for change in ({"edges": ["x"]}, {"edges": [0.0, 100.0], "more": 1}, {"feature": {}},
                   {"quantile_bins": [[0, 1]]}):  # fmt: skip
        with pytest.raises(DataError):
            FeatureGrid.from_json(good | change)


def test_counting_is_that_of_the_tallies() -> None:
    grid = FeatureGrid(AGE, (0.0, 50.0, 100.0))
    assert grid.count(np.array([-1, 0, 49.9, 50, 100, 100.1, np.nan])).tolist() == [1, 2, 2, 1, 1]
    levels = FeatureGrid(Categorical("w", ("a", "b")))
    assert levels.count(np.array([0, 1, 1, 2, np.nan])).tolist() == [1, 2, 1, 1]
    for code in (3.0, -1.0, 0.5):
        with pytest.raises(DataError, match="level indices"):
            levels.count(np.array([code]))
