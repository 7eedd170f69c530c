"""A run folder ready to run: what the coordinator puts there, for real sites and simulated ones."""

import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from evaluation.run_layout import run_tally_spec
from federation import canonical, config_file
from federation.agreement import Agreement
from federation.boosting_rules import require_growable
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import ConfigError, UsageError
from federation.initial_model import initial_model, trainable_count
from federation.membership import Membership, install
from federation.run_folder import Environment, RunFolder
from federation.simulation_choice import INJECTED, Simulation
from federation.task import Task
from federation.task_loading import add_search_folder, load_task
from federation.trained_task import as_trained
from server.app_bundle import AppBundle
from server.countersigning import require_membership, require_ready
from server.enrolment import enrolled
from server.federation_home import FederationHome
from server.group_counts import unit_weights
from server.proposal import propose, settled_mitigation

NOT_YET_SIGNED = "0" * 64
"""Stands for the digest of run rules, which are made to fit the agreement."""

VERSIONED = ("hedgerow", "flwr", "torch", "opacus", "cryptography", "numpy", "dp-accounting")


def prepare(
    home: FederationHome, config: FederationConfig, bundle: AppBundle, task_folder: Path | None
) -> RunFolder:
    """A run folder for the sites of a federation, none of which is on this machine.

    What would be refused at the sites and can be seen from here is refused here.

    Args:
        home: of the federation.
        config: as the user wrote it.
        bundle: that will be shipped.
        task_folder: where the user's task module lies, if it is not installed. The coordinator
            needs the task for its schema and model; it loads no row.

    Raises:
        HedgerowError: settings, roster, signatures or the task are wrong; then no folder is made.
    """
    now = datetime.now(UTC)
    resolved = resolve(config, tuple(require_membership(home).roster.keys))
    membership = require_ready(home, now, resolved.federation.sites)
    require_bundle(membership, bundle)
    if task_folder is not None:
        add_search_folder(task_folder)
    task = load_task(config.task.name, config.task.options)
    require_known_attributes(resolved, task)
    rows = {site: request.public_rows for site, request in enrolled(home).items()}
    agreement_to_be(resolved, task, rows)
    digest = canonical.digest(resolved.model_dump(mode="json"))
    with new_run_folder(home.runs.absolute(), config.run.name) as folder:
        for unused in ("sites", "ledgers"):
            (folder.path / unused).rmdir()
        # The roster and rules of this day: under these the run goes on when it is resumed.
        install(ConsortiumFiles(folder.path), membership)
        folder.write_environment(
            environment(resolved.run.seed, digest, membership.roster.digest(), task_folder)
        )
        write_atomically(folder.config, config_file.write_text(resolved).encode())
    return folder


def require_bundle(membership: Membership, bundle: AppBundle) -> None:
    """Return if this is the app bundle that the release in force names, if it names one.

    Raises:
        UsageError: it is another.
    """
    named = membership.release.bundle_sha256
    if named is not None and named != bundle.sha256:
        raise UsageError(
            f"the release in force names another app bundle ({named[:16]}...) than the one of the "
            f"hedgerow {bundle.version} installed here ({bundle.sha256[:16]}...): install "
            f"hedgerow {membership.release.hedgerow}, or hedgerow coordinator bundle FED and "
            "hedgerow coordinator roster sign FED"
        )


def require_same_release(
    home: FederationHome, folder: RunFolder, bundle: AppBundle, instead: str
) -> None:
    """Return if what was prepared can go on, or be asked again, under what is in force.

    Args:
        home: of the federation.
        folder: prepared earlier.
        bundle: the app bundle that would be shipped.
        instead: what to do otherwise, for the error.

    Raises:
        UsageError: the roster is another than the one that the folder was prepared under, or names
            another app bundle.
    """
    membership = require_membership(home)
    require_bundle(membership, bundle)
    recorded = folder.read_environment().roster_digest
    if membership.roster.digest() != recorded:
        raise UsageError(
            f"{folder.path} was prepared under another roster than the one in force, which sites "
            f"answer under: {instead}"
        )


def resolve(config: FederationConfig, enrolled_sites: tuple[str, ...]) -> FederationConfig:
    """The configuration with its sites named.

    Raises:
        ConfigError: a site is not in the roster, or something is asked that only simulations do.
    """
    _require_no_partition(config)
    sites = config.federation.sites or enrolled_sites
    strangers = sorted(set(sites) - set(enrolled_sites))
    if strangers:
        raise ConfigError(
            "federation.sites",
            strangers,
            f"sites of the roster: {', '.join(enrolled_sites)}",
            "hedgerow coordinator enroll adds one",
        )
    if config.sampling.kind != "all":
        raise ConfigError(
            "sampling.kind", config.sampling.kind, "'all': these sites are real",
            "the sample follows from the agreement, so it hides no site; try it in a simulation",
        )  # fmt: skip
    _require_nothing_injected(config.simulation)
    table = config.model_dump(mode="json", exclude_none=True)
    # What the user left out suits the number of sites, which is known only now.
    given = config.federation.model_dump(mode="json", exclude_unset=True)
    table["federation"] = given | {"sites": list(sites)}
    return config_file.parse(table)


def _require_no_partition(config: FederationConfig) -> None:
    """Return if rows are left where they are, and sites are not merely counted.

    Raises:
        ConfigError: they are not.
    """
    partition = config.simulation.partition
    if partition.kind != "natural":
        raise ConfigError(
            "simulation.partition.kind",
            partition.kind,
            "'natural', or no partition: these sites are real and have rows of their own",
        )
    if partition.sites is not None:
        raise ConfigError(
            "federation.sites",
            partition.sites,
            "names: these sites are real; which of them is not for a number to say",
        )


def _require_nothing_injected(simulation: Simulation) -> None:
    """Return if nothing is asked that only a machine that plays the sites can do.

    Raises:
        ConfigError: it is.
    """
    usual = Simulation()
    for name in INJECTED:
        asked = getattr(simulation, name)
        if asked != getattr(usual, name):
            shown = len(asked) if isinstance(asked, tuple) else asked
            raise ConfigError(
                f"simulation.{name}", shown, "none: these sites are real; leave it out"
            )


def agreement_to_be(config: FederationConfig, task: Task, rows: Mapping[str, int]) -> Agreement:
    """What the sites of a run would be asked to sign: what cannot be met is refused right here.

    It has no name and no rules yet. Weights that follow from counts are all 1 in it, for nobody has
    counted.

    Args:
        config: with the sites named.
        task: as the user wrote it.
        rows: train rows of each site, as it makes them public.

    Raises:
        HedgerowError: there is nothing to sign; the text says why.
    """
    weights = unit_weights(config.mitigation, task.schema)
    trained = as_trained(task, config.training, settled_mitigation(config.mitigation, weights))
    model = initial_model(trained, config.run.seed)
    require_growable(config, model)
    parameters = trainable_count(model)
    agreement = propose(config, "not yet named", rows, NOT_YET_SIGNED, parameters, weights)
    run_tally_spec(task.schema, agreement)
    return agreement


@contextmanager
def new_run_folder(parent: Path, name: str) -> Iterator[RunFolder]:
    """A run folder to be filled; none is left if that fails."""
    folder = RunFolder.create(parent, name, datetime.now(UTC))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def search_task_folder(folder: RunFolder) -> None:
    """Let this process import the task that lies where the run was first started."""
    task_folder = folder.read_environment().task_folder
    if task_folder is not None:
        add_search_folder(Path(task_folder))


def require_known_attributes(config: FederationConfig, task: Task) -> None:
    """Return if the task has all attributes that groups are made of.

    Raises:
        ConfigError: it has not.
    """
    known = [attribute.name for attribute in task.schema.attributes]
    for attributes in config.evaluation.intersections:
        strangers = [name for name in attributes if name not in known]
        if strangers or len(set(attributes)) < 2:
            raise ConfigError(
                "evaluation.intersections",
                [list(attributes)],
                "lists of two or more distinct sensitive attributes of the task",
                f"it has: {', '.join(known) or 'none'}",
            )


def environment(
    seed: int, config_digest: str, roster_digest: str, task_folder: Path | None
) -> Environment:
    """On what a run is prepared."""
    return Environment(
        versions={"python": platform.python_version()} | {n: version(n) for n in VERSIONED},
        platform=platform.platform(),
        git_commit=_git_commit(),
        seed=seed,
        config_digest=config_digest,
        roster_digest=roster_digest,
        task_folder=None if task_folder is None else str(task_folder.resolve()),
    )


def _git_commit() -> str | None:
    """The commit of the source tree this runs from; None for an installed package."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
