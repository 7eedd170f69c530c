"""The consortium of a simulation: a key that signs while a run folder is prepared and is then gone.

It is of the operating system's randomness even in a seeded simulation, as the sites' own keys are:
no result depends on it.
"""

import time
from collections.abc import Mapping

from federation.agreement import Agreement
from federation.analytics_config import AnalyticsConfig
from federation.consortium import ConsortiumKey, certify
from federation.entropy import SystemEntropy
from federation.ring_vector import RING_BITS
from federation.roster import Roster
from federation.run_rules import RunRules, SignedRunRules
from federation.sum_groups import smallest_sum_group

DAY = 86_400
"""Seconds; by as much the clocks of the machines of one simulation may differ."""
VALIDITY = 36_500 * DAY
"""Seconds: a run may be resumed at any time, and nobody is left to renew its certificates."""
SMALLEST_CLIP, MOST_NOISE = 1e-6, 1e6
"""In rules for queries, which train nothing: whoever holds them agrees to no useful training."""
NOISE_MARGIN = 0.99
"""Of the noise solved when a run is prepared: when it starts, another version may solve less."""


def found_consortium(keys: Mapping[str, bytes], rules: RunRules) -> tuple[Roster, SignedRunRules]:
    """Certificates and signed rules, under a key that nobody has when this returns.

    Args:
        keys: per site its public identity key, 32 bytes.
        rules: of the federation that the certificates are for.
    """
    consortium = ConsortiumKey.generate(SystemEntropy())
    now = int(time.time())
    certificates = tuple(
        certify(consortium, rules.federation, site, keys[site], (now - DAY, now + VALIDITY), serial)
        for serial, site in enumerate(sorted(keys), start=1)
    )
    return Roster(consortium.public, certificates), SignedRunRules.sign(consortium, rules)


def strictest_rules(federation: str, agreement: Agreement) -> RunRules:
    """Rules that allow what the agreement says and nothing looser."""
    privacy, group = agreement.privacy, smallest_sum_group(agreement)
    return RunRules(
        federation=federation,
        version=1,
        minimum_quorum=min(agreement.federation.quorum, group.quorum),
        minimum_threshold=min(agreement.federation.threshold, group.threshold),
        minimum_contributors=agreement.evaluation.minimum_contributors,
        largest_update_clip=agreement.training.update_clip,
        ring_bits=(agreement.ring_bits,),
        least_noise_multiplier=NOISE_MARGIN * privacy.noise_multiplier if privacy else 0.0,
        least_site_level_noise_multiplier=(
            NOISE_MARGIN * agreement.site_level.noise_multiplier if agreement.site_level else 0.0
        ),
        allow_without_privacy=privacy is None,
        most_rounds=agreement.rounds,
    )


def strictest_analytics_rules(config: AnalyticsConfig) -> RunRules:
    """Rules that allow these queries and nothing looser; what they say of training allows least.

    Args:
        config: with the sites named.
    """
    return RunRules(
        federation=config.name,
        version=1,
        minimum_quorum=config.federation.quorum,
        minimum_threshold=config.federation.threshold,
        minimum_contributors=config.minimum_contributors,
        largest_update_clip=SMALLEST_CLIP,
        ring_bits=(min(RING_BITS),),
        least_noise_multiplier=MOST_NOISE,
        least_site_level_noise_multiplier=MOST_NOISE,
        allow_without_privacy=any(query.epsilon is None for query in config.queries),
        most_rounds=1,
    )
