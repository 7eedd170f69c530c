"""A secure sum of float vectors in one process, held against plain addition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, RoundFailed
from privacy.secure_sum.one_process import secure_sum


def vectors(sites: int, length: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"site-{k:02d}": rng.uniform(-3, 3, length) for k in range(sites)}


@settings(max_examples=25)
@given(st.integers(3, 8), st.sampled_from([16, 20, 24, 32]), st.integers(0, 2**32))
def test_it_is_the_sum_within_half_a_step_per_site(sites: int, bits: int, seed: int) -> None:
    given_ = vectors(sites, seed=seed)
    result = secure_sum(given_, bound=3.0, ring_bits=bits)
    exact = [math.fsum(column) for column in zip(*given_.values(), strict=True)]
    assert np.all(np.abs(result.total - exact) <= sites * result.step / 2)
    assert result.survivors == tuple(given_)
    np.testing.assert_allclose(result.mean * sites, result.total, rtol=1e-15)
    # The finest step at which nothing can overflow, not merely some step.
    assert sites * 3.0 / (result.step / 2) > 2 ** (bits - 1) - sites


def test_a_lost_site_is_not_in_it() -> None:
    given_ = vectors(5)
    result = secure_sum(given_, bound=3.0, lost=["site-02"])
    left = [v for name, v in given_.items() if name != "site-02"]
    assert result.total == pytest.approx(np.sum(left, axis=0), abs=4 * result.step)
    assert result.survivors == ("site-00", "site-01", "site-03", "site-04")


def test_the_quorum_is_the_fewest_that_are_opened() -> None:
    assert secure_sum(vectors(5), 3.0, quorum=4, lost=["site-00"]).survivors[0] == "site-01"
    with pytest.raises(RoundFailed, match="the quorum is 5"):
        secure_sum(vectors(5), 3.0, quorum=5, lost=["site-00"])


def test_it_does_not_depend_on_the_masks() -> None:
    runs = [secure_sum(vectors(4), 3.0, entropy=SeededEntropy(seed)).total for seed in (1, 2)]
    assert np.array_equal(*runs)


@pytest.mark.parametrize("wrong", [np.nan, 3.1, -3.1, np.inf])
def test_a_coordinate_out_of_bound_is_refused_not_clipped(wrong: float) -> None:
    given_ = vectors(3)
    given_["site-01"][2] = wrong
    with pytest.raises(ValueError, match="NaN or beyond 3"):
        secure_sum(given_, bound=3.0)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(5,\)"):
        secure_sum(vectors(3) | {"site-02": np.zeros(4)}, bound=3.0)


@pytest.mark.parametrize(
    ("sites", "options", "key"),
    [
        (2, {}, "vectors"),
        (4, {"lost": ["nobody"]}, "lost"),
        (4, {"bound": 0.0}, "bound"),
        (4, {"bound": math.nan}, "bound"),
        (4, {"quorum": 5}, "terms.quorum"),
        (4, {"quorum": 2}, "terms.quorum"),
        (4, {"ring_bits": 17}, "segment vector.bits"),
    ],
)
def test_settings_out_of_range_are_named(sites: int, options: dict, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        secure_sum(vectors(sites), **({"bound": 3.0} | options))
    assert raised.value.key == key
