"""A whole run whose sums are made by arithmetic: no agent, key, home or ledger, for many sites."""

from functools import partial

from client.contribution import Workbench
from client.round_vectors import charge_plan
from evaluation.run_layout import RunLayouts, run_tally_spec
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.entropy import SeededEntropy
from federation.initial_model import parameter_count
from federation.run_folder import RunFolder
from federation.sum_groups import sum_groups
from federation.task import SiteRequest, Task
from federation.timestamp import utc_now
from federation.trained_task import as_trained
from privacy.dataset_policy import dataset_policy
from server.coordination import Outcome, play, settled
from server.group_counts import unit_weights
from server.rounds import Observer, Rounds
from server.run_preparation import NOT_YET_SIGNED
from server.run_record import RunRecord, read_record, record_start
from server.run_summary import write_outputs
from simulations.arithmetic_sums import IN_THE_SUM, ArithmeticSums, LostIn
from simulations.chunk_workers import ChunkWorkers
from simulations.fault_plan import Loss
from simulations.injection import planned_faults
from simulations.simulated_ledgers import SimulatedLedgers
from simulations.simulated_task import simulated_task
from simulations.site_chunks import TrainingEngine, expected_batches, site_chunks
from simulations.sites import site_policy

BACKEND = "arithmetic"


def run_arithmetically(
    folder: RunFolder, config: FederationConfig, engine: TrainingEngine, observe: Observer
) -> Outcome:
    """Run, or go on with, a prepared run whose sums are made by arithmetic.

    Args:
        folder: from `prepare`.
        config: of the folder.
        engine: that trains its sites.
        observe: told after each round.

    Raises:
        HedgerowError: the run cannot go on; what is recorded stays and can be resumed.
    """
    past = read_record(folder)
    record_start(folder, utc_now())
    task = simulated_task(folder, config)
    agreement = _agreement(folder, config, task)
    trained = as_trained(task, agreement.training, agreement.mitigation)
    layouts = RunLayouts(
        run_tally_spec(task.schema, agreement),
        agreement,
        parameter_count(trained, agreement.seed),
    )
    lost_in = planned_faults(folder, config).lost_in
    bench = _bench(agreement, trained)
    policy = dataset_policy(site_policy(config, bench.site, agreement.public_rows[bench.site]))
    ledgers = SimulatedLedgers(policy, charge_plan(bench), agreement.sites, agreement.site_level)
    _charge_past(ledgers, past, agreement, lost_in)
    with ChunkWorkers(folder.path, config.simulation.workers) as workers:
        sums = ArithmeticSums(
            workers,
            folder,
            agreement,
            layouts.of,
            partial(site_chunks, engine, expected_batches(agreement)),
            lost_in,
            ledgers,
            dict(past.attempts),
        )
        rounds = Rounds(sums, folder, config, trained, agreement, layouts)
        outcome = play(rounds, past, observe, "")
    write_outputs(folder, config, task, outcome, BACKEND)
    return outcome


def _agreement(folder: RunFolder, config: FederationConfig, task: Task) -> Agreement:
    # Whose rows are needed for what is agreed; once it is, it stands.
    asked = () if folder.agreement.exists() else config.federation.sites
    rows = {site: len(task.load(SiteRequest(site, config.run.seed)).train) for site in asked}
    weights = unit_weights(config.mitigation, task.schema)
    return settled(folder, config, task, rows, NOT_YET_SIGNED, weights)


def _bench(agreement: Agreement, task: Task) -> Workbench:
    """A site's workbench: what a round costs it does not depend on which site it is."""
    site = agreement.sites[0]
    data = task.load(SiteRequest(site, agreement.seed))
    return Workbench(site, agreement, task, data, SeededEntropy(agreement.seed))


def _charge_past(
    ledgers: SimulatedLedgers, past: RunRecord, agreement: Agreement, lost_in: LostIn
) -> None:
    """Charge for the rounds that were tried before, as they were charged then."""
    for number in past.tried:
        if number > agreement.rounds:
            continue
        for group in sum_groups(agreement, number):
            there = [s for s in group.sites if _trains(lost_in(s, number, 1))]
            ledgers.charge(there)


def _trains(lost: Loss | None) -> bool:
    return lost is None or lost.phase in IN_THE_SUM
