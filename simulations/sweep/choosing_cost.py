"""What choosing costs, if all runs of a sweep were made on the same private rows.

What was charged is read from the sites' ledgers. A record is at one site in each run, so events
that cover every site's charge of a run cover any record's part in it, wherever it was.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from federation.errors import PrivacyRefusal
from privacy.calibration import noise_multiplier
from privacy.event import PoissonSampledGaussian, from_plain
from privacy.mechanism import singles
from privacy.neighbours import Neighbours
from privacy.selection_cost import Charge, composed_epsilon, covering, selected_epsilon
from simulations.sweep.choice import Choice
from simulations.sweep.outcome import Outcome
from simulations.sweep.plan import REFERENCE, SweepPlan, trial_config
from simulations.sweep.trials import SHAPES
from simulations.sweep.variation import Setting


class ChoosingCost(BaseModel):
    """What epsilon the winner has if all runs were made on the same private rows.

    Attributes:
        delta: of all of them; the least of the trials'.
        runs: that were charged, without those without privacy.
        winner: of one run of the winner, had it been the only one; None if nothing was chosen.
        composed: of all runs together: what holds for whatever is published of them.
        selected: of the winner alone, published by itself, where the number of trials was drawn;
            None where it was not, or no bound is known.
        if_drawn: what `selected` would be of as many trials by the Poisson law: None where the
            number was drawn, or no bound is known.
        unknown: why something is None that should not be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delta: float | None
    runs: int
    winner: float | None
    composed: float | None
    selected: float | None
    if_drawn: float | None
    unknown: str = ""


def choosing_cost(plan: SweepPlan, ended: Sequence[Outcome], choice: Choice | None) -> ChoosingCost:
    """What choosing costs, by what the sites' ledgers say was charged."""
    private = [one for one in ended if one.trial != REFERENCE]
    deltas = [one.delta for one in private if one.delta is not None]
    charges = [_charge(one) for one in private]
    known = [charge for charge in charges if charge]
    winner = [one.epsilon for one in private if choice and one.trial == choice.best]
    none_unknown = all(epsilon is not None for epsilon in winner)
    cost = ChoosingCost(
        delta=min(deltas, default=None),
        runs=len(known),
        winner=max((e for e in winner if e is not None), default=None) if none_unknown else None,
        composed=None,
        selected=None,
        if_drawn=None,
    )
    if cost.delta is None:
        return cost.model_copy(update={"unknown": "No run was charged."})
    if None in charges:
        return cost.model_copy(
            update={"unknown": "Not every run's ledgers can be read, or its sites were charged "
                    "differently, so that no one record's part in all runs is known."}
        )  # fmt: skip
    hidden = _hidden(plan)
    composed = composed_epsilon(known, cost.delta, hidden)
    once = _one_trial(plan, known)
    selected = if_drawn = None
    if once is not None:
        shape = SHAPES.get(plan.search)
        if shape is not None:
            selected = selected_epsilon(once, plan.mean, shape, cost.delta, hidden)
        else:
            trials = len({one.trial for one in private})
            drawn = selected_epsilon(once, float(trials), SHAPES["poisson"], cost.delta, hidden)
            if_drawn = drawn
    return cost.model_copy(
        update={
            "composed": composed,
            "selected": selected,
            "if_drawn": if_drawn,
            "unknown": "" if once is not None else "Trials are charged for mechanisms of "
            "different kinds; no one event covers them all.",
        }
    )  # fmt: skip


def _one_trial(plan: SweepPlan, known: Sequence[Charge]) -> Charge | None:
    """What covers any trial that might have been drawn, with all its seeds."""
    planned = [_planned_charge(plan, settings) for settings in plan.support]
    whole = [charge for charge in planned if charge is not None]
    if len(whole) < len(planned):
        return None
    cover = covering([*known, *whole])
    seeds = max(len(trial.seeds) for trial in plan.trials)
    return None if not cover else cover * seeds


def _planned_charge(plan: SweepPlan, settings: tuple[Setting, ...]) -> Charge | None:
    """Of a trial that might have been drawn: by its settings, for perhaps it was not run.

    None where it is more than DP-SGD with each site's own noise, or cannot meet its target.
    """
    config = trial_config(plan.table, plan.settings, settings, 0)
    privacy, training = config.privacy, config.training
    counted = (config.evaluation.epsilon, config.mitigation.counts_epsilon)
    if privacy.mode == "off" or privacy.shared_noise is not None or any(counted):
        return None
    steps, rate = training.local_steps * config.run.rounds, training.sampling_rate
    noise = privacy.noise_multiplier
    if noise is None:
        assert privacy.epsilon is not None
        try:
            noise = noise_multiplier(privacy.epsilon, privacy.delta, rate, steps)
        except PrivacyRefusal:
            return None
    return (PoissonSampledGaussian(rate, noise, steps),)


def _hidden(plan: SweepPlan) -> Neighbours:
    """Whom budgets are about: the same of all trials, or the largest group of records."""
    most = max(
        plan.config(trial, trial.seeds[0]).site_policy.records_per_person for trial in plan.trials
    )
    return Neighbours(records=most)


def _charge(one: Outcome) -> Charge | None:
    if one.charge is None:
        return None
    return tuple(singles(map(from_plain, one.charge)))
