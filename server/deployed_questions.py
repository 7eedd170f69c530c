"""Windows, cohorts and queries, as work for a ServerApp (`server.app.WORKS`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from federation.config import FederationConfig
from federation.errors import UsageError
from federation.evaluation_record import EvaluationFolder
from federation.membership import install
from federation.run_folder import RunFolder
from server.analytics_run import analysis_path
from server.app_bundle import AppBundle
from server.cohort_search import CohortQuestion, found_before
from server.countersigning import require_ready
from server.deployed_work import Tell
from server.federation_home import FederationHome
from server.question import question_text
from server.run_preparation import require_bundle
from server.unchanged_config import unchanged_config
from server.window_evaluation import Asked, uncounted


@dataclass
class QuestionedRun:
    """Work on the evaluations of a run; tells of each secure sum as it is kept.

    Attributes:
        folder: of the run.
        settings: see `Work`.
        done: see `Work.is_done`.
        say: gets a line for each sum.
    """

    folder: RunFolder
    settings: Mapping[str, str]
    done: Callable[[], bool]
    say: Tell
    _told: set[Path] = field(init=False)

    def __post_init__(self) -> None:
        self._told = set(self._sums())

    @property
    def failure(self) -> Path:
        """See `Work`."""
        return EvaluationFolder.of(self.folder).failure

    def is_done(self) -> bool:
        """See `Work`."""
        return self.done()

    def tell_news(self) -> bool:
        """See `Work`."""
        new = [path for path in self._sums() if path not in self._told]
        new.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in new:
            self.say(f"counted: {path.parent.name.removeprefix(f'{self.folder.id}.')}")
        self._told |= set(new)
        return bool(new)

    def _sums(self) -> tuple[Path, ...]:
        return EvaluationFolder.of(self.folder).sums()


@dataclass(frozen=True, slots=True)
class Queries:
    """Work on a folder of queries: one secure sum, so that there is no news before its end."""

    folder: RunFolder

    @property
    def failure(self) -> Path:
        """See `Work`."""
        return self.folder.failure

    @property
    def settings(self) -> Mapping[str, str]:
        """See `Work`."""
        return {"work": "analytics", "run": str(self.folder.path.absolute())}

    def is_done(self) -> bool:
        """See `Work`."""
        return analysis_path(self.folder).is_file()

    def tell_news(self) -> bool:
        """See `Work`."""
        return False


def windows_of(run: RunFolder, asked: Asked, say: Tell) -> QuestionedRun:
    """Count these windows for the run's model."""
    settings = _settings("evaluate", run, question_text(asked))
    return QuestionedRun(run, settings, lambda: not uncounted(EvaluationFolder.of(run), asked), say)


def cohorts_of(
    run: RunFolder, config: FederationConfig, question: CohortQuestion, say: Tell
) -> QuestionedRun:
    """Look for cohorts among the run's sites."""
    settings = _settings("cohorts", run, question_text(question))
    return QuestionedRun(
        run, settings, lambda: found_before(run, config, question) is not None, say
    )


def _settings(work: str, run: RunFolder, asked: str) -> dict[str, str]:
    return {"work": work, "run": str(run.path.absolute()), "asked": asked}


def trained_run(home: FederationHome, name: str) -> tuple[RunFolder, FederationConfig]:
    """A run of the federation that has a model, and what it was trained with.

    Args:
        home: of the federation.
        name: of the run's folder; a path to it will do, too.

    Raises:
        UsageError: there is no such run, it has no model, or its sites are simulated ones.
        IntegrityError: its configuration was changed.
    """
    run = RunFolder.open(home.runs.absolute() / Path(name).name)
    if run.holds_sites:
        raise UsageError(
            f"{run.path} is a simulated run: hedgerow evaluation run {run.path} asks its sites"
        )
    if not run.model.is_file():
        raise UsageError(
            f"{run.path} has no model yet: hedgerow coordinator run {home.path} --resume {run.id}"
        )
    return run, unchanged_config(run)


def let_ask(
    home: FederationHome, run: RunFolder, config: FederationConfig, bundle: AppBundle
) -> None:
    """Put the roster and rules in force where the evaluations of a run look for them.

    Sites answer under these alone, and they may be newer than the run.

    Raises:
        UsageError: not all sites of the run are in the roster in force and have countersigned it,
            or the release names another app bundle.
        IntegrityError: a certificate has expired, or a file is not what was signed.
    """
    membership = require_ready(home, datetime.now(UTC), config.federation.sites)
    require_bundle(membership, bundle)
    folder = EvaluationFolder.of(run)
    folder.path.mkdir(exist_ok=True, mode=0o700)
    install(folder.given, membership)
