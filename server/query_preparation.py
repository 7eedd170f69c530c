"""A folder of queries for real sites: what would be refused and can be seen from here, is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from evaluation.analytics.plan import plan_queries
from federation import canonical
from federation.analytics_config import AnalyticsConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import ConfigError, PrivacyRefusal
from federation.membership import Membership, install
from federation.run_folder import RunFolder
from federation.task import Task
from federation.task_loading import add_search_folder, load_task
from server.analytics_folder import QUERIES
from server.app_bundle import AppBundle
from server.countersigning import require_membership, require_ready
from server.enrolment import enrolled
from server.federation_home import FederationHome
from server.run_preparation import environment, new_run_folder, require_bundle


def prepare_queries(
    home: FederationHome, config: AnalyticsConfig, bundle: AppBundle, task_folder: Path | None
) -> RunFolder:
    """A folder ready to be asked.

    Args:
        home: of the federation.
        config: as the user wrote it; its `[site_policy]` is for simulated sites.
        bundle: that will be shipped.
        task_folder: where the user's task module lies, if it is not installed. The coordinator
            needs the task for its schema; it loads no row.

    Raises:
        HedgerowError: a query, the task, the roster or a signature is wrong; then no folder is
            made.
    """
    members = tuple(require_membership(home).roster.keys)
    sites = config.federation.sites or members
    strangers = sorted(set(sites) - set(members))
    if strangers:
        raise ConfigError(
            "federation.sites", strangers, f"sites of the roster: {', '.join(members)}"
        )
    membership = require_ready(home, datetime.now(UTC), sites)
    require_bundle(membership, bundle)
    resolved = config.with_sites(sites)
    if task_folder is not None:
        add_search_folder(task_folder)
    rows = {site: one.public_rows for site, one in enrolled(home).items() if site in sites}
    _require_answerable(resolved, load_task(config.task.name, config.task.options), rows)
    _require_within_rules(resolved, membership)
    with new_run_folder(home.runs.absolute(), config.name) as folder:
        for unused in ("sites", "ledgers"):
            (folder.path / unused).rmdir()
        install(ConsortiumFiles(folder.path), membership)
        digest = canonical.digest(resolved.model_dump(mode="json"))
        folder.write_environment(
            environment(config.seed, digest, membership.roster.digest(), task_folder)
        )
        write_atomically(folder.path / QUERIES, resolved.to_toml().encode())
    return folder


def _require_answerable(config: AnalyticsConfig, task: Task, rows: Mapping[str, int]) -> None:
    """Return if the schema has an answer for every query.

    Raises:
        ConfigError: it has none.
    """
    plan_queries(task.schema, config.queries, max(rows.values())).layout(len(rows))


def _require_within_rules(config: AnalyticsConfig, membership: Membership) -> None:
    """Return if the consortium allows exact queries, or there are none.

    Raises:
        PrivacyRefusal: it does not.
    """
    exact = [query.name for query in config.queries if query.epsilon is None]
    if exact and not membership.rules.allow_without_privacy:
        raise PrivacyRefusal(
            f"queries without epsilon: {', '.join(exact)}; the run rules in force have "
            "allow_without_privacy = false, so every site refuses them: give each an epsilon"
        )
