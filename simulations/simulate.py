"""A whole simulated run: prepare or resume, run on a backend, put the yardsticks beside it."""

import time

from flwr.app import Context, RecordDict
from safetensors.torch import load
from torch import nn

from federation import canonical
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError, UsageError
from federation.initial_model import initial_model
from federation.run_folder import RunFolder
from federation.summary import Summary
from federation.task import Task
from federation.task_loading import load_task
from server.app import server_app
from server.coordination import Outcome, coordinate
from server.rounds import Observer
from server.run_preparation import search_task_folder
from server.run_summary import write_summary
from simulations.backends.embedded import EmbeddedGrid
from simulations.backends.ray import run_on_ray
from simulations.baselines import baselines
from simulations.in_process import InProcess
from simulations.injected_summary import injected_summary
from simulations.injection import injected
from simulations.lying_coordinator import AgreedSites, LyingTransport
from simulations.sites import (
    read_config,
    require_simulated_sites,
    simulated_client_app,
    verify_sites,
)


def run(folder: RunFolder, config: FederationConfig, observe: Observer) -> Summary:
    """Run, or go on with, a prepared folder; returns the summary that stands in it at the end.

    A run that is complete is left as it is.

    Args:
        folder: from `prepare`, or of a run that was interrupted.
        config: of the folder; only `simulation` may differ from what stands there.
        observe: told after each round.

    Raises:
        HedgerowError: the run cannot go on; what is recorded stays and can be resumed.
    """
    outcomes: list[Outcome] = []
    search_task_folder(folder)
    with folder.sole_user():
        if folder.summary.is_file():
            before = folder.read_summary()
            if before.run.status == "completed":
                return before
        require_simulated_sites(folder, "hedgerow coordinator run FED --resume RUN")
        verify_sites(folder, config)
        _play(folder, config, observe, outcomes)
        return _completed_summary(folder, config, outcomes)


def _completed_summary(
    folder: RunFolder, config: FederationConfig, outcomes: list[Outcome]
) -> Summary:
    """The summary with what only a simulation knows: yardsticks, and what was injected."""
    summary = before = folder.read_summary()
    task = injected(load_task(config.task.name, config.task.options), config)
    model = _final_model(folder, task, config)
    rounds = summary.run.rounds_completed
    if config.simulation.baselines and rounds and outcomes:
        beside = baselines(task, outcomes[0].agreement, model, rounds)
        summary = summary.model_copy(update={"baselines": (*summary.baselines, *beside)})
    suffered = injected_summary(folder, config, task, model, summary.rounds)
    completed = summary.model_copy(update={"injected": suffered})
    if completed != before:
        write_summary(folder, completed)
    return completed


def _play(
    folder: RunFolder, config: FederationConfig, observe: Observer, outcomes: list[Outcome]
) -> None:
    choice, nodes = config.simulation, len(config.federation.sites)
    runs = folder.path.parent
    if choice.coordinator != "honest":
        _lie(folder, config, observe)
        return
    if choice.backend == "ray":
        app = server_app(folder, "ray", observe, outcomes.append)
        run_on_ray(app, runs, nodes, choice.workers)
        if not outcomes:
            raise UsageError("the run on Ray ended early; Flower's log above says why")
        return
    app = server_app(folder, "embedded", observe, outcomes.append, poll_seconds=0.0)
    run_config = {"runs": str(runs.resolve())}
    with EmbeddedGrid(simulated_client_app, nodes, run_config, choice.workers) as grid:
        app(grid, Context(grid.run.run_id, 1, {}, RecordDict(), dict(run_config)))


def _lie(folder: RunFolder, config: FederationConfig, observe: Observer) -> None:
    """Let the sites agree, then lie to them in one process.

    Raises:
        PrivacyRefusal: the sites refused, as they must.
    """
    task = load_task(config.task.name, config.task.options)
    names = config.federation.sites
    sites = InProcess(folder, names, config.run.seed, lambda loaded: injected(loaded, config))

    def agreed() -> AgreedSites:
        agreement = Agreement.from_bytes(folder.agreement.read_bytes())
        roster = ConsortiumFiles(folder.path).read_roster(int(time.time()))
        nodes = {site: node for node, site in enumerate(names)}
        return AgreedSites(sites, nodes, agreement, roster, task)

    line = LyingTransport(sites, config.simulation.coordinator, agreed)
    coordinate(line, folder, config, task, observe)


def _final_model(folder: RunFolder, task: Task, config: FederationConfig) -> nn.Module:
    model = initial_model(task, config.run.seed)
    model.load_state_dict(load(folder.model.read_bytes()))
    return model


def require_resumable(folder: RunFolder, config: FederationConfig) -> None:
    """Return if a run may go on under this; only how it is simulated may have been changed.

    Args:
        folder: of the interrupted run.
        config: that stands there, with overrides.

    Raises:
        UsageError: an override would change what the sites agreed to.
        IntegrityError: the configuration is not the one that the run began with.
    """
    recorded = read_config(folder.path)
    if (
        canonical.digest(recorded.model_dump(mode="json"))
        != folder.read_environment().config_digest
    ):
        raise IntegrityError(
            f"{folder.config} was changed since the run began; put it back, or start a new run"
        )
    changed = [
        name
        for name in FederationConfig.model_fields
        if name != "simulation" and getattr(config, name) != getattr(recorded, name)
    ]
    if changed:
        raise UsageError(
            f"--resume goes on under the agreement the sites signed; {', '.join(changed)} cannot "
            "be changed, only simulation.* can"
        )
