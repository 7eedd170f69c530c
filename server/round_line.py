"""One line about a finished round, for a progress bar: loss, epsilon, dropouts."""

from privacy.accountant import cost
from privacy.plan import DpSgdPlan
from privacy.run_plan import run_plan
from server.rounds import Progress


def round_line(progress: Progress) -> str:
    """For instance `log-loss 0.471  epsilon 0.82  dropouts 1`.

    Loss is that of the model the round started from, on held-out rows; epsilon is what the rounds
    up to this one cost a site by the plan (its ledger has the last word).
    """
    record = progress.record
    parts = [f"{record.round.kind} {record.round.status}"]
    if record.utility is not None and record.utility.overall.log_loss is not None:
        parts.append(f"log-loss {record.utility.overall.log_loss:.4f}")
    parts.append(epsilon_so_far(progress))
    noise = record.round.noise
    if noise is not None:
        alarm = "  NOISE NOT AS PROMISED" if noise.alarm else ""
        parts.append(f"noise {noise.ratio:.3f} (p {noise.p_value:.2g}){alarm}")
    parts.append(f"dropouts {record.round.lost}")
    return "  ".join(parts)


def epsilon_so_far(progress: Progress) -> str:
    """Epsilon of all rounds up to this one at one site, or that there is no privacy."""
    agreement = progress.agreement
    plan = run_plan(agreement, agreement.sites[0])
    if not isinstance(plan, DpSgdPlan):
        return "NO PRIVACY"
    # A failed round counts: a site may have reserved for it, and a resend costs nothing.
    charged = min(progress.record.round.round, agreement.rounds)
    spent = cost([plan.event()] * charged, plan.delta)
    return f"epsilon {spent.epsilon:.3f}"
