"""One run as the console shows it, out of its folder: while it is under way and when it has ended.

Nothing is written, and nothing is asked of anybody. What was read is kept until the file changes.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from evaluation.gap_grades import JUDGED_GAPS
from evaluation.report import verdicts
from federation.agreement import Agreement
from federation.console_page.page import Grade, Notice, Tile, gravest_first
from federation.errors import HedgerowError
from federation.report_page.number_text import epsilon, listing, rate, setting, significant
from federation.run_folder import RunFolder
from federation.summary import Drift, Fairness, SiteAccount, Utility
from privacy.accountant import cost
from privacy.plan import DpSgdPlan
from privacy.run_plan import run_plan
from server.run_contents import RunContents, State, read_contents
from server.run_record import RoundRecord, RunRecord

_DOCUMENTS = (
    ("report.html", "Report of the run"),
    ("evaluation/evaluation.html", "Evaluation page"),
    ("summary.json", "summary.json"),
    ("evaluation/evaluation.json", "evaluation.json"),
)
"""What a reader may open, by its path in the run folder; all of it holds sums and public facts."""

_GRADE: dict[str, Grade] = {"ok": "OK", "watch": "Watch", "act": "Act", "window too small": "Off"}
_GRAVITY: dict[Grade, int] = {"Act": 0, "Watch": 1, "OK": 2, "Off": 3}

MOST_GAPS, MOST_SHIFTS = 8, 8
"""Lines of the tables of gaps and of changed features."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file to open; `name` is unique among a run's."""

    name: str
    words: str
    path: Path


@dataclass(frozen=True, slots=True)
class RoundNow:
    """One finished round.

    Attributes:
        lost: per lost site, the phase and the reason.
        training_loss: mean over the records of the batches, nats; None where not told.
        utility: of the model that the round started from, on held-out rows.
        after_round: after how many rounds that model was.
    """

    number: int
    kind: str
    status: str
    reason: str
    attempts: int
    in_the_sum: int
    lost: dict[str, str]
    seconds: float
    training_loss: float | None
    utility: Utility | None
    after_round: int | None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The round being played; `since` is when the run's record last grew, seconds ago."""

    number: int
    attempt: int
    since: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of training rounds; `left` is for those to come, at the median."""

    latest: float
    median: float
    left: float


@dataclass(frozen=True, slots=True)
class GapNow:
    """A difference between groups; `beyond_chance` is None where that was not tested."""

    scope: str
    attribute: str
    metric: str
    between: tuple[str, ...]
    value: float
    low: float | None
    high: float | None
    beyond_chance: bool | None


@dataclass(frozen=True, slots=True)
class ShiftNow:
    """How far a feature, or what else is compared, is from the reference window."""

    scope: str
    subject: str
    statistic: str
    value: float
    grade: Grade


@dataclass(frozen=True, slots=True)
class RunNow:
    """One run.

    Attributes:
        id: name of its folder.
        done: training rounds that changed the model.
        sites: invited.
        rounds: finished ones, in order.
        tiles: verdicts on the model as it is now.
        in_use: verdicts of its latest evaluation; empty before the first.
        measured: what `gaps` and `shifts` are about.
        accounts: what each site said of its ledger at the end.
        notices: what calls for somebody, the gravest first.
    """

    id: str
    name: str
    task: str
    state: State
    started: str
    done: int
    planned: int
    sites: tuple[str, ...]
    quorum: int
    rounds: tuple[RoundNow, ...] = ()
    under_way: UnderWay | None = None
    pace: Pace | None = None
    tiles: tuple[Tile, ...] = ()
    in_use: tuple[Tile, ...] = ()
    measured: str = ""
    gaps: tuple[GapNow, ...] = ()
    shifts: tuple[ShiftNow, ...] = ()
    accounts: tuple[tuple[str, SiteAccount], ...] = ()
    notices: tuple[Notice, ...] = ()
    documents: tuple[Document, ...] = ()


def run_now(folder: RunFolder, now: float) -> RunNow:
    """The run as its folder shows it.

    Args:
        folder: of the run.
        now: seconds since the epoch.

    Raises:
        HedgerowError: its configuration cannot be read.
    """
    read = read_contents(folder)
    run = read.config.run
    notices = [*_damage(read), *_round_notices(read), *_evaluation_notices(read)]
    return RunNow(
        id=folder.id,
        name=run.name,
        task=read.config.task.name,
        state=read.state,
        started=read.record.started,
        done=read.record.completed_rounds,
        planned=run.rounds,
        sites=read.sites,
        quorum=read.config.federation.quorum,
        rounds=tuple(_round(one) for one in read.record.rounds),
        under_way=_under_way(folder, read.record, now) if read.state == "under way" else None,
        pace=_pace(read.record, run.rounds),
        tiles=_tiles(read),
        in_use=_in_use(read),
        measured=_measured(read),
        gaps=_gaps(_fairness(read)),
        shifts=_shifts(read),
        accounts=tuple(read.summary.privacy.sites.items()) if read.summary else (),
        notices=gravest_first(notices),
        documents=tuple(_documents(folder)),
    )


def unreadable(folder: RunFolder, error: HedgerowError) -> RunNow:
    """A run of which nothing can be shown but that something is wrong."""
    return RunNow(
        id=folder.id,
        name=folder.id,
        task="",
        state="interrupted",
        started="",
        done=0,
        planned=0,
        sites=(),
        quorum=0,
        notices=(Notice("Act", "damage", str(error)),),
    )


def _under_way(folder: RunFolder, record: RunRecord, now: float) -> UnderWay:
    latest = record.rounds[-1].round.round if record.rounds else 0
    number = min((one for one in record.under_way if one > latest), default=latest + 1)
    try:
        since = max(0.0, now - folder.rounds.stat().st_mtime)
    except FileNotFoundError:
        since = 0.0
    return UnderWay(number, record.tried.get(number, 0) or 1, since)


def _round(one: RoundRecord) -> RoundNow:
    told = one.round
    return RoundNow(
        number=told.round,
        kind=told.kind,
        status=told.status,
        reason=told.reason,
        attempts=told.attempts,
        in_the_sum=len(told.survivors),
        lost=dict(told.dropped),
        seconds=told.seconds,
        training_loss=one.training_loss,
        utility=one.utility.overall if one.utility else None,
        after_round=one.utility.after_round if one.utility else None,
    )


def _pace(record: RunRecord, planned: int) -> Pace | None:
    seconds = [one.round.seconds for one in record.rounds if one.round.kind == "train"]
    if not seconds:
        return None
    median = statistics.median(seconds)
    return Pace(seconds[-1], median, median * max(0, planned - record.completed_rounds))


def _tiles(read: RunContents) -> tuple[Tile, ...]:
    if read.summary is not None and read.state != "under way":
        return tuple(_tile(one) for one in verdicts.verdicts(read.summary))
    counted = [one for one in read.record.rounds if one.utility is not None]
    if not counted:
        return ()
    drift = _drift(read)
    compared = (
        _tile(verdicts.drift(drift))
        if drift
        else Tile("Drift", "Off", "not yet", "Windows are compared when training has ended.")
    )
    return (
        _utility_so_far(counted),
        _tile(verdicts.fairness(_fairness(read))),
        compared,
        _privacy_so_far(read),
    )


def _fairness(read: RunContents) -> tuple[Fairness, ...]:
    """Of the latest evaluation, or else of the latest round that counted."""
    if read.evaluation is not None:
        return read.evaluation.fairness
    return next((one.fairness for one in reversed(read.record.rounds) if one.fairness), ())


def _drift(read: RunContents) -> tuple[Drift, ...]:
    return next((one.drift for one in reversed(read.record.rounds) if one.drift), ())


def _measured(read: RunContents) -> str:
    """What the tables of groups and features are about."""
    if read.evaluation is not None:
        return f"window {read.evaluation.windows[-1].name}"
    counted = [one.utility for one in read.record.rounds if one.utility is not None]
    return f"the model after round {counted[-1].after_round}" if counted else ""


def _gaps(scopes: Sequence[Fairness]) -> tuple[GapNow, ...]:
    """Differences between groups, those beyond chance and then the widest first."""
    found = [
        GapNow(
            scope=one.scope,
            attribute=gap.attribute,
            metric=gap.metric.replace("_", " "),
            between=gap.between,
            value=gap.estimate.value,
            low=gap.estimate.low,
            high=gap.estimate.high,
            beyond_chance=gap.significant,
        )
        for one in scopes
        for gap in one.disparities
        if gap.metric in JUDGED_GAPS
        and not gap.metric.endswith("_ratio")
        and gap.estimate.value is not None
    ]
    found.sort(key=lambda one: (one.beyond_chance is not True, -one.value))
    return tuple(found[:MOST_GAPS])


def _shifts(read: RunContents) -> tuple[ShiftNow, ...]:
    """Features that moved, the gravest first."""
    found = _shifts_of_window(read) if read.evaluation else _shifts_of_run(_drift(read))
    return tuple(sorted(found, key=lambda one: (_GRAVITY[one.grade], -one.value))[:MOST_SHIFTS])


def _shifts_of_run(drift: Sequence[Drift]) -> list[ShiftNow]:
    return [
        ShiftNow(one.scope, one.feature, "psi", one.psi, _GRADE[one.verdict])
        for one in drift
        if one.psi is not None
    ]


def _shifts_of_window(read: RunContents) -> list[ShiftNow]:
    assert read.evaluation is not None
    latest = read.evaluation.windows[-1].name
    return [
        ShiftNow(one.scope, found.subject, found.statistic, found.value, _GRADE[found.verdict])
        for one in read.evaluation.drift
        if one.window == latest
        for found in one.findings
        if found.value is not None
        and found.against == "reference"
        and (found.kind == "covariate" or found.verdict in {"watch", "act"})
    ]


def _tile(one: verdicts.Verdict) -> Tile:
    return Tile(one.topic, one.grade, one.headline, one.sentence)


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
    better = stands < began
    said = (
        f"Log loss went from {significant(began)} to {significant(stands)} in "
        f"{last.after_round} rounds, on {last.overall.rows:,} held-out rows."
    )
    return Tile("Utility", "OK" if better else "Watch", headline, said)


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


def _in_use(read: RunContents) -> tuple[Tile, ...]:
    told = read.evaluation.verdicts if read.evaluation else ()
    return tuple(Tile(one.topic, one.grade, one.headline, one.sentence) for one in told)


def _damage(read: RunContents) -> Iterator[Notice]:
    for text in read.damage:
        yield Notice("Act", "damage", text)


def _round_notices(read: RunContents) -> Iterator[Notice]:
    for one in read.record.rounds:
        if one.round.noise is not None and one.round.noise.alarm:
            yield Notice(
                "Act", "noise", f"Round {one.round.round}: the noise in the sum is not as promised."
            )
    last = read.record.rounds[-1].round if read.record.rounds else None
    if last is not None and last.status == "failed":
        yield Notice(
            "Act", "rounds", f"Round {last.round} failed: {last.reason or 'no reason told'}"
        )
    if last is not None and last.dropped:
        names = listing(tuple(last.dropped))
        yield Notice("Watch", "sites", f"Round {last.round} went on without {names}.")
    if read.state == "stopped" and read.summary is not None:
        yield Notice("Act", "run", f"The run stopped: {read.summary.run.stopped_because}")
    if read.state == "interrupted":
        done, planned = read.record.completed_rounds, read.config.run.rounds
        yield Notice(
            "Watch",
            "run",
            f"Nobody works on it, and {done} of {planned} rounds are done: it can be resumed.",
        )


def _evaluation_notices(read: RunContents) -> Iterator[Notice]:
    for alert in read.evaluation.alerts if read.evaluation else ():
        yield Notice(
            "Act" if alert.level == "act" else "Watch",
            alert.topic,
            f"Window {alert.window}: {alert.sentence}",
        )


def _documents(folder: RunFolder) -> Iterator[Document]:
    for name, words in _DOCUMENTS:
        path = folder.path / name
        if path.is_file():
            yield Document(name, words, path)
