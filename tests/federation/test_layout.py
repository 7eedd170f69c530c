"""The vector's code: sums decode exactly, overflow is impossible, nothing is repaired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.errors import ConfigError
from federation.layout import Segment, VectorLayout, count_segment, finest_segment

LAYOUT = VectorLayout((finest_segment("update", 3, 2.0, 5), count_segment("rows", 2, 1000)), 5)


def site_values(update, rows):
    return {"update": np.asarray(update, float), "rows": np.asarray(rows, float)}


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-2, 2)),
    arrays(np.int64, (5, 2), elements=st.integers(0, 1000)),
)
def test_the_modular_sum_decodes_to_the_sum(updates: np.ndarray, rows: np.ndarray) -> None:
    words = [LAYOUT.encode(site_values(u, r)) for u, r in zip(updates, rows, strict=True)]
    total = np.zeros(LAYOUT.length, np.uint32)
    for word in words:
        total += word
    decoded = LAYOUT.decode(total)
    step = LAYOUT.segments[0].step
    np.testing.assert_allclose(decoded["update"], updates.sum(0), rtol=0, atol=5 * step / 2)
    np.testing.assert_array_equal(decoded["rows"], rows.sum(0))


@given(st.floats(1e-6, 1e6), st.integers(1, 200))
def test_the_finest_step_is_tight(bound: float, summands: int) -> None:
    segment = finest_segment("x", 1, bound, summands)
    VectorLayout((segment,), summands)
    finer = Segment("x", 1, bound, segment.step / 2)
    if summands * finer.largest_code < 2**31:
        pytest.fail("a finer step would have fitted")
    with pytest.raises(ConfigError, match="whose sum over"):
        VectorLayout((finer,), summands)


def test_the_largest_values_of_all_sites_do_not_wrap() -> None:
    word = LAYOUT.encode(site_values([2, 2, -2], [1000, 0]))
    total = sum([word] * 5, np.zeros(5, np.uint32))
    decoded = LAYOUT.decode(total)
    np.testing.assert_array_equal(decoded["update"], [10, 10, -10])
    np.testing.assert_array_equal(decoded["rows"], [5000, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0001, -2.0001])
def test_out_of_bound_is_refused_not_clipped(bad: float) -> None:
    with pytest.raises(ValueError, match="update: a coordinate is NaN or beyond 2"):
        LAYOUT.encode(site_values([0, 0, bad], [0, 0]))


def test_a_missing_an_unknown_or_a_misshapen_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        LAYOUT.encode({"update": np.zeros(3)})
    with pytest.raises(ValueError, match="extra"):
        LAYOUT.encode(site_values([0] * 3, [0] * 2) | {"extra": np.zeros(1)})
    with pytest.raises(ValueError, match=r"expected \(3,\)"):
        LAYOUT.encode(site_values([0] * 4, [0] * 2))


@pytest.mark.parametrize("total", [np.zeros(4, np.uint32), np.zeros(5, np.int64)])
def test_a_sum_of_another_shape_or_type_is_refused(total: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(5,\) uint32"):
        LAYOUT.decode(total)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Segment("x", 0, 1.0, 1.0),
        lambda: Segment("x", 1, 0.0, 1.0),
        lambda: Segment("x", 1, np.inf, 1.0),
        lambda: Segment("x", 1, 1.0, 0.3),
        lambda: Segment("x", 1, 1.0, 0.0),
        lambda: VectorLayout((count_segment("x", 1, 1), count_segment("x", 1, 1)), 2),
    ],
)
def test_an_impossible_segment_is_refused(make) -> None:
    with pytest.raises(ConfigError):
        make()


def test_the_digest_binds_every_part_of_the_layout() -> None:
    base = Segment("x", 2, 4.0, 0.5)
    variants = [
        VectorLayout((base,), 3),
        VectorLayout((base,), 4),
        VectorLayout((Segment("y", 2, 4.0, 0.5),), 3),
        VectorLayout((Segment("x", 3, 4.0, 0.5),), 3),
        VectorLayout((Segment("x", 2, 3.0, 0.5),), 3),
        VectorLayout((Segment("x", 2, 4.0, 0.25),), 3),
    ]
    assert len({layout.digest() for layout in variants}) == len(variants)
