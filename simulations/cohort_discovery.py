"""Finding cohorts among the sites of a simulated run."""

from collections.abc import Callable, Iterator
from pathlib import Path

from federation.cohort_record import CohortDiscovery, FoundCohorts
from federation.errors import UsageError
from federation.evaluation_record import EvaluationFolder, StageRecord
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server.cohort_run import CohortRun, discovery_name, require_discoverable
from server.evaluation_run import Evaluator
from server.run_preparation import search_task_folder
from simulations.in_process import InProcess
from simulations.sites import verify_sites
from simulations.unchanged_config import unchanged_config

SHOWN = 3
"""Features that cohorts differ in most."""


def find_cohorts(
    path: Path, count: int, window: str | None, progress: Callable[[str], None]
) -> CohortDiscovery:
    """Discover cohorts on a window that was counted, unless they were discovered before.

    Args:
        path: folder of a run whose reference is frozen.
        count: how many cohorts.
        window: whose rows; None means the reference window.
        progress: told what is asked.

    Raises:
        HedgerowError: what was summed stays, and is not asked again.
    """
    run = RunFolder.open(path)
    with run.sole_user():
        config = unchanged_config(run)
        search_task_folder(run)
        folder = EvaluationFolder.of(run)
        reference = folder.read_reference()
        if reference is None:
            raise UsageError(f"{path}: no reference is frozen yet; hedgerow evaluation run does it")
        task = load_task(config.task.name, config.task.options)
        sites = InProcess(run, config.federation.sites, config.run.seed)
        evaluator = Evaluator(sites, run, config, task)
        record = _counted(folder, reference.record, window)
        require_discoverable(evaluator, record, count)
        kept = folder.read_cohorts()
        before = kept.of(record.window)
        if before is not None:
            return _same(before, discovery_name(run.id, record.window, count))
        verify_sites(run, config)
        found = CohortRun(evaluator, reference, record, count, progress).find()
        folder.write_cohorts(FoundCohorts(discoveries=(*kept.discoveries, found)))
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


def _counted(folder: EvaluationFolder, reference: StageRecord, window: str | None) -> StageRecord:
    known = {one.window: one for one in (reference, *folder.read_windows())}
    if window is not None and window not in known:
        raise UsageError(
            f"--window {window}: not counted yet, expected one of {', '.join(known)}; "
            f"hedgerow evaluation run --window counts it"
        )
    return known[window or reference.window]


def _same(before: CohortDiscovery, wanted: str) -> CohortDiscovery:
    if before.discovery != wanted:
        raise UsageError(
            f"cohorts of the window {before.window} were discovered with --clusters "
            f"{before.clusters}; sites allow one discovery of a window: choose another --window"
        )
    return before
