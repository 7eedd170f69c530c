"""Training plans, as both sides derive them from the agreement alone."""

import hashlib
from collections.abc import Mapping
from typing import TypedDict

from federation.agreement import Agreement, NoiseInTheSum
from federation.client_sampling import ClientSampling
from federation.config import FederationRules, SharesOfNoise
from federation.sum_groups import fewest_in_sum
from federation.training_choice import Training
from privacy.distributed_noise import DistributedNoisePlan
from privacy.plan import ClippedStepPlan, DpSgdPlan, NonPrivatePlan, clipped_step_plan
from privacy.shared_record_noise import SharedRecordNoisePlan

EVERY_SITE = ClientSampling()


def run_plan(agreement: Agreement, site: str) -> DpSgdPlan | NonPrivatePlan:
    """What `site` does in one round if it adds its noise itself.

    Nothing in it depends on a private count of rows.
    """
    return plan_for_rows(agreement, agreement.public_rows[site], rounds=1)


def plan_for_rows(agreement: Agreement, rows: int, rounds: int) -> DpSgdPlan | NonPrivatePlan:
    """The agreement's training on `rows` rows, declared in public, for the steps of `rounds`."""
    training, privacy = agreement.training, agreement.privacy
    steps, divisor = training.local_steps * rounds, training.sampling_rate * rows
    if privacy is None:
        return NonPrivatePlan(training.sampling_rate, steps, divisor)
    return DpSgdPlan(
        sampling_rate=training.sampling_rate,
        steps=steps,
        noise_multiplier=privacy.noise_multiplier,
        max_grad_norm=privacy.max_grad_norm,
        expected_batch_size=divisor,
        delta=privacy.delta,
    )


def site_level_noise(agreement: Agreement) -> DistributedNoisePlan | None:
    """The site-level noise of one round's sum; None without any.

    Raises:
        ConfigError: the agreement's numbers are impossible together.
    """
    noise = agreement.site_level
    if noise is None:
        return None
    return DistributedNoisePlan(
        dimension=noise.dimension,
        clip=agreement.training.update_clip,
        granularity=noise.granularity,
        noise_multiplier=noise.noise_multiplier,
        ring_bits=noise.ring_bits,
        **contributors(agreement.federation, noise, agreement.sampling),
    )


def shared_record_noise(agreement: Agreement) -> SharedRecordNoisePlan | None:
    """The noise that hides records in one round's sum, if sites share it; None if each adds it.

    Raises:
        ConfigError: the agreement's numbers are impossible together.
    """
    privacy = agreement.privacy
    if privacy is None or privacy.shared is None:
        return None
    noise = privacy.shared
    return SharedRecordNoisePlan(
        dimension=noise.dimension,
        step=clipped_step(agreement.training, privacy.max_grad_norm, agreement.public_rows),
        update_clip=agreement.training.update_clip,
        granularity=noise.granularity,
        noise_multiplier=privacy.noise_multiplier,
        ring_bits=noise.ring_bits,
        **contributors(agreement.federation, noise),
    )


def noise_in_the_sum(agreement: Agreement) -> DistributedNoisePlan | SharedRecordNoisePlan | None:
    """What noise the sum of a round carries, whichever unit of privacy it hides.

    Raises:
        ConfigError: the agreement's numbers are impossible together.
    """
    return shared_record_noise(agreement) or site_level_noise(agreement)


def clipped_step(
    training: Training, max_grad_norm: float, public_rows: Mapping[str, int]
) -> ClippedStepPlan:
    """What every site does in a round of shared noise.

    Raises:
        ConfigError: more than one step, or a setting is out of range.
    """
    return clipped_step_plan(
        training.local_steps,
        training.sampling_rate,
        training.learning_rate,
        max_grad_norm,
        max(public_rows.values()),
    )


class Contributors(TypedDict):
    """The sites of a `NoisedSum`: how many there are, hide each other, and may drop out unnoticed.

    Attributes:
        sites: most contributors.
        honest: the quorum less the colluders.
        dropouts: for how many noise is provided that is removed when fewer drop out.
    """

    sites: int
    honest: int
    dropouts: int


def contributors(
    rules: FederationRules,
    noise: SharesOfNoise | NoiseInTheSum,
    sampling: ClientSampling = EVERY_SITE,
) -> Contributors:
    """Whose noise a sum carries, as configured or as agreed."""
    sites, quorum = sampling.most(len(rules.sites)), fewest_in_sum(rules, sampling)
    return {
        "sites": sites,
        "honest": quorum - noise.colluders,
        "dropouts": sites - quorum if noise.remove_surplus else 0,
    }


def rotation_seed(agreement: Agreement, round_: int) -> bytes:
    """Public seed of a round's rotation, 32 bytes: the same at all sites and in every attempt.

    It is known before the updates are made; honest ones do not look at it. It does not name the
    run, so that a simulation with a seed gives the same model in every run.
    """
    return hashlib.sha256(f"hedgerow/rotation/v1 {agreement.seed} {round_}".encode()).digest()
