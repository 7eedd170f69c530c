"""What client sampling buys a site, against dp-accounting and against no sampling at all."""

import math
from dataclasses import replace

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from federation.client_sampling import ClientSampling
from privacy.accountant import cost
from privacy.distributed_noise import choose_plan
from privacy.sampled_sites import (
    relation_of,
    sampled_site_epsilon,
    sampled_site_noise_multiplier,
)

ROUNDS, DELTA, SITES = 50, 1e-5, 1000
POISSON = ClientSampling(kind="poisson", rate=0.1)
FIXED = ClientSampling(kind="fixed", sites=100)


def plan(noise: float = 1.0):
    return choose_plan(500, 1.0, noise, sites=150, honest=60, dropouts=0)


def epsilon(made, sampling: ClientSampling, rounds: int = ROUNDS) -> float:
    return sampled_site_epsilon(made, sampling, SITES, rounds, DELTA)


def test_poisson_samples_cost_what_dp_accounting_says_of_the_continuous_mechanism() -> None:
    once = dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.0))
    accountant = PLDAccountant()
    accountant.compose(once, ROUNDS)
    peer = accountant.get_epsilon(DELTA)
    assert peer <= epsilon(plan(), POISSON) <= 1.02 * peer


def test_samples_of_a_fixed_size_cost_what_dp_accounting_says_of_half_the_noise() -> None:
    once = dp_accounting.SampledWithoutReplacementDpEvent(
        SITES, 100, dp_accounting.GaussianDpEvent(0.5)
    )
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(once, ROUNDS)
    peer = accountant.get_epsilon(DELTA)
    assert peer <= epsilon(plan(), FIXED) <= 1.05 * peer


@pytest.mark.parametrize("sampling", [POISSON, FIXED])
def test_it_falls_with_the_noise_and_rises_with_the_rounds(sampling) -> None:
    assert epsilon(plan(2.0), sampling) < epsilon(plan(1.0), sampling)
    assert epsilon(plan(), sampling, 10) < epsilon(plan(), sampling, 100)


def test_a_sample_costs_less_than_taking_part_in_every_round() -> None:
    always = cost([replace(plan().event(), count=ROUNDS)], DELTA).epsilon
    assert epsilon(plan(), POISSON) < always / 2


def test_taking_every_site_is_no_sample_and_buys_nothing() -> None:
    always = cost([replace(plan().event(), count=ROUNDS)], DELTA).epsilon
    everybody = ClientSampling(kind="poisson", rate=1.0)
    assert epsilon(plan(), everybody) == pytest.approx(always, rel=0.05)
    with pytest.raises(ValueError, match="no sample"):
        epsilon(plan(), ClientSampling())


def test_the_noise_that_is_found_meets_the_target_and_less_does_not() -> None:
    found = sampled_site_noise_multiplier(plan, lambda made: epsilon(made, POISSON), 3.0)
    assert epsilon(plan(found), POISSON) <= 3.0 < epsilon(plan(found - 1e-4), POISSON)


def test_which_federations_are_neighbours() -> None:
    assert relation_of(POISSON) == "add-or-remove-one"
    assert relation_of(FIXED) == "replace-one"
    assert math.isfinite(epsilon(plan(), FIXED))
