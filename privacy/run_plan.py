"""A site's training plan for one round, as both sides derive it from the agreement alone."""

from federation.agreement import Agreement
from privacy.plan import DpSgdPlan, NonPrivatePlan


def run_plan(agreement: Agreement, site: str) -> DpSgdPlan | NonPrivatePlan:
    """What `site` does in one round; nothing in it depends on a private count of rows."""
    training, privacy = agreement.training, agreement.privacy
    divisor = training.sampling_rate * agreement.public_rows[site]
    if privacy is None:
        return NonPrivatePlan(
            sampling_rate=training.sampling_rate,
            steps=training.local_steps,
            expected_batch_size=divisor,
        )
    return DpSgdPlan(
        sampling_rate=training.sampling_rate,
        steps=training.local_steps,
        noise_multiplier=privacy.noise_multiplier,
        max_grad_norm=privacy.max_grad_norm,
        expected_batch_size=divisor,
        delta=privacy.delta,
    )
