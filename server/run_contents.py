"""All that a run folder holds for a reader, while somebody may work on it; nothing is written."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from federation import config_file
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.errors import HedgerowError, IntegrityError, UsageError
from federation.evaluation_record import EvaluationFolder
from federation.evaluation_summary import EvaluationSummary
from federation.kept_file import kept
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.run_record import RecordFollower, RunRecord

State = Literal["under way", "completed", "stopped", "interrupted", "not begun"]

Whole = TypeVar("Whole")
Model = TypeVar("Model", bound=BaseModel)

_NOTHING = RunRecord("", 0, (), {}, {}, {})


@dataclass(frozen=True, slots=True)
class RunContents:
    """What could be read; the rest is None or empty, and `damage` says why.

    Attributes:
        agreement: what all sites signed; None before the run began.
        summary: of its latest end.
        evaluation: of the model in use.
    """

    folder: RunFolder
    state: State
    config: FederationConfig
    agreement: Agreement | None
    record: RunRecord
    summary: Summary | None
    evaluation: EvaluationSummary | None
    damage: tuple[str, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Who was invited."""
        return self.agreement.sites if self.agreement else self.config.federation.sites


def read_contents(folder: RunFolder) -> RunContents:
    """What the folder holds now.

    Raises:
        HedgerowError: its configuration cannot be read.
    """
    damage: list[str] = []

    def whole(path: Path, read: Callable[[Path], Whole]) -> Whole | None:
        try:
            return kept(path, read)
        except HedgerowError as error:
            damage.append(str(error))
            return None

    config = kept(folder.config, config_file.read)
    if config is None:
        raise UsageError(f"{folder.path} is no run folder: it holds no config.toml")
    agreement = whole(folder.agreement, _agreement)
    try:
        record = _follower(folder).look()
    except HedgerowError as error:
        damage.append(str(error))
        record = _NOTHING
    summary = whole(folder.summary, _summary)
    evaluation = whole(EvaluationFolder.of(folder).summary, _evaluation)
    state = _state(folder, record, summary)
    return RunContents(folder, state, config, agreement, record, summary, evaluation, tuple(damage))


def _state(folder: RunFolder, record: RunRecord, summary: Summary | None) -> State:
    """Whether somebody works on the run goes before what was written at its latest end.

    An evaluation of an ended run holds its lock, too.
    """
    if summary is not None and len(summary.rounds) >= len(record.rounds):
        return summary.run.status
    if folder.is_in_use:
        return "under way"
    return "interrupted" if record.starts else "not begun"


def ended_summary(folder: RunFolder) -> Summary | None:
    """The summary of a run that nothing was recorded of since; None if there is no such.

    Raises:
        IntegrityError: it is not what was written.
    """
    try:
        is_latest = folder.summary.stat().st_mtime_ns >= folder.rounds.stat().st_mtime_ns
    except OSError:
        return None
    return kept(folder.summary, _summary) if is_latest else None


@lru_cache(maxsize=64)
def _follower(folder: RunFolder) -> RecordFollower:
    return RecordFollower(folder)


def _summary(path: Path) -> Summary:
    return RunFolder(path.parent).read_summary()


def _evaluation(path: Path) -> EvaluationSummary:
    return _parsed(path, EvaluationSummary)


def _agreement(path: Path) -> Agreement:
    return _parsed(path, Agreement)


def _parsed(path: Path, kind: type[Model]) -> Model:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise IntegrityError(f"{path} is not what was written") from error
