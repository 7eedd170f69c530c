"""What one run of a sweep came to, out of its run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from evaluation.report import comparison, verdicts
from evaluation.worst_gap import WorstGap, worst_gap
from federation.consortium_files import ConsortiumFiles
from federation.errors import HedgerowError
from federation.run_folder import RunFolder
from federation.summary import Summary
from privacy.account import Account
from privacy.event import SingleEvent, to_plain
from privacy.ledger import verify
from privacy.mechanism import singles
from privacy.selection_cost import Charge, covering

Status = Literal["completed", "stopped", "refused", "crashed"]
"""`stopped`: by a budget or for want of sites. `refused`: an error that a further try would meet
again. `crashed`: its process died, or met a bug; it is tried again when the sweep is resumed."""


class Outcome(BaseModel):
    """One run.

    Attributes:
        run: its name in the sweep, `TRIAL-SEED`.
        epsilon: the largest over sites; None where it is unknown or there is no bound.
        site_level_epsilon: of whole updates, the largest over sites; None as for `epsilon`, and
            where the run has no such guarantee.
        drifted: features that moved beyond chance.
        charge: events that cost at least what any site was charged; None if there are none such.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    trial: int
    seed: int
    status: Status
    reason: str = ""
    epsilon: float | None = None
    site_level_epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    auc: float | None = None
    worst_gap: WorstGap | None = None
    drifted: int | None = None
    sites: int | None = None
    rounds: int | None = None
    seconds: float | None = None
    model_sha256: str = ""
    charge: tuple[dict[str, object], ...] | None = ()
    versions: dict[str, str] = {}

    def measured(self, measure: str) -> float | None:
        """The value of a measure by its name."""
        if measure == "worst_group_gap":
            return None if self.worst_gap is None else self.worst_gap.value
        value: float | None = getattr(self, measure)
        return value


def outcome(run: str, trial: int, seed: int, summary: Summary, folder: RunFolder) -> Outcome:
    """Of a run that has ended."""
    final = comparison.final_utility(summary)
    charge = charged(folder, summary.run.sites)
    return Outcome(
        run=run,
        trial=trial,
        seed=seed,
        status="completed" if summary.run.status == "completed" else "stopped",
        reason=summary.run.stopped_because,
        epsilon=None if summary.privacy.mode == "off" else verdicts.largest_epsilon(summary),
        site_level_epsilon=None
        if summary.privacy.site_level is None
        else summary.privacy.site_level.epsilon,
        delta=verdicts.largest_delta(summary) if summary.privacy.mode == "record" else None,
        noise_multiplier=summary.privacy.noise_multiplier,
        accuracy=final.accuracy.value if final else None,
        balanced_accuracy=final.balanced_accuracy if final else None,
        auc=final.auc.value if final else None,
        worst_gap=worst_gap(summary.fairness),
        drifted=len({one.feature for one in summary.drift if one.verdict in {"watch", "act"}})
        if summary.drift
        else None,
        sites=len(summary.run.sites),
        rounds=summary.run.rounds_completed,
        seconds=summary.run.seconds,
        model_sha256=summary.run.model_sha256,
        charge=None if charge is None else tuple(to_plain(event) for event in charge),
        versions=summary.run.versions,
    )


def charged(folder: RunFolder, sites: Sequence[str]) -> Charge | None:
    """Events that cost at least what stands in any site's ledger of a run, open charges counted.

    None where no such events are known, or a ledger cannot be read.
    """
    try:
        keys = ConsortiumFiles(folder.path).read_roster_of_any_time().public_keys()
        return covering([_events(folder.ledger(site), keys[site]) for site in sites])
    except (HedgerowError, KeyError, OSError):
        return None


def _events(ledger: Path, key: Ed25519PublicKey) -> tuple[SingleEvent, ...]:
    account = Account()
    for entry in verify(ledger, key):
        account.apply(entry)
    return tuple(singles(account.events("record")))
