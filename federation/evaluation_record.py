"""What evaluations leave behind at the coordinator: sums over sites, by stage and window.

RUN/evaluation/
reference.json  windows/<name>.json  stages/<id>/  cohorts.json
consortium.pub  roster.json  run-rules.json  membership.json  failure.json (of real sites alone)
evaluation.json  evaluation.html  alerts.jsonl  metrics.prom
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from federation import canonical
from federation.cohort_record import FoundCohorts
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import IntegrityError
from federation.evaluation_agreement import GridTerms, Stage
from federation.privacy_impact import PrivacyImpact
from federation.round_layout import scoped
from federation.run_folder import RunFolder
from federation.summary import Part
from federation.task import Floats

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

Record = TypeVar("Record", bound=Part)


class StageRecord(Part):
    """One secure sum.

    Attributes:
        stage: what was counted.
        window: on which rows.
        run: under which id the sites were asked.
        at: UTC, ISO 8601.
        agreement_sha256: that all sites signed.
        spec_sha256: of groups, levels, ranges and bins.
        model_sha256: of the model's parameters as they travelled; empty without a model.
        survivors: whose rows are counted.
        dropped: per lost site, the phase it was lost in and why.
        sums: per segment; of several sites, so that no number here is one site's.
        noise_variance: of the noise on each count, 0 if counts are exact.
        noise_family: of its law.
        epsilon: what the release cost each record; None if counts are exact.
    """

    stage: Stage
    window: str
    run: str
    at: str
    agreement_sha256: str
    spec_sha256: str
    model_sha256: str = ""
    survivors: tuple[str, ...]
    dropped: dict[str, str] = Field(default_factory=dict)
    sums: dict[str, tuple[float, ...]]
    noise_variance: float = 0.0
    noise_family: Literal["discrete_laplace", "gaussian"] = "gaussian"
    epsilon: float | None = None

    def in_scope(self, scope: str) -> dict[str, Floats]:
        """The sums of one scope, under the segments' own names."""
        prefix = scoped(scope, "")
        return {
            name.removeprefix(prefix): np.array(values)
            for name, values in self.sums.items()
            if name.startswith(prefix)
        }


class FrozenReference(Part):
    """What every later window is compared with; bins included.

    Attributes:
        grids: of every feature.
        stages: the sums that the bins were found by.
        record: the sum over the reference window.
    """

    grids: tuple[GridTerms, ...]
    stages: tuple[StageRecord, ...]
    record: StageRecord

    def sha256(self) -> str:
        """Of all of it, as canonical JSON."""
        return canonical.digest(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """Paths of a run's evaluations; every write is atomic."""

    path: Path

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The one within a run folder."""
        return cls(run.path / "evaluation")

    @property
    def reference(self) -> Path:
        """The frozen reference."""
        return self.path / "reference.json"

    @property
    def summary(self) -> Path:
        """All findings, schema `hedgerow/evaluation/1`."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page made from it alone."""
        return self.path / "evaluation.html"

    @property
    def alerts(self) -> Path:
        """One JSON object a line, for each alert of the latest evaluation."""
        return self.path / "alerts.jsonl"

    @property
    def metrics(self) -> Path:
        """For Prometheus' textfile collector."""
        return self.path / "metrics.prom"

    @property
    def given(self) -> ConsortiumFiles:
        """The roster and rules in force when real sites were last asked; newer than the run's.

        A simulated run has none here: its roster never changes.
        """
        return ConsortiumFiles(self.path)

    @property
    def failure(self) -> Path:
        """Why the ServerApp that evaluated ended; gone once one starts anew."""
        return self.path / "failure.json"

    @property
    def impact(self) -> Path:
        """What privacy costs each group, if that was simulated."""
        return self.path / "privacy-impact.json"

    def read_impact(self) -> PrivacyImpact | None:
        """The sweep over epsilons, if there is one.

        Raises:
            IntegrityError: it is not what was written.
        """
        return _read(self.impact, PrivacyImpact)

    def window(self, name: str) -> Path:
        """The sum over a window."""
        return self.path / "windows" / f"{file_name(name)}.json"

    @property
    def cohorts(self) -> Path:
        """Cohorts of sites that were found, per window."""
        return self.path / "cohorts.json"

    def read_cohorts(self) -> FoundCohorts:
        """What was found so far.

        Raises:
            IntegrityError: it is not what was written.
        """
        return _read(self.cohorts, FoundCohorts) or FoundCohorts()

    def write_cohorts(self, found: FoundCohorts) -> None:
        """Keep it."""
        _write(self.cohorts, found)

    def stage(self, run: str, stage: Stage, window: str) -> RunFolder:
        """Where one sum's agreement and progress are; made if missing.

        Args:
            run: whose model is judged, or the name of a discovery's step.
            stage: what is counted.
            window: on which rows.
        """
        folder = self.path / "stages" / f"{run}.{stage}.{file_name(window)}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return RunFolder(folder)

    def write_stage(self, stage: RunFolder, record: StageRecord) -> None:
        """Keep a stage's sum beside its agreement: a later stage may fail, and go on from here."""
        _write(stage.path / "sum.json", record)

    def read_stage(self, stage: RunFolder) -> StageRecord | None:
        """What `write_stage` kept.

        Raises:
            IntegrityError: it is not what was written.
        """
        return _read(stage.path / "sum.json", StageRecord)

    def note_closed(self, stage: RunFolder) -> None:
        """Note that the sites of a stage forgot their vectors."""
        write_atomically(stage.path / "closed", b"")

    def sums(self) -> tuple[Path, ...]:
        """Files of all sums that are kept, by the names of their stages."""
        return tuple(sorted((self.path / "stages").glob("*/sum.json")))

    def is_closed(self, stage: RunFolder) -> bool:
        """Whether `note_closed` did."""
        return (stage.path / "closed").exists()

    def read_reference(self) -> FrozenReference | None:
        """The frozen reference, if there is one.

        Raises:
            IntegrityError: it is not what was written.
        """
        return _read(self.reference, FrozenReference)

    def write_reference(self, reference: FrozenReference) -> None:
        """Freeze it."""
        _write(self.reference, reference)

    def read_windows(self) -> tuple[StageRecord, ...]:
        """All windows that were evaluated, in the order in which they were.

        Raises:
            IntegrityError: one is not what was written.
        """
        found = (_read(path, StageRecord) for path in (self.path / "windows").glob("*.json"))
        return tuple(sorted((one for one in found if one), key=lambda one: (one.at, one.window)))

    def write_window(self, record: StageRecord) -> None:
        """Keep a window's sum."""
        (self.path / "windows").mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self.window(record.window), record)


def evaluating_command(run: RunFolder) -> str:
    """What a user types to have the model of a run judged."""
    return "hedgerow evaluation run" if run.holds_sites else "hedgerow coordinator evaluate FED RUN"


def file_name(window: str) -> str:
    """A window's name as a file may be called; two names never share one.

    >>> file_name("2017"), file_name("week 3/2026")[:7]
    ('2017', 'week-3-')
    """
    if _PLAIN.fullmatch(window) and window.lower() == window:
        return window
    plain = re.sub(r"[^a-z0-9_]+", "-", window.lower()).strip("-_")[:30]
    return f"{plain}-{hashlib.sha256(window.encode()).hexdigest()[:8]}"


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written; restore it") from error


def _write(path: Path, record: Part) -> None:
    text = json.dumps(record.model_dump(mode="json"), allow_nan=False)
    write_atomically(path, text.encode() + b"\n", mode=0o600)
