"""Training plans, as both sides derive them from the agreement alone."""

import hashlib

from federation.agreement import Agreement
from privacy.distributed_noise import DistributedNoisePlan
from privacy.plan import DpSgdPlan, NonPrivatePlan


def run_plan(agreement: Agreement, site: str) -> DpSgdPlan | NonPrivatePlan:
    """What `site` does in one round; nothing in it depends on a private count of rows."""
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


def noise_plan(agreement: Agreement) -> DistributedNoisePlan | None:
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
        sites=len(agreement.sites),
        honest=agreement.federation.quorum - noise.colluders,
        ring_bits=noise.ring_bits,
        dropouts=len(agreement.sites) - agreement.federation.quorum if noise.remove_surplus else 0,
    )


def rotation_seed(agreement: Agreement, round_: int) -> bytes:
    """Public seed of a round's rotation, 32 bytes: the same at all sites and in every attempt.

    It is known before the updates are made; honest ones do not look at it. It does not name the
    run, so that a simulation with a seed gives the same model in every run.
    """
    return hashlib.sha256(f"hedgerow/rotation/v1 {agreement.seed} {round_}".encode()).digest()
