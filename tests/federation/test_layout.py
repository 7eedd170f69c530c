"""The vector's code: sums decode exactly, overflow is impossible, nothing is repaired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.layout import Segment, VectorLayout, count_segment, finest_segment
from federation.ring_vector import RING_BITS, RingVector, Stretch

LAYOUT = VectorLayout((finest_segment("update", 3, 2.0, 5), count_segment("rows", 2, 1000, 5)), 5)


def site_values(update, rows):
    return {"update": np.asarray(update, float), "rows": np.asarray(rows, float)}


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-2, 2)),
    arrays(np.int64, (5, 2), elements=st.integers(0, 1000)),
)
def test_the_modular_sum_decodes_to_the_sum(updates: np.ndarray, rows: np.ndarray) -> None:
    total = RingVector.zeros(LAYOUT.stretches)
    for u, r in zip(updates, rows, strict=True):
        total.add_packed(LAYOUT.encode(site_values(u, r)).pack())
    decoded = LAYOUT.decode(total)
    step = LAYOUT.segments[0].step
    np.testing.assert_allclose(decoded["update"], updates.sum(0), rtol=0, atol=5 * step / 2)
    np.testing.assert_array_equal(decoded["rows"], rows.sum(0))


@given(
    st.floats(1e-6, 1e6),
    st.integers(1, 200),
    st.sampled_from(RING_BITS),
    st.sampled_from(["nearest", "stochastic"]),
)
def test_the_finest_step_is_tight(bound: float, summands: int, bits: int, rounding: str) -> None:
    segment = finest_segment("x", 1, bound, summands, bits, rounding)
    VectorLayout((segment,), summands)
    finer = Segment("x", 1, bound, segment.step / 2, bits, rounding)
    if summands * finer.largest_code < 2 ** (bits - 1):
        pytest.fail("a finer step would have fitted")
    with pytest.raises(ConfigError, match="whose sum over"):
        VectorLayout((finer,), summands)


def test_the_largest_values_of_all_sites_do_not_wrap() -> None:
    total = RingVector.zeros(LAYOUT.stretches)
    for _ in range(5):
        total.add(LAYOUT.encode(site_values([2, 2, -2], [1000, 0])))
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


@pytest.mark.parametrize("stretches", [(Stretch(32, 5),), (Stretch(16, 2), Stretch(32, 4))])
def test_a_sum_of_another_shape_or_ring_is_refused(stretches: tuple[Stretch, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LAYOUT.decode(RingVector.zeros(stretches))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Segment("x", 0, 1.0, 1.0),
        lambda: Segment("x", 1, 0.0, 1.0),
        lambda: Segment("x", 1, np.inf, 1.0),
        lambda: Segment("x", 1, 1.0, 0.3),
        lambda: Segment("x", 1, 1.0, 0.0),
        lambda: VectorLayout((count_segment("x", 1, 1, 2), count_segment("x", 1, 1, 2)), 2),
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
        VectorLayout((Segment("x", 2, 4.0, 0.5, 16),), 3),
        VectorLayout((Segment("x", 2, 4.0, 0.5, rounding="stochastic"),), 3),
    ]
    assert len({layout.digest() for layout in variants}) == len(variants)


@pytest.mark.parametrize(
    ("most", "summands", "bits"),
    [(3276, 10, 16), (3277, 10, 20), (52428, 10, 20), (52429, 10, 24), (838861, 10, 32)],
)
def test_counts_are_summed_in_the_narrowest_ring_that_holds_them(
    most: int, summands: int, bits: int
) -> None:
    assert count_segment("x", 1, most, summands).bits == bits


def test_a_count_that_no_ring_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="fits 32 bits"):
        VectorLayout((count_segment("x", 1, 2**31, 2),), 2)


def test_segments_of_one_ring_stand_together_and_narrow_rings_come_first() -> None:
    segments = (
        Segment("a", 3, 1.0, 0.5, 32), Segment("b", 2, 1.0, 0.5, 16),
        Segment("c", 1, 1.0, 0.5, 32), Segment("d", 4, 1.0, 0.5, 24),
    )  # fmt: skip
    layout = VectorLayout(segments, 3)
    assert layout.stretches == (Stretch(16, 2), Stretch(24, 4), Stretch(32, 4))
    values = {s.name: np.arange(s.length) / 4 for s in segments}
    total = RingVector.zeros(layout.stretches)
    total.add_packed(layout.encode(values).pack())
    decoded = layout.decode(total)
    assert list(decoded) == ["a", "b", "c", "d"]
    for name, value in values.items():
        np.testing.assert_array_equal(decoded[name], np.rint(value * 2) / 2)


STOCHASTIC = VectorLayout((Segment("x", 40_000, 1.0, 0.25, 16, "stochastic"),), 3)


@pytest.mark.parametrize("value", [0.3, -0.3, 0.01, -0.99, 1.0, -1.0, 0.0])
def test_stochastic_rounding_keeps_the_expectation_and_moves_less_than_a_step(
    value: float,
) -> None:
    vector = STOCHASTIC.encode({"x": np.full(40_000, value)}, SeededEntropy(3))
    rounded = STOCHASTIC.decode(vector)["x"]
    assert np.all(np.abs(rounded - value) < 0.25)
    # The largest standard error, of a fair coin, is 0.125 / 200; five of them.
    assert rounded.mean() == pytest.approx(value, abs=5 * 0.125 / 200)
    if value % 0.25 == 0:
        np.testing.assert_array_equal(rounded, value)


def test_stochastic_rounding_without_entropy_is_refused_and_with_a_seed_repeats() -> None:
    values = {"x": np.full(40_000, 0.3)}
    with pytest.raises(ValueError, match="x: stochastic rounding needs entropy"):
        STOCHASTIC.encode(values)
    one, same, other = (STOCHASTIC.encode(values, SeededEntropy(s)).pack() for s in (1, 1, 2))
    assert one == same != other


MIXED = VectorLayout(
    (
        finest_segment("update", 3, 2.0, 5, 20, "stochastic"),
        finest_segment("norm", 1, 2.0, 5),
        count_segment("rows", 2, 1000, 5),
        finest_segment("losses", 1, 1.0, 5, 16),
    ),
    5,
)


@given(
    updates=arrays(np.float64, (5, 3), elements=st.floats(-2, 2)),
    rows=arrays(np.int64, (5, 2), elements=st.integers(0, 1000)),
    losses=arrays(np.float64, (5, 1), elements=st.floats(0, 1)),
    sites=st.integers(0, 5),
)
def test_a_sum_that_is_encoded_at_once_is_the_sum_of_what_each_site_encodes(
    updates: np.ndarray, rows: np.ndarray, losses: np.ndarray, sites: int
) -> None:
    own = [{"update": u, "norm": np.abs(u[:1])} for u in updates[:sites]]
    apart = RingVector.zeros(MIXED.stretches)
    for site, values in enumerate(own):
        counted = {"rows": rows[site].astype(float), "losses": losses[site]}
        apart.add(MIXED.encode(values | counted, SeededEntropy(site)))
    together = MIXED.encoded_sum(
        ((values, SeededEntropy(site)) for site, values in enumerate(own)),
        {"rows": rows[:sites].sum(0).astype(float), "losses": losses[:sites]},
    )
    for words, same in zip(apart.signed(), together.signed(), strict=True):
        np.testing.assert_array_equal(words, same)


@pytest.mark.parametrize(
    "counts",
    [
        {"rows": np.array([1.0, 0.5]), "losses": np.zeros((1, 1))},
        {"rows": np.array([1.0, np.nan]), "losses": np.zeros((1, 1))},
        {"rows": np.ones(3), "losses": np.zeros((1, 1))},
        {"rows": np.ones(2), "losses": np.full((1, 1), 1.5)},
        {"rows": np.ones(2)},
    ],
    ids=["a half", "no number", "another shape", "out of bound", "missing"],
)
def test_what_no_sites_can_have_counted_together_is_refused(counts) -> None:
    values = {"update": np.zeros(3), "norm": np.zeros(1)}
    with pytest.raises(ValueError, match=r"rows|losses"):
        MIXED.encoded_sum([(values, SeededEntropy(1))], counts)
