"""All that a simulation does to its sites: to the rows they load, and to when they answer."""

from functools import lru_cache
from pathlib import Path

from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.injected_drift_record import write_injected
from federation.run_folder import RunFolder
from federation.simulation_choice import Attacker
from federation.site_policy import SitePolicy
from federation.task import SiteRequest, Task
from simulations.attackers import attackers_of
from simulations.availability_trace import (
    AvailabilityTrace,
    keep_trace,
    kept_trace,
    read_trace,
    trace_digest,
)
from simulations.fault_plan import FaultPlan, Online, fault_plan
from simulations.injected_drift import drifting, injected_truth
from simulations.poisoned_rows import poisoned_rows, require_possible_attack


def injected(task: Task, config: FederationConfig, attack: Attacker | None = None) -> Task:
    """A task with what the simulation does to its rows: drift, and at an attacker poison.

    Raises:
        ConfigError: the task has no such feature, level, class or window.
    """
    drifted = drifting(task, config.simulation, config.run.seed)
    return poisoned_rows(drifted, attack, config.run.seed)


def require_injectable(config: FederationConfig, task: Task) -> AvailabilityTrace | None:
    """The availability trace, if there is one, once all that is to be injected is possible.

    Raises:
        HedgerowError: it is not, or the trace is wrong.
    """
    for attack in attackers_of(config):
        require_possible_attack("simulation.attackers", attack, task.schema)
        poisoned_rows(task, attack, config.run.seed).load(SiteRequest(attack.site, config.run.seed))
    choice = config.simulation.availability
    if choice.kind != "trace":
        return None
    return read_trace(Path(choice.file), config.federation.sites)


def keep_injected(
    folder: RunFolder, config: FederationConfig, task: Task, trace: AvailabilityTrace | None
) -> None:
    """Write down what a run is prepared to inject."""
    if trace is not None:
        keep_trace(folder, trace)
        digest = trace_digest(trace)
        told = folder.read_environment().model_copy(update={"availability_digest": digest})
        folder.write_environment(told)
    drifts = config.simulation.drift
    if drifts or config.simulation.windows:
        write_injected(folder, injected_truth(task, drifts, config.federation.sites))


def site_plan(folder: RunFolder, config: FederationConfig, site: str) -> FaultPlan:
    """The plan as far as one site knows its part: its own rows, and the run's trace."""
    rows = SitePolicy.read(SiteHome(folder.site_home(site)).policy).public_rows
    return fault_plan(config, {site: rows}, _online(folder, config))


@lru_cache(maxsize=8)
def _kept_online(path: Path) -> Online:
    """Read once for all sites of a process."""
    return kept_trace(RunFolder(path)).online


def planned_faults(folder: RunFolder, config: FederationConfig) -> FaultPlan:
    """The plan of a run that its sites have agreed to, over all of them."""
    agreement = Agreement.from_bytes(folder.agreement.read_bytes())
    return fault_plan(config, agreement.public_rows, _online(folder, config))


def _online(folder: RunFolder, config: FederationConfig) -> Online | None:
    return _kept_online(folder.path) if config.simulation.availability.kind == "trace" else None
