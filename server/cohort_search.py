"""Cohorts of sites, looked for once per window that was counted; kept with the evaluations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from federation.cohort_record import CohortDiscovery, FoundCohorts
from federation.config import FederationConfig
from federation.errors import UsageError
from federation.evaluation_record import (
    EvaluationFolder,
    FrozenReference,
    StageRecord,
    evaluating_command,
)
from federation.run_folder import RunFolder
from server.cohort_run import CohortRun, discovery_name, require_discoverable
from server.evaluation_run import Evaluator

SHOWN = 3
"""Features that cohorts differ in most."""


@dataclass(frozen=True, slots=True)
class CohortQuestion:
    """What the user wants found.

    Attributes:
        clusters: how many cohorts.
        window: whose rows; None means the reference window.
    """

    clusters: int
    window: str | None = None


def found_before(
    run: RunFolder, config: FederationConfig, question: CohortQuestion
) -> CohortDiscovery | None:
    """What was discovered on the window, if anything was; asks nobody.

    Raises:
        UsageError: the window was not counted yet, cohorts cannot be found on it, or others were.
        IntegrityError: a kept file is not what was written.
    """
    _, record = _counted(run, question.window)
    require_discoverable(config, record, question.clusters)
    before = EvaluationFolder.of(run).read_cohorts().of(record.window)
    if before is None:
        return None
    if before.discovery != discovery_name(run.id, record.window, question.clusters):
        raise UsageError(
            f"cohorts of the window {before.window} were discovered with --clusters "
            f"{before.clusters}; sites allow one discovery of a window: choose another --window"
        )
    return before


def find_cohorts(
    evaluator: Evaluator, question: CohortQuestion, progress: Callable[[str], None]
) -> CohortDiscovery:
    """Discover cohorts on a window that was counted, unless they were discovered before.

    Args:
        evaluator: asks the sites.
        question: what is looked for.
        progress: told what is asked.

    Raises:
        HedgerowError: what was summed stays, and is not asked again.
    """
    before = found_before(evaluator.run, evaluator.config, question)
    if before is not None:
        return before
    reference, record = _counted(evaluator.run, question.window)
    found = CohortRun(evaluator, reference, record, question.clusters, progress).find()
    kept = evaluator.folder.read_cohorts()
    evaluator.folder.write_cohorts(FoundCohorts(discoveries=(*kept.discoveries, found)))
    return found


def lines(found: CohortDiscovery) -> Iterator[str]:
    """What was found, for a terminal."""
    yield f"window {found.window}: {found.sites} sites, {found.rows:,} rows"
    if found.cohorts:
        yield f"{'cohort':<12} {'sites':>6} {'rows':>10}"
    for cohort in found.cohorts:
        yield f"{cohort.name:<12} {cohort.sites:>6} {cohort.rows:>10,}"
    told = ", ".join(f"{one.feature} ({one.bits:.3f} bits)" for one in found.differ_in[:SHOWN])
    if told:
        yield f"they differ most in {told}"
    if found.reason:
        yield found.reason
    yield f"{found.steps} steps, {found.sums} secure sums; each site's cohort.json says its own"


def _counted(run: RunFolder, window: str | None) -> tuple[FrozenReference, StageRecord]:
    folder, command = EvaluationFolder.of(run), evaluating_command(run)
    reference = folder.read_reference()
    if reference is None:
        raise UsageError(f"{run.path}: no reference is frozen yet; {command} does it")
    known = {one.window: one for one in (reference.record, *folder.read_windows())}
    if window is not None and window not in known:
        raise UsageError(
            f"--window {window}: not counted yet, expected one of {', '.join(known)}; "
            f"{command} --window counts it"
        )
    return reference, known[window or reference.record.window]
