"""A whole simulated run: prepare or resume, run on a backend, put the yardsticks beside it."""

import time
from collections.abc import Sequence

from flwr.app import Context, RecordDict
from safetensors.torch import load
from torch import nn

from client.site_home import SiteHome
from federation import canonical
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError, UsageError
from federation.initial_model import initial_model
from federation.run_folder import RunFolder
from federation.simulation_choice import Simulation
from federation.summary import Summary
from federation.task import SiteRequest, Task
from federation.trained_task import as_trained
from server.app import server_app
from server.coordination import Outcome, coordinate
from server.group_counts import unit_weights
from server.proposal import settled_mitigation
from server.rounds import Observer
from server.run_preparation import search_task_folder
from server.run_summary import write_summary
from simulations.arithmetic_run import run_arithmetically
from simulations.backends.embedded import EmbeddedGrid
from simulations.backends.placement import longest_first
from simulations.backends.ray import run_on_ray
from simulations.baselines import MOST_SITES_ALONE, OwnLayers, baselines
from simulations.chunk_workers import open_player
from simulations.in_process import InProcess
from simulations.injected_summary import injected_summary
from simulations.lying_coordinator import AgreedSites, LyingTransport
from simulations.simulated_task import simulated_task
from simulations.site_chunks import TrainingEngine, site_chunks, training_engine
from simulations.sites import (
    read_config,
    require_simulated_sites,
    rows_of_sites,
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
        if config.simulation.secure_aggregation == "real":
            require_simulated_sites(folder, "hedgerow coordinator run FED --resume RUN")
            verify_sites(folder, config)
        engine = _engine(simulated_task(folder, config), config)
        _play(folder, config, engine, observe, outcomes)
        return _completed_summary(folder, config, engine, outcomes)


def _completed_summary(
    folder: RunFolder, config: FederationConfig, engine: TrainingEngine, outcomes: list[Outcome]
) -> Summary:
    """The summary with what only a simulation knows: yardsticks, and what was injected."""
    before = folder.read_summary()
    summary = _told(before, config, engine)
    task = simulated_task(folder, config)
    model = _final_model(folder, task, config)
    rounds = summary.run.rounds_completed
    if config.simulation.baselines and rounds and outcomes:
        own = _own_layers(folder, config)
        beside = baselines(task, outcomes[0].agreement, model, rounds, own)
        summary = summary.model_copy(update={"baselines": (*summary.baselines, *beside)})
    suffered = injected_summary(folder, config, task, model, summary.rounds)
    completed = summary.model_copy(update={"injected": suffered})
    if completed != before:
        write_summary(folder, completed)
    return completed


def _engine(task: Task, config: FederationConfig) -> TrainingEngine:
    """How the sites are trained; which weights mitigation gives to rows changes nothing of it."""
    weights = unit_weights(config.mitigation, task.schema)
    mitigation = settled_mitigation(config.mitigation, weights)
    trained = as_trained(task, config.training, mitigation)
    data = trained.load(SiteRequest(config.federation.sites[0], config.run.seed))
    return training_engine(config, trained, data)


def _told(summary: Summary, config: FederationConfig, engine: TrainingEngine) -> Summary:
    """The summary, with how the simulation went about it."""
    notes = list(summary.notes)
    if engine.declined:
        notes.append(f"simulation.engine = 'batched' was declined: {engine.declined}")
    if engine.device.is_gpu:
        notes.append(f"sites were trained on a GPU ({engine.device.name}), in float32")
    if config.simulation.noise == "rehearsal":
        notes.append("noise was drawn by the rehearsal sampler, in single precision")
    if config.simulation.baselines and len(summary.run.sites) > MOST_SITES_ALONE:
        notes.append(
            f"no site was trained alone for comparison: there are {len(summary.run.sites):,}, and "
            f"at most {MOST_SITES_ALONE} are"
        )
    made = summary.run.model_copy(update={"engine": "batched" if engine.is_batched else "per-site"})
    return summary.model_copy(update={"run": made, "notes": tuple(notes)})


def _groups(
    config: FederationConfig, engine: TrainingEngine, rows: Sequence[int]
) -> list[int] | None:
    """Per site, which others its worker trains it with; None if it is trained alone."""
    if not engine.is_batched:
        return None
    sites, rate = config.federation.sites, config.training.sampling_rate
    batches = {site: rate * count for site, count in zip(sites, rows, strict=True)}
    chunks = site_chunks(engine, batches, sorted(sites))
    chunk_of = {site: number for number, chunk in enumerate(chunks) for site in chunk}
    return [chunk_of[site] for site in sites]


def _play(
    folder: RunFolder,
    config: FederationConfig,
    engine: TrainingEngine,
    observe: Observer,
    outcomes: list[Outcome],
) -> None:
    choice, nodes = config.simulation, len(config.federation.sites)
    if choice.secure_aggregation == "arithmetic":
        outcomes.append(run_arithmetically(folder, config, engine, observe))
        return
    runs = folder.path.parent
    if choice.coordinator != "honest":
        _lie(folder, config, observe)
        return
    if choice.backend == "ray":
        app = server_app(folder, "ray", observe, outcomes.append)
        run_on_ray(app, folder, nodes, choice)
        if not outcomes:
            raise UsageError("the run on Ray ended early; Flower's log above says why")
        return
    app = server_app(folder, "embedded", observe, outcomes.append, poll_seconds=0.0)
    run_config = {"runs": str(runs.resolve())}
    rows = rows_of_sites(folder, config)
    placement = longest_first(rows, min(choice.workers, nodes), _groups(config, engine, rows))
    with EmbeddedGrid(
        simulated_client_app, nodes, run_config, choice.workers, placement=placement
    ) as grid:
        app(grid, Context(grid.run.run_id, 1, {}, RecordDict(), dict(run_config)))


def _lie(folder: RunFolder, config: FederationConfig, observe: Observer) -> None:
    """Let the sites agree, then lie to them in one process.

    Raises:
        PrivacyRefusal: the sites refused, as they must.
    """
    task, names = simulated_task(folder, config), config.federation.sites
    sites = InProcess(folder, names, config.run.seed)

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


def _own_layers(folder: RunFolder, config: FederationConfig) -> OwnLayers:
    """Of every site that judged the final model, the layers that stay there."""
    if not config.training.local_layers:
        return {}
    if config.simulation.secure_aggregation == "arithmetic":
        player = open_player(folder.path)
        return {site: player.own_layers(site) for site in config.federation.sites}
    files = {
        site: SiteHome(folder.site_home(site)).layers(folder.id) for site in config.federation.sites
    }
    return {site: load(file.read_bytes()) for site, file in files.items() if file.is_file()}


MAY_CHANGE = ("backend", "ray_address", "workers", "baselines")
"""Of `simulation`, when a run is resumed: what changes no result."""


def require_resumable(folder: RunFolder, config: FederationConfig) -> None:
    """Return if a run may go on under this; only what changes no result may have been changed.

    Args:
        folder: of the interrupted run.
        config: that stands there, with overrides.

    Raises:
        UsageError: an override would change what runs.
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
    changed += [
        f"simulation.{name}"
        for name in Simulation.model_fields
        if name not in MAY_CHANGE
        and getattr(config.simulation, name) != getattr(recorded.simulation, name)
    ]
    if changed:
        may = ", ".join(f"simulation.{name}" for name in MAY_CHANGE)
        raise UsageError(
            f"--resume goes on with the run that began; {', '.join(changed)} cannot be changed, "
            f"only {may} can"
        )
