"""What a simulated run was made to suffer, for its summary: the truth beside the results."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.drift_choice import InjectedDrift
from federation.run_folder import RunFolder
from federation.simulation_choice import INJECTED, Attacker, Simulation
from federation.sum_groups import sum_groups
from federation.summary import Injected, InjectedAttacker, InjectedRound, Round
from federation.task import Task
from simulations.attackers import attackers_of
from simulations.availability_trace import kept_trace
from simulations.fault_plan import FaultPlan
from simulations.injection import planned_faults
from simulations.poisoned_rows import backdoor_rate


def injected_summary(
    folder: RunFolder,
    config: FederationConfig,
    task: Task,
    model: nn.Module,
    rounds: Sequence[Round],
) -> Injected | None:
    """All that was injected; None if nothing was.

    Args:
        folder: of the run.
        config: as it ran.
        task: with the rows of honest sites.
        model: as the run left it.
        rounds: as recorded.
    """
    choice, usual = config.simulation, Simulation()
    if all(getattr(choice, name) == getattr(usual, name) for name in INJECTED):
        return None
    plan = planned_faults(folder, config)
    attackers = attackers_of(config)
    honest = sorted(set(config.federation.sites) - {one.site for one in attackers})
    traced = choice.availability.kind == "trace"
    agreement = Agreement.from_bytes(folder.agreement.read_bytes())
    return Injected(
        attackers=tuple(_attacker(one, task, model, honest, config.run.seed) for one in attackers),
        rounds=tuple(_round(plan, _invited(agreement, one.round), one) for one in rounds),
        drift=tuple(_told(drift) for drift in choice.drift),
        windows=choice.windows,
        availability_sha256=kept_trace(folder).source_sha256 if traced else "",
    )


def _attacker(
    attacker: Attacker, task: Task, model: nn.Module, honest: Sequence[str], seed: int
) -> InjectedAttacker:
    if attacker.kind != "backdoor":
        return InjectedAttacker(site=attacker.site, kind=attacker.kind)
    rows, plain, fooled = backdoor_rate(task, model, attacker, honest, seed)
    return InjectedAttacker(
        site=attacker.site,
        kind=attacker.kind,
        tried=rows,
        as_they_are=plain if rows else None,
        with_trigger=fooled if rows else None,
    )


def _invited(agreement: Agreement, round_: int) -> tuple[str, ...]:
    """Who was to take part: all sites, or those of the round's sample."""
    return tuple(site for group in sum_groups(agreement, round_) for site in group.sites)


def _round(plan: FaultPlan, sites: Sequence[str], done: Round) -> InjectedRound:
    found = {site: plan.lost_in(site, done.round, done.attempts) for site in sites}
    losses = found.values()
    # Too many to be named are told apart by the plan alone.
    left = tuple(site for site, loss in found.items() if loss is None)
    survivors = left if done.headcount else done.survivors
    return InjectedRound(
        round=done.round,
        online=sum(plan.is_online(site, done.round) for site in sites),
        lost=dict(sorted(Counter(loss.cause for loss in losses if loss is not None).items())),
        seconds=plan.round_seconds(done.round, survivors),
        missed_deadline=plan.missed_deadline(done.round),
    )


def _told(drift: InjectedDrift) -> str:
    """One drift as a line, with what the settings say of it."""
    what = f"{drift.kind} ({drift.how})" if drift.kind == "covariate" else drift.kind
    level = f" = {drift.level}" if drift.level else ""
    above = f" > {drift.above:g}" if drift.above is not None else ""
    of = f" of {drift.feature}{level}{above}" if drift.feature else level
    pace = "at once" if drift.over_windows == 1 else f"over {drift.over_windows} windows"
    where = ", ".join(drift.sites) if drift.sites else "all sites"
    return f"{what}{of}, strength {drift.strength:g}, from {drift.from_window} on {pace}: {where}"
