"""Finding cohorts among the sites of a simulated run."""

from collections.abc import Callable
from pathlib import Path

from federation.cohort_record import CohortDiscovery
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server import cohort_search
from server.cohort_search import CohortQuestion, found_before
from server.evaluation_run import Evaluator
from server.run_preparation import search_task_folder
from server.unchanged_config import unchanged_config
from simulations.in_process import InProcess
from simulations.injection import injected
from simulations.sites import require_simulated_sites, verify_sites


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
    run, question = RunFolder.open(path), CohortQuestion(count, window)
    with run.sole_user():
        require_simulated_sites(run, "hedgerow coordinator cohorts FED RUN")
        config = unchanged_config(run)
        search_task_folder(run)
        task = injected(load_task(config.task.name, config.task.options), config)
        sites = InProcess(
            run, config.federation.sites, config.run.seed, lambda loaded: injected(loaded, config)
        )
        if found_before(run, config, question) is None:
            verify_sites(run, config)
        evaluator = Evaluator(sites, run, config, task)
        return cohort_search.find_cohorts(evaluator, question, progress)
