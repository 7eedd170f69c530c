"""The table finds what numpy's search finds, for every edge and every value there can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.binning import CHUNK, bin_indices

any_float = st.floats(allow_nan=False)
edge_lists = st.lists(any_float, max_size=40).map(sorted)


def agrees(edges, values) -> None:
    edges, values = np.array(edges, float), np.array(values, float)
    found = bin_indices(edges, values)
    np.testing.assert_array_equal(found, np.searchsorted(edges, values, side="right"))
    assert found.dtype == np.int64


def around(edges):
    """Every edge, its neighbours among the floats, and what lies beyond all of them."""
    edges = np.asarray(edges, float)
    with np.errstate(over="ignore"):
        beside = [np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]
    return np.concatenate([*beside, [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308]])


@given(edge_lists, st.lists(st.floats(), max_size=40))
def test_any_edges_and_values_are_binned_as_numpy_does(edges, values) -> None:
    agrees(edges, np.concatenate([values, around(edges)]))


@given(
    st.floats(-1e300, 1e300),
    st.floats(1e-320, 1e300),
    st.integers(2, 300),
    st.integers(0, 2**20),
)
def test_equal_widths_of_any_range_are_binned_as_numpy_does(low, width, count, seed) -> None:
    edges = np.sort(np.linspace(low, low + width, count))  # among denormals it falls back a step
    values = np.random.default_rng(seed).uniform(low - width / 4, low + 1.25 * width, 200)
    agrees(edges, np.concatenate([values, around(edges)]))


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [3.0],
        [2.0, 2.0, 2.0],
        [-np.inf, 0.0, np.inf],
        [-np.inf, -np.inf],
        [0.0, 5e-324],
        [-1.7e308, 1.7e308],
        [1e16, 1e16 + 2, 1e16 + 4],
        np.sort(np.repeat(np.arange(20.0), 7)),
        np.concatenate([np.linspace(0, 1, 300), np.geomspace(1e-12, 1e12, 300), [np.nan]]),
        np.concatenate([-np.geomspace(1e-250, 1e250, 200)[::-1], np.geomspace(1e-250, 1e250, 200)]),
        np.concatenate([np.arange(10.0), np.nextafter(np.arange(10.0), np.inf)]),
    ],
    ids=lambda edges: f"{len(edges)} edges",
)
def test_irregular_edges_are_binned_as_numpy_does(edges) -> None:
    edges = np.sort(np.asarray(edges, float))
    edges = edges[~np.isnan(edges)]
    rng = np.random.default_rng(len(edges))
    scales = 10.0 ** rng.integers(-300, 300, 500)
    agrees(edges, np.concatenate([around(edges), rng.normal(size=500) * scales, rng.random(500)]))


def test_values_beyond_one_chunk_are_all_binned() -> None:
    edges = np.linspace(-3, 3, 65)
    agrees(edges, np.random.default_rng(4).normal(size=2 * CHUNK + 17))


@pytest.mark.parametrize("edges", [[1.0, 0.0], [np.nan], [np.nan, 1.0], [0.0, np.nan]])
def test_edges_that_do_not_ascend_are_refused(edges) -> None:
    with pytest.raises(ValueError, match="ascending"):
        bin_indices(np.array(edges), np.array([0.0]))
