"""What a sweep came to: `results.json`, from which the tables and the page are made alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from simulations.sweep.choice import Aim, Choice, Limit, choose
from simulations.sweep.choosing_cost import ChoosingCost, choosing_cost
from simulations.sweep.folder import run_name
from simulations.sweep.outcome import Outcome
from simulations.sweep.plan import REFERENCE, PlannedTrial, SweepPlan
from simulations.sweep.standing import Standing, frontier, standing
from simulations.sweep.trials import Law

SCHEMA: Literal["hedgerow/sweep/1"] = "hedgerow/sweep/1"


class SweepResults(BaseModel):
    """The whole sweep.

    Attributes:
        keys: that were varied.
        outcomes: of every run that has ended, in the order of trials and seeds.
        missing: names of the runs that have not.
        reference: the trial without privacy; None if there is none.
        frontier: numbers of the trials that no other one beats in both epsilon and the aim.
        fair_frontier: in both epsilon and the worst-group gap.
        undominated: in all three.
        unlimited: the choice if there were no limits.
        versions: of the first run; `other_versions` names packages that later runs differ in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: Literal["hedgerow/sweep/1"] = SCHEMA
    name: str
    file: str
    settings: tuple[str, ...]
    variations: tuple[str, ...]
    search: Law
    mean: float
    keys: tuple[str, ...]
    seeds: int
    trials: tuple[PlannedTrial, ...]
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...]
    standings: tuple[Standing, ...]
    reference: Standing | None
    frontier: tuple[int, ...]
    fair_frontier: tuple[int, ...]
    undominated: tuple[int, ...]
    aim: Aim
    limits: tuple[Limit, ...]
    choice: Choice | None
    unlimited: Choice | None
    cost: ChoosingCost
    versions: dict[str, str]
    other_versions: tuple[str, ...]


def results(
    plan: SweepPlan, outcomes: Sequence[Outcome], aim: Aim, limits: tuple[Limit, ...]
) -> SweepResults:
    """All that is known of a sweep, whole or not.

    Args:
        plan: of the sweep.
        outcomes: of the runs that have ended, in any order.
        aim: of which more is better.
        limits: that the best has to keep to.
    """
    by_run = {one.run: one for one in outcomes}
    names = [run_name(trial.number, seed) for trial in plan.trials for seed in trial.seeds]
    ended = tuple(by_run[name] for name in names if name in by_run)
    every = [
        standing(
            trial.number,
            trial.words,
            len(trial.seeds),
            [one for one in ended if one.trial == trial.number],
        )
        for trial in plan.trials
    ]
    standings = tuple(one for one in every if one.trial != REFERENCE)
    choice = choose(standings, aim, limits)
    versions = next((one.versions for one in ended if one.versions), {})
    return SweepResults(
        name=plan.name,
        file=Path(plan.file).name,
        settings=plan.settings,
        variations=plan.variations,
        search=plan.search,
        mean=plan.mean,
        keys=plan.keys,
        seeds=max(len(trial.seeds) for trial in plan.trials),
        trials=plan.trials,
        outcomes=ended,
        missing=tuple(name for name in names if name not in by_run),
        standings=standings,
        reference=next((one for one in every if one.trial == REFERENCE), None),
        frontier=_numbers(frontier(standings, larger=aim)),
        fair_frontier=_numbers(frontier(standings, smaller="worst_group_gap")),
        undominated=_numbers(frontier(standings, smaller="worst_group_gap", larger=aim)),
        aim=aim,
        limits=limits,
        choice=choice,
        unlimited=choose(standings, aim, ()),
        cost=choosing_cost(plan, ended, choice),
        versions=versions,
        other_versions=tuple(
            sorted(
                {
                    name
                    for one in ended
                    for name, version in one.versions.items()
                    if versions.get(name) != version
                }
            )
        ),
    )


def _numbers(standings: Sequence[Standing]) -> tuple[int, ...]:
    return tuple(one.trial for one in standings)
