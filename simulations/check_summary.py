"""`python -m simulations.check_summary SUMMARY`: does a run's summary hold what a run must hold?

Used by CI after the smoke of `make simulate`; exits 1 and says what is missing.
"""

import sys
from pathlib import Path

from federation.summary import Summary


def missing(summary: Summary) -> list[str]:
    """What a completed run's summary should hold and does not; empty if nothing is missing."""
    names = {baseline.name for baseline in summary.baselines}
    checks = {
        "status completed": summary.run.status == "completed",
        "every planned round": summary.run.rounds_completed == summary.run.rounds_planned,
        "utility before, after and between the rounds": [
            point.after_round for point in summary.utility
        ]
        == list(range(summary.run.rounds_planned + 1)),
        "an account of every site": set(summary.privacy.sites) == set(summary.run.sites),
        "epsilon within each site's budget": all(
            site.epsilon_spent is not None
            and site.epsilon_budget is not None
            and site.epsilon_spent <= site.epsilon_budget
            for site in summary.privacy.sites.values()
        ),
        "group rates": any(scope.groups for scope in summary.fairness),
        "drift of every feature": bool(summary.drift),
        "what is and is not guaranteed": bool(
            summary.privacy.covered and summary.privacy.not_covered
        ),
        "the yardsticks": {"majority class", "federated", "centralized"} <= names,
        "sums over the quorum": all(
            len(r.survivors) >= summary.secure_sum.quorum
            for r in summary.rounds
            if r.status == "completed"
        ),
    }
    return [name for name, holds in checks.items() if not holds]


def main() -> None:
    """Check the summary named on the command line."""
    summary = Summary.model_validate_json(Path(sys.argv[1]).read_bytes())
    absent = missing(summary)
    for name in absent:
        print(f"missing: {name}", file=sys.stderr)  # noqa: T201 - a command's output
    print(f"summary of {summary.run.id}: {'incomplete' if absent else 'complete'}")  # noqa: T201
    sys.exit(1 if absent else 0)


if __name__ == "__main__":
    main()
