"""Verdicts on a run's model: those of its report once it has ended, on its course until then."""

from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from evaluation.report import verdicts
from evaluation.report.verdict_rules import WORSENED
from federation.agreement import Agreement
from federation.console_page.page import Tile
from federation.report_page.number_text import epsilon, rate, setting, significant
from federation.summary import Summary
from privacy.accountant import cost
from privacy.plan import DpSgdPlan
from privacy.run_plan import run_plan
from server.run_contents import RunContents
from server.run_gaps import latest_drift, latest_fairness
from server.run_record import RoundRecord


def tiles(read: RunContents) -> tuple[Tile, ...]:
    """Utility, fairness, drift and privacy; none before the first count."""
    if read.summary is not None and read.state != "under way":
        return judged(read.summary)
    counted = [one for one in read.record.rounds if one.utility is not None]
    if not counted:
        return ()
    drift = latest_drift(read)
    compared = (
        _tile(verdicts.drift(drift))
        if drift
        else Tile("Drift", "Off", "not yet", "Windows are compared when training has ended.")
    )
    return (
        _utility_so_far(counted),
        _tile(verdicts.fairness(latest_fairness(read))),
        compared,
        _privacy_so_far(read),
    )


def _tile(one: verdicts.Verdict) -> Tile:
    return Tile(one.topic, one.grade, one.headline, one.sentence)


def judged(summary: Summary) -> tuple[Tile, ...]:
    """The verdicts of an ended run's report."""
    return tuple(_tile(one) for one in verdicts.verdicts(summary))


def _utility_so_far(counted: list[RoundRecord]) -> Tile:
    """Against the model that the run began with: a course, not yet a verdict on its use."""
    first, last = counted[0].utility, counted[-1].utility
    assert first is not None
    assert last is not None
    began, stands = first.overall.log_loss, last.overall.log_loss
    headline = f"accuracy {rate(last.overall.accuracy.value)}"
    if began is None or stands is None or first is last:
        said = f"Before round {counted[-1].round.round}, on {last.overall.rows:,} held-out rows."
        return Tile("Utility", "OK", headline, said)
    losses = [one.utility.overall.log_loss for one in counted if one.utility is not None]
    best = min(loss for loss in losses if loss is not None)
    said = (
        f"Log loss went from {significant(began)} to {significant(stands)} in "
        f"{last.after_round} rounds, on {last.overall.rows:,} held-out rows."
    )
    if stands > WORSENED * best:
        return Tile("Utility", "Watch", headline, f"{said} It was {significant(best)} at best.")
    return Tile("Utility", "OK" if stands < began else "Watch", headline, said)


def _privacy_so_far(read: RunContents) -> Tile:
    privacy, planned = read.config.privacy, read.config.run.rounds
    if privacy.mode == "off" and privacy.site_level is None:
        sentence = "Training without differential privacy: the model may reveal single records."
        return Tile("Privacy", "Off", "no guarantee", sentence)
    charged = min(max((one.round.round for one in read.record.rounds), default=0), planned)
    spent = _spent_by_plan(read.folder.agreement, charged)
    if spent is None:
        return Tile("Privacy", "Off", "in the ledgers", "The sites’ ledgers say what was spent.")
    agreed = (
        f"; ε = {setting(privacy.epsilon)} is agreed for all of them" if privacy.epsilon else ""
    )
    sentence = (
        f"By the plan, after {charged} of {planned} rounds{agreed}. The sites’ ledgers have the "
        "last word."
    )
    return Tile("Privacy", "OK", f"ε ≤ {epsilon(spent)}", sentence)


@lru_cache(maxsize=512)
def _spent_by_plan(agreement: Path, charged: int) -> float | None:
    """The largest of all sites after so many rounds; None where a plan has no such epsilon.

    An agreement never changes once it stands.
    """
    try:
        agreed = Agreement.model_validate_json(agreement.read_bytes())
    except (OSError, ValidationError):
        return None
    if agreed.privacy is None or agreed.privacy.shared is not None:
        return None
    plans = [run_plan(agreed, site) for site in agreed.sites]
    charges = {(one.event(), one.delta) for one in plans if isinstance(one, DpSgdPlan)}
    return max((cost([event] * charged, delta).epsilon for event, delta in charges), default=None)


def tiles_in_use(read: RunContents) -> tuple[Tile, ...]:
    """Of the latest evaluation; none before the first."""
    told = read.evaluation.verdicts if read.evaluation else ()
    return tuple(Tile(one.topic, one.grade, one.headline, one.sentence) for one in told)
