"""`evaluation.json`, schema 1: all that a reader may know of a model's windows.

Every number is a sum over at least the quorum of sites or follows from such sums; groups that are
too small are not shown. The page is made from it alone.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from federation import alert
from federation.alert import Alert
from federation.audit_summary import AuditSummary
from federation.detection_summary import Detection
from federation.drift_summary import ConceptWatch, Recommendation, SiteFlags, WindowDrift
from federation.errors import IntegrityError, UsageError
from federation.evaluation_record import EvaluationFolder, evaluating_command
from federation.mitigation_summary import MitigationOutcome, ThresholdRow
from federation.privacy_impact import PrivacyImpact
from federation.run_folder import RunFolder
from federation.score_summary import GroupScores, SiteDisparities
from federation.summary import Disparity, Fairness, Part, Utility

EVALUATION: Literal["hedgerow/evaluation/1"] = "hedgerow/evaluation/1"

Grade = Literal["OK", "Watch", "Act", "Off"]


class Subject(Part):
    """Which model was judged, and by what.

    Attributes:
        run: that trained it.
        sites: invited; never named.
        cohorts: sites per cohort.
        epsilon: that training was to cost each record; None without privacy.
        positive_class: empty with more than two classes.
    """

    run: str
    name: str
    task: str
    rounds: int
    sites: int
    cohorts: dict[str, int]
    model_sha256: str
    model_parameters: int
    epsilon: float | None
    label: str
    positive_class: str


class Marks(Part):
    """What was agreed beforehand: what is looked at, and from where on it matters."""

    criterion: str
    gap_watch: float
    gap_act: float
    psi_watch: float
    psi_act: float
    windows_per_false_alarm: int
    minimum_cell: int
    minimum_contributors: int
    score_bins: int


class Window(Part):
    """One window of rows.

    Attributes:
        at: when it was counted, UTC.
        sites: whose rows are in it; never named.
        lost: invited sites whose rows are not.
        noise_variance: of the noise on each count; 0 if counts are exact.
        epsilon: what counting it cost each record; None if counts are exact.
        utility: per scope.
        majority_accuracy: of always answering the most frequent class.
        agreement_sha256: that all sites signed.
    """

    name: str
    at: str
    sites: int
    lost: int
    noise_variance: float
    epsilon: float | None
    utility: dict[str, Utility]
    majority_accuracy: float | None = None
    agreement_sha256: str


class GapsInWindow(Part):
    """Gaps between groups in one window and scope, for the course of time."""

    window: str
    scope: str
    disparities: tuple[Disparity, ...]


class Explorer(Part):
    """What any threshold would do, in the latest window."""

    attribute: str
    rows: tuple[ThresholdRow, ...]


class Tile(Part):
    """One verdict."""

    topic: str
    grade: Grade
    headline: str
    sentence: str


class Hashes(Part):
    """By which everything can be found again.

    Attributes:
        spec_sha256: of groups, levels, ranges and bins.
        reference_sha256: of the frozen reference.
        edges_sha256: of every feature's bins.
        config_sha256: of the run's configuration.
        hedgerow: version.
    """

    spec_sha256: str
    reference_sha256: str
    edges_sha256: str
    config_sha256: str
    hedgerow: str


class EvaluationSummary(Part):
    """All windows of one model.

    Attributes:
        reference: the window that all are compared with.
        windows: in the order in which they were counted; the last is the latest.
        verdicts: of the latest window.
        fairness: of the latest window, per scope.
        scores: of the latest window, per scope: curves and calibration.
        gaps: over all windows, the reference first.
        drift: over all windows, per scope.
        concept: errors followed from window to window.
        site_flags: of the latest window: what sites found in their own rows.
        named_sites: of sites that agreed to be named, the level of each subject.
        explorer: per attribute.
        mitigation: what thresholds per group would change, per attribute and criterion.
        audit: of the latest window's rows.
        privacy_impact: if it was simulated.
        detection: how well drift was found, if a simulation injected it.
    """

    schema_id: Literal["hedgerow/evaluation/1"] = EVALUATION
    subject: Subject
    marks: Marks
    reference: Window
    windows: tuple[Window, ...] = Field(min_length=1)
    verdicts: tuple[Tile, ...]
    recommendation: Recommendation
    alerts: tuple[Alert, ...]
    fairness: tuple[Fairness, ...]
    reference_fairness: tuple[Fairness, ...]
    scores: dict[str, tuple[GroupScores, ...]]
    site_disparities: dict[str, tuple[SiteDisparities, ...]]
    gaps: tuple[GapsInWindow, ...]
    drift: tuple[WindowDrift, ...]
    concept: tuple[ConceptWatch, ...]
    site_flags: tuple[SiteFlags, ...]
    named_sites: dict[str, dict[str, str]] = Field(default_factory=dict)
    explorer: tuple[Explorer, ...]
    mitigation: tuple[MitigationOutcome, ...]
    audit: AuditSummary | None = None
    privacy_impact: PrivacyImpact | None = None
    detection: Detection | None = None
    hashes: Hashes
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: nothing; 1: something to watch; 2: something to act on."""
        return alert.exit_code(self.alerts)


def read_evaluation(path: Path) -> EvaluationSummary:
    """The findings that stand in a run folder.

    Raises:
        UsageError: nothing was evaluated yet.
        IntegrityError: it does not follow its schema.
    """
    run = RunFolder(path)
    summary = EvaluationFolder.of(run).summary
    try:
        return EvaluationSummary.model_validate_json(summary.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: nothing was evaluated yet; {evaluating_command(run)} does it"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise IntegrityError(f"{summary}: {where}: {first['msg']}") from error
