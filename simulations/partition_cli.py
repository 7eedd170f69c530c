"""`hedgerow partition`: look at how rows are shared out over simulated sites."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.config import FederationConfig
    from federation.summary import PartitionFacts
    from federation.task import Task
    from simulations.partition.site_profiles import SiteProfiles

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """How a simulation shares rows out over its sites."""


@app.command()
def show(
    path: Annotated[
        Path | None,
        typer.Argument(help="A run folder, or a federation.toml; else a built-in federation."),
    ] = None,
    *,
    task: Annotated[
        str | None, typer.Option(help="Built-in federation: heart, acs-employment or digits.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting; repeatable"),
    ] = None,
    most: Annotated[int, typer.Option(help="Sites that are listed.", min=1)] = 40,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all sites' counts as JSON instead of tables.")
    ] = False,
) -> None:
    """Show each site's rows, labels and groups, and how far sites differ.

    Of a run: the rows that its sites have. Of a federation.toml: those that they would have; no
    file is written.

    Exit codes: 0 shown; 2 wrong option or configuration; 3 wrong data; 6 the partition is damaged.
    """
    from simulations.partition_display import as_table, print_profiles  # noqa: PLC0415 - pandas

    facts, profiles = _looked_at(path, task, settings or [])
    if as_json:
        typer.echo(json.dumps(as_table(facts, profiles)))
        return
    print_profiles(facts, profiles, most)


def _looked_at(
    path: Path | None, task: str | None, overrides: list[str]
) -> tuple["PartitionFacts | None", "SiteProfiles"]:
    """How rows are shared out, and what each site has."""
    if path is None or not path.is_dir():
        return _of_a_configuration(path, task, overrides)
    if task is not None or overrides:
        raise UsageError("a run has its partition: leave --task and --set out, or give a file")
    return _of_a_run(path)


def _of_a_run(path: Path) -> tuple["PartitionFacts | None", "SiteProfiles"]:
    from federation.run_folder import RunFolder  # noqa: PLC0415 - with the rest
    from server.run_preparation import search_task_folder  # noqa: PLC0415 - as below
    from server.unchanged_config import unchanged_config  # noqa: PLC0415 - as below
    from simulations.simulated_task import simulated_task  # noqa: PLC0415 - imports torch: seconds
    from simulations.sites import require_simulated_sites  # noqa: PLC0415 - as above

    folder = RunFolder.open(path)
    require_simulated_sites(folder, "hedgerow site check HOME, at each of them")
    config = unchanged_config(folder)
    search_task_folder(folder)
    return folder.read_environment().partition, _profiles(simulated_task(folder, config), config)


def _of_a_configuration(
    path: Path | None, task: str | None, overrides: list[str]
) -> tuple["PartitionFacts | None", "SiteProfiles"]:
    from federation import config_file  # noqa: PLC0415 - settings: a while
    from federation.task_loading import add_search_folder, load_task  # noqa: PLC0415 - as below
    from simulations.defaults import DEFAULT_TASK, default_config  # noqa: PLC0415 - as above
    from simulations.simulated_task import drawn_task  # noqa: PLC0415 - imports torch: seconds
    from simulations.sites import resolve  # noqa: PLC0415 - as above

    if path is not None and task is not None:
        raise UsageError("--task chooses a built-in federation: leave it out with a file")
    config = (
        default_config(task or DEFAULT_TASK, overrides)
        if path is None
        else config_file.read(path, overrides)
    )
    if ":" in config.task.name:
        add_search_folder(Path.cwd() if path is None else path.resolve().parent)
    loaded = load_task(config.task.name, config.task.options)
    resolved = resolve(config, loaded)
    drawn = drawn_task(loaded, resolved)
    if drawn is None:
        return None, _profiles(loaded, resolved)
    return drawn.facts, _profiles(drawn.task, resolved)


def _profiles(task: "Task", config: "FederationConfig") -> "SiteProfiles":
    from simulations.partition.site_profiles import site_profiles  # noqa: PLC0415 - imports torch

    return site_profiles(task, config.federation.sites, config.run.seed)
