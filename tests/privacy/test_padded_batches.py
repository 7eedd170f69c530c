"""Batches of many clients at once are those that each client draws alone, in its turn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.entropy import SeededEntropy
from privacy import padded_batches as module
from privacy.padded_batches import padded_batches
from privacy.poisson_sampling import Draws, poisson_sample, poisson_samples

CLIENTS = st.lists(
    st.tuples(st.integers(0, 30), st.floats(0.01, 1.0), st.integers(1, 7)), min_size=1, max_size=6
)


def draws_of(clients) -> list[Draws]:
    ordered = sorted(clients, key=lambda one: -one[2])
    return [Draws(*one, SeededEntropy(seed)) for seed, one in enumerate(ordered)]


def drawn_alone(clients) -> list[list[list[int]]]:
    return [
        [poisson_sample(one.rows, one.sampling_rate, one.entropy).tolist() for _ in range(steps)]
        for one in draws_of(clients)
        for steps in [one.batches]
    ]


@given(CLIENTS)
def test_records_are_counted_through_all_data_sets(clients) -> None:
    rows, sizes = poisson_samples(draws_of(clients))
    offsets = np.cumsum([0, *(one.rows for one in draws_of(clients))])
    alone = drawn_alone(clients)
    expected = [
        batch + offset
        for offset, batches in zip(offsets, alone, strict=False)
        for batch in map(np.array, batches)
    ]
    assert sizes.tolist() == [len(batch) for batch in expected]
    assert rows.tolist() == [int(row) for batch in expected for row in batch]


@pytest.mark.parametrize("coins", [1, 40, 2**20])
@given(clients=CLIENTS)
def test_padding_is_of_the_own_batch_and_not_present(coins: int, clients) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COINS_AT_ONCE", coins)
        steps = list(padded_batches(draws_of(clients)))
    alone, offsets = drawn_alone(clients), np.cumsum([0, *(d.rows for d in draws_of(clients))])
    assert len(steps) == max(map(len, alone))
    for number, step in enumerate(steps):
        active = [batches[number] for batches in alone if len(batches) > number]
        assert step.rows.shape == (len(active), max(map(len, active)))
        assert step.sizes.tolist() == [len(batch) for batch in active]
        for line, present, batch, offset in zip(
            step.rows.tolist(), step.present.tolist(), active, offsets, strict=False
        ):
            assert [row - offset for row in line[: len(batch)]] == batch
            assert present == [place < len(batch) for place in range(len(line))]
            if batch:
                assert set(line[len(batch) :]) <= {batch[0] + offset}


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="sampling_rate"):
        poisson_samples([Draws(3, 0.5, 1, SeededEntropy(1)), Draws(3, rate, 1, SeededEntropy(1))])
