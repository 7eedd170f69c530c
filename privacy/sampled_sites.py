"""What a run costs a whole site that takes part in a random sample of its rounds.

Against whoever sees the models and not who took part. The sum of a round is over the sample, with
the noise of `honest` shares in it and divided by what the sample is expected to weigh, so a round
is the mechanism "sample, add up, add noise" (McMahan et al. 2018, arXiv:1710.06963, with the fixed
denominator of section 2.1).

**Poisson samples** hide whether a site is in the federation at all (add or remove one): the
accountant's event of a sampled sum of discrete Gaussians (`privacy.sampled_discrete_gaussian`).

**Samples of a fixed size**, drawn without replacement, hide which site stands in its place (replace
one): Wang, Balle and Kasiviswanathan 2019, arXiv:1808.00087, Theorem 27, as dp-accounting has it.
Two updates within the clip are up to twice the clip apart, which halves the noise multiplier. The
noise is discrete; it is within exp(u) of a function of the continuous noise that is accounted
for, so delta(epsilon) <= exp(c u) delta'(epsilon - 2 c u) for c rounds.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import dp_accounting
from dp_accounting.rdp import RdpAccountant

from federation.client_sampling import ClientSampling
from privacy.accountant import cost
from privacy.calibration import LARGEST_NOISE_MULTIPLIER, SCALE, least_units
from privacy.discrete_gaussian_divergence import Sensitivity
from privacy.distributed_noise import DistributedNoisePlan
from privacy.event import PoissonSampledDistributedGaussian
from privacy.neighbours import ADD_OR_REMOVE_ONE, REPLACE_ONE, Relation
from privacy.sampled_discrete_gaussian import continuous_counterpart


def relation_of(sampling: ClientSampling) -> Relation:
    """Which federations are neighbours under a way of sampling."""
    return REPLACE_ONE if sampling.kind == "fixed" else ADD_OR_REMOVE_ONE


def sampled_site_epsilon(
    plan: DistributedNoisePlan, sampling: ClientSampling, sites: int, rounds: int, delta: float
) -> float:
    """Epsilon of all rounds for one site; infinite where there is no bound.

    Args:
        plan: of the noise in one sum.
        sampling: `poisson` or `fixed`.
        sites: of the federation.
        rounds: training rounds, >= 1.
        delta: in (0, 1).

    Raises:
        PrivacyRefusal: a number is beyond what an event can say.
        ValueError: all sites take part: then there is no sample.
    """
    if sampling.kind == "all":
        raise ValueError("every site takes part in every round: there is no sample")
    once = plan.event()
    if sampling.rate is not None:
        event = PoissonSampledDistributedGaussian(
            sampling.rate,
            once.noise_multiplier,
            once.dimension,
            once.squared_sensitivity,
            once.honest,
            rounds,
            once.dropouts,
        )
        return cost([event], delta).epsilon
    return max(
        _without_replacement(plan, variances, (sampling.most(sites), sites), rounds, delta)
        for variances in once.honest_noise()
    )


def _without_replacement(
    plan: DistributedNoisePlan,
    variances: Sequence[Fraction],
    drawn: tuple[int, int],
    rounds: int,
    delta: float,
) -> float:
    near = continuous_counterpart(
        Sensitivity(plan.dimension, plan.sensitivity.squared_l2), variances
    )
    apart = rounds * near.log_ratio
    if not math.isfinite(apart) or delta * math.exp(-apart) <= 0:
        return math.inf
    noise = dp_accounting.GaussianDpEvent(near.noise_multiplier / 2)
    event = dp_accounting.SampledWithoutReplacementDpEvent(drawn[1], drawn[0], noise)
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(delta * math.exp(-apart))) + 2 * apart


def sampled_site_noise_multiplier(
    plan: Callable[[float], DistributedNoisePlan],
    epsilon_of: Callable[[DistributedNoisePlan], float],
    epsilon: float,
) -> float:
    """Least noise multiplier, rounded up to 4 decimals, at which a run costs a site `epsilon`.

    Args:
        plan: of one sum, for a noise multiplier.
        epsilon_of: what a run costs under a plan; falls with the noise.
        epsilon: target, > 0.

    Raises:
        ConfigError: as `plan`.
        PrivacyRefusal: no noise multiplier up to 10,000 meets the target.
    """
    refusal = (
        f"privacy.site_level.epsilon = {epsilon:g}: no noise multiplier up to "
        f"{LARGEST_NOISE_MULTIPLIER:g} meets it with this sampling; raise epsilon, or "
        "lower sampling.rate, sampling.sites or run.rounds"
    )
    return least_units(lambda units: epsilon_of(plan(units / SCALE)) <= epsilon, refusal) / SCALE
