"""What a summary says of noise that sites added in shares within the secure sum."""

import math

from federation import summary
from federation.agreement import Agreement, NoiseInTheSum
from federation.sum_groups import fewest_in_sum
from federation.summary import Exposure, SampledSites, SharedNoise, SiteLevel
from privacy.run_plan import shared_record_noise, site_level_noise
from privacy.sampled_sites import relation_of, sampled_site_epsilon
from privacy.shared_record_noise import exposure_alone, exposures
from server.coordination import Outcome

FURTHER_COLLUDERS = 3
"""Beyond those allowed for: how many are told of, one by one."""


def site_level(outcome: Outcome) -> SiteLevel | None:
    """The guarantee whose unit is a site; None if the run has none."""
    terms = outcome.agreement.site_level
    if terms is None:
        return None
    said = [each.site_level_epsilon_spent for each in outcome.statements.values()]
    spent = [epsilon for epsilon in said if epsilon is not None]
    return SiteLevel(
        delta=terms.delta,
        target_epsilon=terms.target_epsilon,
        noise_multiplier=terms.noise_multiplier,
        epsilon=max(spent) if spent and len(spent) == len(said) else None,
        sampled=_sampled(outcome.agreement, terms.delta),
        **_in_the_sum(outcome, terms).model_dump(),
    )


def _sampled(agreement: Agreement, delta: float) -> SampledSites | None:
    """What the planned rounds cost a site whose taking part is not known; None if all take part."""
    sampling, plan = agreement.sampling, site_level_noise(agreement)
    if sampling.kind == "all" or plan is None:
        return None
    sites = len(agreement.sites)
    epsilon = sampled_site_epsilon(plan, sampling, sites, agreement.rounds, delta)
    return SampledSites(
        kind=sampling.kind,
        expected=sampling.expected(sites),
        sites=sites,
        epsilon=epsilon if math.isfinite(epsilon) else None,
        neighbouring_relation=relation_of(sampling),
    )


def shared_noise(outcome: Outcome) -> SharedNoise | None:
    """What the noise that hides a record rests on; None if each site added its own."""
    agreement = outcome.agreement
    plan = shared_record_noise(agreement)
    if plan is None or agreement.privacy is None or agreement.privacy.shared is None:
        return None
    rounds, delta = agreement.rounds, agreement.privacy.delta
    with_more = enumerate(exposures(plan, rounds, delta, FURTHER_COLLUDERS))
    return SharedNoise(
        exposures=tuple(
            Exposure(
                further_colluders=further,
                noise_multiplier=seen.noise_multiplier,
                epsilon=seen.epsilon if math.isfinite(seen.epsilon) else None,
            )
            for further, seen in (*with_more, (None, exposure_alone(plan, rounds, delta)))
        ),
        **_in_the_sum(outcome, agreement.privacy.shared).model_dump(),
    )


def _in_the_sum(outcome: Outcome, terms: NoiseInTheSum) -> summary.NoiseInTheSum:
    rounds = [record.round for record in outcome.record.rounds]
    return summary.NoiseInTheSum(
        colluders=terms.colluders,
        honest=fewest_in_sum(outcome.agreement.federation, outcome.agreement.sampling)
        - terms.colluders,
        granularity=terms.granularity,
        ring_bits=terms.ring_bits,
        surplus_removed=terms.remove_surplus,
        alarms=tuple(r.round for r in rounds if r.noise is not None and r.noise.alarm),
    )
