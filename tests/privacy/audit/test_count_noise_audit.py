"""Noise on counts, attacked: the code as it is keeps its promise, and faults are caught.

Every cell of a vector is a run of its own: half of them count one record more, which moves them by
all that it may. All sites' vectors go
through the ring, as in a round, and the attacker knows the shares of all sites that are not honest
and scores a cell by what is left. The likelihood ratio of both laws grows with it, so no other
score shows more.
"""

from dataclasses import replace

import numpy as np
import pytest

from federation.entropy import SeededEntropy
from federation.layout import VectorLayout, count_segment
from federation.ring_vector import RingVector
from privacy import count_shares
from privacy.accountant import cost
from privacy.audit.split_sample import epsilon_lower_bound
from privacy.count_calibration import gaussian_count_noise, laplace_count_noise
from privacy.count_noise import CountNoisePlan, CountRelease

DELTA = 0.02
"""At which a few ten thousand runs come near what is proven."""
RUNS = 100_000
RELEASE = CountRelease((1,), 2 * RUNS, 3, 5, releases=1)

real_polya, real_discrete = count_shares.polya_difference, count_shares.discrete_gaussian


def half_the_polya(size, scale, honest, entropy):
    return real_polya(size, scale / 2, honest, entropy)


def half_the_gaussian(size, variance, entropy):
    return real_discrete(size, variance / 4, entropy)


def polya_for_all_sites(size, scale, honest, entropy):
    """Shares of the wrong shape: enough if nobody colludes, and somebody does."""
    return real_polya(size, scale, RELEASE.sites, entropy)


def gaussian_for_all_sites(size, variance, entropy):
    return real_discrete(size, variance * RELEASE.honest / RELEASE.sites, entropy)


def no_noise(size, *_):
    return np.zeros(size, np.int64)


def shown(plan: CountNoisePlan) -> float:
    """What epsilon is at least at DELTA, from one release."""
    (most,) = plan.release.sensitivities
    segment = plan.widened(count_segment("counts", 2 * RUNS, most, summands=5))
    layout = VectorLayout((segment,), RELEASE.sites)
    counted = np.concatenate([np.full(RUNS, float(most)), np.zeros(RUNS)])
    total, told = RingVector.zeros(layout.stretches), np.zeros(2 * RUNS)
    for site in range(RELEASE.sites):
        vector = layout.encode({"counts": counted if site == 0 else np.zeros(2 * RUNS)})
        share = plan.noise_share(SeededEntropy(2026).child("site", site))
        layout.add(vector, "counts", share)
        total.add(vector)
        if site >= RELEASE.honest:
            told += share
    seen = layout.decode(total)["counts"] - told
    return epsilon_lower_bound(seen[:RUNS], seen[RUNS:], DELTA, 0.99)


def laplace() -> CountNoisePlan:
    return laplace_count_noise(1.0, DELTA, RELEASE)


def gaussian() -> CountNoisePlan:
    return gaussian_count_noise(1.0, DELTA, replace(RELEASE, sensitivities=(16,)))


@pytest.mark.parametrize("planned", [laplace, gaussian])
def test_the_code_as_it_is_passes_and_comes_near(planned) -> None:
    plan = planned()
    proven = cost([plan.event()], DELTA).epsilon
    assert 0.75 * proven < shown(plan) <= proven


@pytest.mark.parametrize(
    ("planned", "place", "fault"),
    [
        (laplace, "polya_difference", half_the_polya),
        (laplace, "polya_difference", polya_for_all_sites),
        (laplace, "polya_difference", no_noise),
        (gaussian, "discrete_gaussian", half_the_gaussian),
        (gaussian, "discrete_gaussian", gaussian_for_all_sites),
        (gaussian, "discrete_gaussian", no_noise),
    ],
)
def test_too_little_noise_is_caught(monkeypatch, planned, place: str, fault) -> None:
    plan = planned()
    monkeypatch.setattr(count_shares, place, fault)
    assert shown(plan) > plan.epsilon
