"""Scales: bins of equal width where the schema says, and edges that print well."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.feature_scale import edge_texts, edges_on_scale, from_scale, number_in, to_scale
from evaluation.tally_spec import TallySpec
from federation.errors import ConfigError
from federation.schema import Numeric, TaskSchema

SCALES = (
    Numeric("x", -20.0, 120.0),
    Numeric("x", 0.01, 1e4, scale="log"),
    Numeric("x", -1e6, 1e5, scale="asinh", scale_unit=10.0),
)


@pytest.mark.parametrize("feature", SCALES, ids=lambda f: f.scale)
@pytest.mark.parametrize("bins", [1, 7, 1024])
def test_edges_are_even_on_the_scale_and_end_at_the_range(feature, bins) -> None:
    edges = edges_on_scale(feature, bins)
    assert (edges[0], edges[-1], len(edges)) == (feature.low, feature.high, bins + 1)
    widths = np.diff(to_scale(feature, edges))
    assert np.allclose(widths, widths.mean(), rtol=1e-6)


def test_a_linear_scale_is_linspace_to_the_bit() -> None:
    feature = Numeric("x", 0.1, 8.3)
    assert edges_on_scale(feature, 64).tolist() == np.linspace(0.1, 8.3, 65).tolist()


@given(st.floats(0.02, 9_999))
def test_scales_are_undone(value) -> None:
    for feature in SCALES:
        there = to_scale(feature, np.array([value]))
        assert from_scale(feature, there)[0] == pytest.approx(value, rel=1e-9)


def test_tallies_follow_the_scale() -> None:
    feature = Numeric("x", 0.01, 1e4, scale="log")
    spec = TallySpec(TaskSchema((feature,), "y", ("n", "p")), feature_bins=6)
    assert np.allclose(spec.edges(feature), [0.01, 0.1, 1, 10, 100, 1000, 10_000])
    assert spec.bin_labels(feature)[1:3] == ("0.01 to 0.1", "0.1 to 1")


def test_a_range_narrower_than_its_numbers_is_refused() -> None:
    with pytest.raises(ConfigError, match="1024 bins"):
        edges_on_scale(Numeric("x", 1e16, 1e16 + 8), 1024)


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"low": 0.0, "scale": "log"}, "x.low"),
        ({"low": -1.0, "scale": "log"}, "x.low"),
        ({"low": 1.0, "scale": "cubic"}, "x.scale"),
        ({"low": 1.0, "scale": "asinh", "scale_unit": 0.0}, "x.scale_unit"),
        ({"low": 1.0, "scale_unit": float("nan")}, "x.scale_unit"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(kwargs, field) -> None:
    with pytest.raises(ConfigError, match=field):
        Numeric("x", high=10.0, **kwargs)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True))
def test_edges_as_shown_rise_as_the_edges_do(edges) -> None:
    edges = [edge for edge in sorted(edges) if abs(edge) > 1e-3 or edge == 0]
    gaps = np.diff(edges)
    if len(edges) >= 2 and gaps.min() > 1e-4:
        shown = [float(text) for text in edge_texts(edges)]
        assert np.all(np.diff(shown) > 0)
        assert np.all(np.abs(np.array(shown) - edges) <= 0.051 * gaps.max())


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 10))
def test_the_number_of_a_narrow_bin_is_in_it(low, width) -> None:
    if low + width > low:
        assert low <= float(number_in(low, low + width)) < low + width


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(39.951, 40.048, "40"), (-0.02, 0.03, "0"), (0.0, 1e-9, "0"), (2.44, 2.52, "2.5"),
     (99_950, 100_060, "100000"), (-40.1, -39.9, "-40")],
)  # fmt: skip
def test_narrow_bins_are_called_by_a_round_number(low, high, text) -> None:
    assert number_in(low, high) == text
