"""Training plans, as both sides derive them from the agreement alone."""

from federation.agreement import Agreement
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
