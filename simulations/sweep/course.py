"""The course of a sweep: what is left to do is prepared, then played; then results are written."""

import os
import shutil

from rich.console import Console

from federation.errors import HedgerowError, Interrupted
from simulations.sweep.choice import Aim, Limit
from simulations.sweep.folder import SweepFolder, run_name
from simulations.sweep.outcome import Outcome
from simulations.sweep.plan import PlannedTrial, SweepPlan
from simulations.sweep.results import SweepResults, results
from simulations.sweep.tables import write
from simulations.sweep.worker import unfinished
from simulations.sweep.workforce import Ended, Order, Step, Workforce
from simulations.sweep_display import SweepProgress


def carry_out(
    folder: SweepFolder,
    plan: SweepPlan,
    selection: tuple[Aim, tuple[Limit, ...]],
    jobs: int | None,
    console: Console,
) -> SweepResults:
    """Run all that has not ended, and write what is known then.

    A new sweep first prepares one run of every trial: a trial that cannot run is told before any
    has, and nothing is left of the sweep.

    Args:
        folder: that holds the plan.
        plan: of the sweep.
        selection: of which more is better, and what the best has to keep to.
        jobs: runs at a time; None for as many as there are cores for their workers.
        console: for the progress.

    Raises:
        HedgerowError: a trial cannot run at all; names it.
        Interrupted: Ctrl-C; all workers have ended, and the text says how to go on.
    """
    with folder.sole_user() as lock:
        left = _left(folder, plan)
        try:
            with Workforce(folder, jobs or _usual_jobs(plan), lock) as workforce:
                _carry_out(workforce, folder, plan, left, console)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"interrupted; go on with: hedgerow sweep --resume {folder.path}"
            ) from error
        found = results(plan, _outcomes(folder, plan), *selection)
        write(folder, found)
    return found


def _carry_out(
    workforce: Workforce,
    folder: SweepFolder,
    plan: SweepPlan,
    left: list[Order],
    console: Console,
) -> None:
    if not left:
        return
    if not any(folder.path.glob("runs/*/*/rounds.jsonl")):
        _prepare(workforce, folder, plan, console)
    with SweepProgress(console, "runs", len(left)) as shown:

        def watch(told: Order | Step | Ended) -> None:
            shown.show(told)
            if isinstance(told, Ended) and told.crashed:
                order = told.order
                folder.write_outcome(
                    unfinished(folder, order.trial, order.seed, str(told.error), is_final=False)
                )

        workforce.carry_out(left, watch)


def _prepare(workforce: Workforce, folder: SweepFolder, plan: SweepPlan, console: Console) -> None:
    """One run of each trial: what data, task and guarantee have to say against it."""
    trials = {trial.number: trial for trial in plan.trials}
    refused: list[tuple[PlannedTrial, HedgerowError]] = []
    orders = [Order("prepare", trial.number, trial.seeds[0]) for trial in plan.trials]
    with SweepProgress(console, "trials checked", len(orders)) as shown:

        def watch(told: Order | Step | Ended) -> None:
            shown.show(told)
            if isinstance(told, Ended) and told.error is not None:
                refused.append((trials[told.order.trial], told.error))

        workforce.carry_out(orders, watch)
    if refused:
        trial, error = min(refused, key=lambda one: one[0].number)
        workforce.close()
        shutil.rmtree(folder.path)
        raise type(error)(f"trial {trial.number} ({trial.words}): {error}; nothing was run")


def _left(folder: SweepFolder, plan: SweepPlan) -> list[Order]:
    """What has no outcome, or crashed.

    The first seeds of all trials come first, so that the whole frontier shows early.
    """
    runs = [
        (place, trial.number, seed)
        for trial in plan.trials
        for place, seed in enumerate(trial.seeds)
    ]
    orders = []
    for _, number, seed in sorted(runs):
        ended = folder.read_outcome(run_name(number, seed))
        if ended is None or ended.status == "crashed":
            orders.append(Order("play", number, seed))
    return orders


def _outcomes(folder: SweepFolder, plan: SweepPlan) -> list[Outcome]:
    named = (run_name(trial.number, seed) for trial in plan.trials for seed in trial.seeds)
    return [one for one in map(folder.read_outcome, named) if one is not None]


def _usual_jobs(plan: SweepPlan) -> int:
    """Cores over the workers of a run, each of which has one thread."""
    workers = max(plan.config(trial, trial.seeds[0]).simulation.workers for trial in plan.trials)
    return max(1, len(os.sched_getaffinity(0)) // workers)
