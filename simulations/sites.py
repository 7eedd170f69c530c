"""Simulated sites: a run folder with every site's home in it, and the agents that live there.

A simulated site is a real one (its own keys, policy, journal and ledger) whose batches and noise
come from the run's seed, which every output says.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path

from flwr.app import Context
from flwr.clientapp import ClientApp

from client.agent import SiteAgent
from client.contribution import Start, Workbench, require_trainable
from client.courier import client_app
from client.home_opening import create_ledger, open_simulated_agent, verify_home
from client.site_home import SiteHome
from federation import canonical, config_file
from federation.agreement import Agreement
from federation.agreement_kinds import AnyAgreement
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.entropy import SeededEntropy
from federation.envelope import Request
from federation.errors import ConfigError, PrivacyRefusal, UsageError
from federation.partition_choice import PartitionChoice, numbered_sites
from federation.roster import Roster
from federation.run_folder import RunFolder
from federation.run_rules import RunRules
from federation.site_policy import SitePolicy
from federation.task import SiteRequest, Task
from federation.task_loading import add_search_folder, load_task
from federation.trained_task import as_trained
from privacy.account import best_order, filtered_epsilon
from privacy.accountant import cost, is_affordable
from privacy.dataset_policy import dataset_policy
from privacy.dp_sgd import LocalUpdate
from privacy.event import NonPrivate
from privacy.run_plan import run_plan, shared_record_noise
from server.group_counts import unit_weights
from server.proposal import settled_mitigation
from server.run_preparation import (
    agreement_to_be,
    environment,
    new_run_folder,
    require_known_attributes,
    search_task_folder,
)
from simulations.attackers import attackers_of, poisoned
from simulations.backends.ray import is_ray_worker, site_on_ray
from simulations.backends.ray_cluster import cluster_address, require_ray
from simulations.consortium import found_consortium, strictest_rules
from simulations.fault_plan import has_faults
from simulations.faulty_agent import FaultyAgent
from simulations.injection import injected, keep_injected, require_injectable, site_plan
from simulations.poisoned_rows import poisoned_rows
from simulations.run_lookup import run_of
from simulations.simulated_task import drawn_task, simulated_task
from simulations.site_chunks import training_engine


def resolve(config: FederationConfig, task: Task) -> FederationConfig:
    """The configuration with its sites named.

    Raises:
        ConfigError: the task has no data for a site, or the named sites are impossible together.
    """
    sites = config.federation.sites or _sites_to_be(config.simulation.partition, task)
    if config.simulation.partition.kind == "natural":
        require_known_sites(sites, task)
    table = config.model_dump(mode="json", exclude_none=True)
    # What the user left out suits the number of sites, which is known only now.
    given = config.federation.model_dump(mode="json", exclude_unset=True)
    table["federation"] = given | {"sites": list(sites)}
    resolved = config_file.parse(table)
    require_known_attributes(resolved, task)
    return resolved


def _sites_to_be(choice: PartitionChoice, task: Task) -> tuple[str, ...]:
    """The names of the sites of a partition, where the configuration names none.

    Raises:
        ConfigError: the task has fewer sites of its own than are asked for.
    """
    count = choice.sites or len(task.sites)
    if choice.kind != "natural":
        return numbered_sites(count)
    if count > len(task.sites):
        raise ConfigError(
            "federation.sites",
            count,
            f"at most {len(task.sites)}, the sites that the task has of its own",
            "simulation.partition.kind = 'iid', for instance, shares its rows out over more",
        )
    return task.sites[:count]


def require_known_sites(sites: Sequence[str], task: Task) -> None:
    """Return if the task has data for all of them.

    Raises:
        ConfigError: it has not.
    """
    unknown = sorted(set(sites) - set(task.sites))
    if unknown:
        raise ConfigError(
            "federation.sites", unknown, f"sites the task has data for: {', '.join(task.sites)}"
        )


MANY_SITES = 1000
"""Past it the bound on a site's rows is what the sites have: the usual one would overflow sums."""


def _counted_rows(task: Task, config: FederationConfig) -> tuple[dict[str, int], list[int]]:
    """Train rows of each site, and the held-out rows of each; no site's rows are kept."""
    rows, held_out = {}, []
    for site in config.federation.sites:
        data = task.load(SiteRequest(site, config.run.seed))
        rows[site] = len(data.train)
        held_out.append(len(data.reference) + len(data.current))
    return rows, held_out


def _with_room_for_sums(config: FederationConfig, held_out: int) -> FederationConfig:
    """The configuration, for many sites with the most held-out rows that one of them has."""
    evaluation = config.evaluation
    if len(config.federation.sites) <= MANY_SITES or evaluation.maximum_rows is not None:
        return config
    bounded = evaluation.model_copy(update={"maximum_rows": held_out})
    return config.model_copy(update={"evaluation": bounded})


def prepare(config: FederationConfig, parent: Path, task_folder: Path | None = None) -> RunFolder:
    """A run folder ready to run: configuration, roster, and a home and ledger for every site.

    Args:
        config: as the user wrote it.
        parent: where run folders are kept.
        task_folder: where the user's task module lies, if it is not installed.

    Raises:
        HedgerowError: the task or its data is wrong; then no folder is made.
    """
    if task_folder is not None:
        add_search_folder(task_folder)
    base = load_task(config.task.name, config.task.options)
    resolved = resolve(config, base)
    drawn = drawn_task(base, resolved)
    task = injected(base if drawn is None else drawn.task, resolved)
    trace = require_injectable(resolved, task)
    trained = as_trained(
        task,
        resolved.training,
        settled_mitigation(resolved.mitigation, unit_weights(resolved.mitigation, task.schema)),
    )
    rows, held_out = _counted_rows(trained, resolved)
    resolved = _with_room_for_sums(resolved, max(held_out))
    if resolved.simulation.backend == "ray":
        require_ray()
        cluster_address(resolved.simulation.ray_address)
    agreement = agreement_to_be(resolved, task, rows)
    # Of sites that are played without agents, the largest stands for all: there may be thousands.
    real = resolved.simulation.secure_aggregation == "real"
    largest = max(rows, key=lambda site: rows[site])
    policies = [
        _with_room_for_counts(site_policy(resolved, site, count), resolved, agreement)
        for site, count in rows.items()
        if real or site == largest
    ]
    for policy in policies:
        _require_one_round(policy, agreement)
        entropy = SeededEntropy(resolved.run.seed)
        data = trained.load(SiteRequest(policy.site, resolved.run.seed))
        require_trainable(Workbench(policy.site, agreement, trained, data, entropy))
    training_engine(resolved, trained, trained.load(SiteRequest(largest, resolved.run.seed)))
    with new_run_folder(parent, config.run.name) as folder:
        if drawn is not None:
            write_atomically(folder.partition, drawn.content)
        if real:
            rules = strictest_rules(resolved.run.name, agreement)
            roster_digest = furnish(folder, policies, rules).digest()
        else:
            for unused in (folder.path / "sites", folder.path / "ledgers"):
                unused.rmdir()
            roster_digest = ""
        digest = canonical.digest(resolved.model_dump(mode="json"))
        prepared_on = environment(resolved.run.seed, digest, roster_digest, task_folder)
        facts = {"partition": None if drawn is None else drawn.facts}
        folder.write_environment(prepared_on.model_copy(update=facts))
        write_atomically(folder.config, config_file.write_text(resolved).encode())
        keep_injected(folder, resolved, task, trace)
    return folder


def furnish(folder: RunFolder, policies: Sequence[SitePolicy], rules: RunRules) -> Roster:
    """A home with a fresh key and a ledger for every site, and what a consortium gives to all."""
    sites = [policy.site for policy in policies]
    keys = {site: SiteHome(folder.site_home(site)).create_identity() for site in sites}
    roster, signed = found_consortium(keys, rules)
    ConsortiumFiles(folder.path).write(roster, signed)
    for policy in policies:
        home = SiteHome(folder.site_home(policy.site))
        policy.write(home.policy)
        home.given.write(roster, signed)
        create_ledger(home, folder.ledger(policy.site))
    return roster


def _require_one_round(policy: SitePolicy, agreement: Agreement) -> None:
    """Return if a site's budget covers a round at least: a run may stop by it, not fail to start.

    Raises:
        PrivacyRefusal: it does not.
    """
    event = run_plan(agreement, policy.site).event()
    if policy.epsilon_budget is None or isinstance(event, NonPrivate):
        return
    if not is_affordable([event], policy.delta, policy.epsilon_budget):
        needed = cost([event], policy.delta).epsilon
        raise PrivacyRefusal(
            f"site_policy.epsilon_budget = {policy.epsilon_budget:g}: expected at least "
            f"{needed:.4f}, what one round costs; raise it, or privacy.noise_multiplier"
        )


def connect(context: Context) -> Callable[[bytes], bytes]:
    """The agent connector of this machine: node k plays the k-th site of the run it is asked for.

    Run folders are looked for under the node's `runs` setting, else under `./runs`.
    """
    index = int(context.node_config["partition-id"])
    runs = Path(str(context.run_config.get("runs", "runs")))
    if is_ray_worker():
        return site_on_ray(runs.resolve(), index)

    def answer(request: bytes) -> bytes:
        return simulated_site(run_of(runs, Request.from_bytes(request).run), index)(request)

    return answer


def simulated_client_app() -> ClientApp:
    """The courier, tied to the simulated sites of this machine."""
    return client_app(connect)


@cache
def simulated_site(path: Path, index: int) -> Callable[[bytes], bytes]:
    """The `index`-th site of a prepared run, as a function of requests; one per process."""
    config = read_config(path)
    search_task_folder(RunFolder(path))
    site = config.federation.sites[index]
    attack = next((one for one in attackers_of(config) if one.site == site), None)
    seed = config.run.seed
    agent = simulated_agent(RunFolder(path), site, seed, lambda t: poisoned_rows(t, attack, seed))
    home = SiteHome(RunFolder(path).site_home(site))
    answer = poisoned(agent.answer, attack, home, seed)
    if not has_faults(config.simulation):
        return answer
    return FaultyAgent(answer, site, site_plan(RunFolder(path), config, site), home.path)


def require_simulated_sites(folder: RunFolder, command: str) -> None:
    """Return if the sites of a run live in its folder.

    Args:
        folder: of the run.
        command: that does the same over real sites.

    Raises:
        UsageError: they are real, or were taken away.
    """
    if not folder.holds_sites:
        raise UsageError(
            f"{folder.path} holds no sites: they are not on this machine; over real ones: {command}"
        )


def verify_sites(folder: RunFolder, config: FederationConfig) -> None:
    """Return if every site's files are what was written: said here, not after a wait for it.

    Raises:
        HedgerowError: one is missing, wrong or damaged; the text names it.
    """
    for site in config.federation.sites:
        verify_home(SiteHome(folder.site_home(site)), folder.ledger(site))


def rows_of_sites(folder: RunFolder, config: FederationConfig) -> list[int]:
    """Training rows of each site, as its policy makes them public: what a round costs there."""
    homes = (SiteHome(folder.site_home(site)) for site in config.federation.sites)
    return [SitePolicy.read(home.policy).public_rows for home in homes]


@lru_cache(maxsize=8)
def read_config(path: Path) -> FederationConfig:
    """The configuration of a run folder."""
    return config_file.read(RunFolder.open(path).config)


def simulated_agent(
    folder: RunFolder,
    site: str,
    seed: int,
    change: Callable[[Task], Task] = lambda task: task,
) -> SiteAgent:
    """The agent of a site that has its home in a run folder.

    Args:
        folder: of the run.
        site: its name.
        seed: of batches and noise.
        change: what the simulation does to the rows that it loads.
    """

    def load(agreement: AnyAgreement) -> Task:
        return change(_task(folder, agreement))

    home = SiteHome(folder.site_home(site))
    runs = folder.config.is_file()  # queries have none, and train nobody
    together = runs and read_config(folder.path).simulation.engine == "batched"
    trainer = partial(_trained_together, folder.path) if together else None
    return open_simulated_agent(home, folder.ledger(site), load, SeededEntropy(seed), trainer)


def _trained_together(
    path: Path, bench: Workbench, start: Start, round_: int, charge: int
) -> LocalUpdate:
    from simulations.training_together import (  # noqa: PLC0415 - imports this module
        training_together,
    )

    return training_together(path)(bench, start, round_, charge)


def _task(folder: RunFolder, agreement: AnyAgreement) -> Task:
    """The task of an agreement, with the rows that the run's sites have."""
    if folder.config.is_file():
        return simulated_task(folder, read_config(folder.path))
    # A run of queries, over the task's own sites.
    return load_task(agreement.task.name, agreement.task.options)


def site_policy(config: FederationConfig, site: str, rows: int) -> SitePolicy:
    """What a simulated site allows, for a run under this configuration and its own rows.

    Raises:
        ConfigError: no budget is said or follows.
    """
    choice = config.site_policy
    without_privacy = config.privacy.mode == "off"
    budget = choice.epsilon_budget or config.privacy.epsilon
    if budget is None and not without_privacy:
        raise ConfigError(
            "site_policy.epsilon_budget",
            None,
            "a number > 0 when privacy.noise_multiplier is given",
            "the epsilon every simulated site allows to be spent",
        )
    return SitePolicy(
        site=site,
        dataset=f"{config.task.name}/{site}",
        public_rows=rows,
        tasks=(config.task.name,),
        task_options={config.task.name: config.task.options},
        split_seed=config.run.seed,
        epsilon_budget=None if without_privacy else budget,
        records_per_person=choice.records_per_person,
        delta=config.privacy.delta,
        minimum_quorum=choice.minimum_quorum,
        minimum_threshold=choice.minimum_threshold,
        minimum_contributors=config.evaluation.minimum_contributors,
        allow_without_privacy=without_privacy,
        allow_sparse_graph=config.federation.neighbours is not None,
        allow_shared_noise=(
            config.privacy.shared_noise is not None
            or config.evaluation.epsilon is not None
            or config.mitigation.counts_epsilon is not None
        ),
        allow_cohort_discovery=True,
        exact_evaluations_per_window=0 if config.evaluation.epsilon is not None else 3,
        site_level_epsilon_budget=_site_level_budget(config),
        site_level_delta=config.privacy.site_level.delta if config.privacy.site_level else None,
    )


def _with_room_for_counts(
    policy: SitePolicy, config: FederationConfig, agreement: Agreement
) -> SitePolicy:
    """The policy of a site whose counts are charged, too, so that both they and training fit.

    Several plans are added up by the filter, at an order that has to suit training: counts come
    first, or are pure, and would fix another one.
    """
    counts = (config.evaluation.epsilon or 0.0) + (config.mitigation.counts_epsilon or 0.0)
    if not counts or policy.epsilon_budget is None:
        return policy
    rules, shared = dataset_policy(policy), shared_record_noise(agreement)
    event = shared.event() if shared else run_plan(agreement, policy.site).event()
    order = best_order(rules, "record", event)
    if not math.isfinite(order):
        return policy
    needed = filtered_epsilon(rules, [event] * agreement.rounds, order) + counts
    given = config.site_policy.epsilon_budget
    budget = max(policy.epsilon_budget, needed) if given is None else given
    return policy.model_copy(update={"epsilon_budget": budget, "filter_order": int(order)})


def _site_level_budget(config: FederationConfig) -> float | None:
    choice, given = config.privacy.site_level, config.site_policy.site_level_epsilon_budget
    # A ledger charges what a round costs against those who know the sample: the target is not that.
    implied = choice.epsilon if choice and config.sampling.kind == "all" else None
    return given or implied
