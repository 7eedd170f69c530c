"""Queries over the simulated sites of a task: a run folder with their homes, and the run itself.

One process plays all sites; every byte that would cross is made and checked as in a deployment.
"""

import math
from pathlib import Path

from evaluation.analytics.plan import plan_queries
from federation import canonical
from federation.analysis import Analysis
from federation.analytics_config import AnalyticsConfig
from federation.durable_file import write_atomically
from federation.errors import ConfigError, PrivacyRefusal
from federation.run_folder import RunFolder
from federation.schema import TaskSchema
from federation.site_policy import SitePolicy
from federation.task import SiteRequest
from federation.task_loading import add_search_folder, load_task
from server.analytics_folder import QUERIES, answer_queries, open_queries
from server.run_preparation import environment, new_run_folder
from simulations.consortium import strictest_analytics_rules
from simulations.in_process import InProcess
from simulations.sites import furnish, require_known_sites, require_simulated_sites


def prepare(config: AnalyticsConfig, parent: Path, task_folder: Path | None = None) -> RunFolder:
    """A run folder ready to run: queries, roster, and a home and ledger for every site.

    Args:
        config: as the user wrote it.
        parent: where run folders are kept.
        task_folder: where the user's task module lies, if it is not installed.

    Raises:
        HedgerowError: a query, the task or its data is wrong; then no folder is made.
    """
    if task_folder is not None:
        add_search_folder(task_folder)
    task = load_task(config.task.name, config.task.options)
    require_known_sites(config.federation.sites, task)
    resolved = config.with_sites(config.federation.sites or task.sites)
    sites = resolved.federation.sites
    rows = {site: len(task.load(SiteRequest(site, config.seed)).train) for site in sites}
    # What the sites would be asked: a query that has no answer is refused right here.
    plan_queries(task.schema, config.queries, max(rows.values())).layout(len(sites))
    policies = [_policy(resolved, task.schema, site, count) for site, count in rows.items()]
    rules = strictest_analytics_rules(resolved)
    with new_run_folder(parent, config.name) as folder:
        roster = furnish(folder, policies, rules)
        digest = canonical.digest(resolved.model_dump(mode="json"))
        folder.write_environment(environment(config.seed, digest, roster.digest(), task_folder))
        write_atomically(folder.path / QUERIES, resolved.to_toml().encode())
    return folder


def go_on(path: Path) -> RunFolder:
    """The folder of an interrupted or failed run.

    Raises:
        UsageError: `path` is none, or its sites are real.
    """
    folder = open_queries(path)
    require_simulated_sites(folder, "hedgerow coordinator analytics FED --resume RUN")
    return folder


def run(folder: RunFolder) -> Analysis:
    """Ask the queries of a prepared folder; a run that has its answers is left as it is.

    Raises:
        HedgerowError: see `server.analytics_run.analyze`; the run can be gone on with.
    """

    def sites(config: AnalyticsConfig) -> InProcess:
        return InProcess(folder, config.federation.sites, config.seed)

    with folder.sole_user():
        return answer_queries(sites, folder)


def _policy(config: AnalyticsConfig, schema: TaskSchema, site: str, rows: int) -> SitePolicy:
    choice = config.site_policy
    exact = [query.name for query in config.queries if query.epsilon is None]
    if exact and not choice.allow_exact:
        raise PrivacyRefusal(
            f"queries without epsilon: {', '.join(exact)}; the sites answer with noise only: give "
            "each an epsilon, or let every simulated site answer exactly, without any privacy, "
            "with site_policy.allow_exact = true"
        )
    if choice.allow_exact and choice.epsilon_budget is not None:
        raise ConfigError(
            "site_policy.epsilon_budget",
            choice.epsilon_budget,
            "none with site_policy.allow_exact = true",
            "no budget covers an exact answer",
        )
    # Rounded up: as floats, the parts of a cost could add up to a hair less than it.
    asked = math.nextafter(math.fsum(query.epsilon or 0.0 for query in config.queries), math.inf)
    budget = choice.epsilon_budget or asked
    known = {f.name for f in schema.features} | {a.name for a in schema.attributes}
    return SitePolicy(
        site=site,
        dataset=f"{config.task.name}/{site}",
        public_rows=rows,
        tasks=(config.task.name,),
        task_options={config.task.name: config.task.options},
        split_seed=config.seed,
        epsilon_budget=None if choice.allow_exact else budget,
        delta=choice.delta,
        minimum_contributors=choice.minimum_contributors,
        allow_sparse_graph=config.federation.neighbours is not None,
        analytics_columns=tuple(sorted(known)) if choice.columns is None else choice.columns,
        allow_exact_analytics=choice.allow_exact,
    )
