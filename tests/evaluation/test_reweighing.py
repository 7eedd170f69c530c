"""Weights of reweighing: published numbers, what they make of base rates, and noisy counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.mitigation.reweighing import reweighing_weights
from federation.config import LARGEST_EXAMPLE_WEIGHT

ADULT_TRAIN = np.array([[9592.0, 1179.0], [15128.0, 6662.0]])
ADULT_WHOLE = np.array([[14423.0, 1769.0], [22732.0, 9918.0]])


def tables(smallest: int):
    cell = st.integers(smallest, 10_000)
    return st.integers(2, 5).flatmap(
        lambda groups: st.lists(
            st.tuples(cell, cell), min_size=groups, max_size=groups
        ).map(lambda rows: np.array(rows, np.float64))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            ADULT_TRAIN,
            [[0.8525062819796572, 2.1999658551748333], [1.093519284984871, 0.7876373846816078]],
        ),
        (
            ADULT_WHOLE,
            [[0.8540213305062391, 2.190192396895711], [1.092620550330306, 0.7877142216063205]],
        ),
    ],
    ids=["official train rows", "all 48,842"],
)
def test_adult_by_sex(counts, expected) -> None:
    np.testing.assert_allclose(reweighing_weights(counts), expected, rtol=1e-15)


@given(tables(smallest=1))
def test_weighted_base_rates_are_alike_and_no_row_is_won_or_lost(counts) -> None:
    weighted = counts * reweighing_weights(counts, most=1e9)
    base_rates = weighted[:, 1] / weighted.sum(axis=1)
    np.testing.assert_allclose(base_rates, counts[:, 1].sum() / counts.sum(), rtol=1e-9)
    np.testing.assert_allclose(weighted.sum(axis=1), counts.sum(axis=1), rtol=1e-9)


@given(tables(smallest=-20), st.floats(1.5, 20))
def test_whatever_noise_did_to_counts_every_weight_is_bounded(counts, most: float) -> None:
    weights = reweighing_weights(counts, most)
    assert np.all((weights >= 1 / most) & (weights <= most))
    assert weights.shape == counts.shape


@pytest.mark.parametrize(
    "counts",
    [np.zeros((3, 2)), np.full((2, 2), -4.0)],
    ids=["no rows", "noise alone"],
)
def test_where_nothing_is_known_nothing_is_weighed(counts) -> None:
    np.testing.assert_array_equal(reweighing_weights(counts), np.ones_like(counts))


def test_a_cell_without_rows_weighs_one_and_a_rare_one_no_more_than_the_bound() -> None:
    counts = np.array([[5000.0, 0.0], [4000.0, 1.0], [3000.0, 3000.0]])
    weights = reweighing_weights(counts)
    assert weights[0, 1] == 1.0
    assert weights[1, 1] == LARGEST_EXAMPLE_WEIGHT
    assert weights[2, 1] == pytest.approx(6000 * 3001 / (15001 * 3000))


@pytest.mark.parametrize(
    ("counts", "most"),
    [(np.ones(4), 10.0), (np.ones((2, 3)), 10.0), (np.full((2, 2), np.nan), 10.0),
     (np.ones((2, 2)), 1.0)],
)  # fmt: skip
def test_what_is_no_table_of_counts_is_refused(counts, most: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        reweighing_weights(counts, most)
