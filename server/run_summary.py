"""From a run's outcome to `summary.json` and `report.html`; no number is made here."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from evaluation.gap_grades import JUDGED_GAPS
from evaluation.report.page import render
from federation.agreement import Agreement
from federation.boosted_trees import boosted_trees_of
from federation.config import FederationConfig, group_sizes
from federation.durable_file import write_atomically
from federation.evaluation_record import evaluating_command
from federation.initial_model import initial_model
from federation.local_layers import local_names
from federation.multipliers import mitigated_attribute
from federation.ring_vector import packed_bytes
from federation.round_messages import Spending
from federation.run_folder import RunFolder
from federation.sum_groups import smallest_sum_group
from federation.summary import (
    SEEDED,
    SYSTEM,
    Baseline,
    Disparity,
    FairnessPoint,
    NoiseSource,
    Privacy,
    Robustness,
    RunFacts,
    SecureSum,
    SiteAccount,
    Strategy,
    Summary,
    TrainedMitigation,
    UtilityPoint,
)
from federation.task import Task
from privacy.guarantee import covered, fewest_tolerated_colluders, not_covered
from server.coordination import Outcome
from server.grouped_round import EXCHANGES_IN_GROUPS
from server.noise_summary import shared_noise, site_level
from server.rounds import MOST_NAMED_SITES
from server.run_record import RoundRecord
from server.secure_round import EXCHANGES

LISTED_OF_MANY = 20
"""Accounts in a summary of more than `MOST_NAMED_SITES` sites: those that spent the most."""


def write_outputs(
    folder: RunFolder, config: FederationConfig, task: Task, outcome: Outcome, backend: str
) -> Summary:
    """Write `summary.json` and `report.html`; returns the summary."""
    summary = summarise(folder, config, task, outcome, backend)
    write_summary(folder, summary)
    return summary


def write_summary(folder: RunFolder, summary: Summary) -> None:
    """Write a summary and the report made from it."""
    folder.write_summary(summary)
    write_atomically(folder.report, render(summary).encode())


def summarise(
    folder: RunFolder, config: FederationConfig, task: Task, outcome: Outcome, backend: str
) -> Summary:
    """All that a reader of the run may know."""
    record = outcome.record
    final = record.final_evaluation
    points = [r.utility for r in record.rounds if r.utility is not None]
    return Summary(
        run=_facts(folder, config, task, outcome, backend),
        privacy=_privacy(outcome),
        secure_sum=_secure_sum(outcome),
        strategy=_strategy(outcome.agreement, task),
        robustness=_robustness(outcome.agreement),
        mitigation=_mitigation(outcome, task),
        rounds=tuple(r.round for r in record.rounds),
        utility=_one_per_model(points),
        fairness=final.fairness if final else (),
        fairness_by_round=_fairness_by_round(record.rounds),
        drift=final.drift if final else (),
        baselines=_baselines(outcome),
        notes=_notes(folder, outcome),
    )


def _facts(
    folder: RunFolder, config: FederationConfig, task: Task, outcome: Outcome, backend: str
) -> RunFacts:
    environment = folder.read_environment()
    finished = datetime.now(UTC)
    started = datetime.fromisoformat(outcome.record.started)
    agreement = outcome.agreement
    return RunFacts(
        id=folder.id,
        name=config.run.name,
        status="stopped" if outcome.stopped else "completed",
        stopped_because=outcome.stopped.reason if outcome.stopped else "",
        stopped_by_budget=outcome.stopped is not None and outcome.stopped.by_budget,
        stopped_by_refusal=outcome.stopped is not None and outcome.stopped.by_refusal,
        started=started.isoformat(),
        finished=finished.isoformat(timespec="seconds"),
        seconds=sum(r.round.seconds for r in outcome.record.rounds),
        resumed=outcome.record.starts - 1,
        backend=backend,
        task=config.task.name,
        seed=config.run.seed,
        rounds_planned=agreement.rounds,
        rounds_completed=outcome.record.completed_rounds,
        sites=agreement.sites,
        cohorts={name: tuple(sorted(sites)) for name, sites in agreement.cohorts.items()},
        positive_class=task.schema.classes[1] if task.schema.is_binary else "",
        config_digest=agreement.digest().hex(),
        model_sha256=hashlib.sha256(folder.model.read_bytes()).hexdigest(),
        model_parameters=len(outcome.model) // 4,
        versions=environment.versions,
        partition=environment.partition,
    )


def _privacy(outcome: Outcome) -> Privacy:
    agreement, terms = outcome.agreement, outcome.agreement.privacy
    listed = _listed(outcome.statements)
    return Privacy(
        mode="off" if terms is None else "record",
        delta=None if terms is None else terms.delta,
        target_epsilon=None if terms is None else terms.target_epsilon,
        noise_multiplier=None if terms is None else terms.noise_multiplier,
        max_grad_norm=None if terms is None else terms.max_grad_norm,
        sampling_rate=agreement.training.sampling_rate,
        steps=agreement.steps,
        unit="record",
        neighbouring_relation="add or remove one record",
        noise_source=_noise_source(outcome),
        sites={site: _account(agreement, site, told) for site, told in listed},
        unlisted=len(outcome.statements) - len(listed),
        covered=covered(agreement),
        not_covered=not_covered(agreement),
        shared_noise=shared_noise(outcome),
        site_level=site_level(outcome),
    )  # fmt: skip


def _listed(statements: Mapping[str, Spending]) -> list[tuple[str, Spending]]:
    """The accounts that a summary names: all, or of thousands the sites that spent the most."""
    told = sorted(statements.items())
    if len(told) > MOST_NAMED_SITES:
        told.sort(key=lambda one: one[1].epsilon_spent or math.inf, reverse=True)
        told = told[:LISTED_OF_MANY]
    return sorted(told)


def _noise_source(outcome: Outcome) -> NoiseSource:
    """Where all sites' noise came from; a site that did not say may have had any."""
    sources = {statement.noise_source for statement in outcome.statements.values()}
    if outcome.agreement.privacy is None:
        return "none"
    if SEEDED in sources:
        return SEEDED
    all_said = set(outcome.statements) == set(outcome.agreement.sites)
    return SYSTEM if all_said and sources == {SYSTEM} else "unknown"


def _account(agreement: Agreement, site: str, statement: Spending) -> SiteAccount:
    rows = agreement.public_rows[site]
    return SiteAccount(
        public_rows=rows,
        expected_batch_size=agreement.training.sampling_rate * rows,
        delta=statement.delta,
        epsilon_spent=statement.epsilon_spent,
        epsilon_pld=statement.epsilon_pld,
        epsilon_rdp=statement.epsilon_rdp,
        epsilon_budget=statement.epsilon_budget,
        reserved=statement.reserved,
        committed=statement.committed,
        voided=statement.voided,
        refused=statement.refused,
        ledger_head=statement.ledger_head,
        records_per_person=statement.records_per_person,
        neighbouring_relation=statement.neighbouring_relation,
        site_level_epsilon_spent=statement.site_level_epsilon_spent,
        site_level_epsilon_budget=statement.site_level_epsilon_budget,
    )


def _secure_sum(outcome: Outcome) -> SecureSum:
    rules = outcome.agreement.federation
    return SecureSum(
        threshold=rules.threshold,
        quorum=rules.quorum,
        ring_bits=tuple(stretch.bits for stretch in outcome.stretches),
        words=sum(stretch.length for stretch in outcome.stretches),
        upload_bytes_per_site=packed_bytes(outcome.stretches),
        exchanges_per_round=(
            EXCHANGES_IN_GROUPS if outcome.agreement.robustness.is_grouped else EXCHANGES
        ),
        tolerated_colluders=fewest_tolerated_colluders(outcome.agreement),
        roster_digest=outcome.roster_digest,
        rules_digest=outcome.agreement.rules_digest,
        method="protocol" if outcome.roster_digest else "arithmetic",
    )


def _strategy(agreement: Agreement, task: Task) -> Strategy:
    training = agreement.training
    corrected = "fedprox" if training.proximal_mu else training.algorithm
    model = initial_model(task, agreement.seed)
    return Strategy(
        algorithm=corrected if boosted_trees_of(model) is None else "boosted_trees",
        proximal_mu=training.proximal_mu,
        optimizer=agreement.server.optimizer,
        local_layers=local_names(model, training.local_layers),
    )


def _robustness(agreement: Agreement) -> Robustness | None:
    rule = agreement.robustness
    if rule.aggregate == "mean":
        return None
    smallest = smallest_sum_group(agreement)
    return Robustness(
        aggregate=rule.aggregate,
        group_sizes=group_sizes(len(agreement.sites), rule.groups),
        quorum=smallest.quorum,
        threshold=smallest.threshold,
        trimmed=rule.trimmed if rule.aggregate == "trimmed_mean" else None,
        tolerated_sites=rule.tolerated,
    )


def _mitigation(outcome: Outcome, task: Task) -> TrainedMitigation | None:
    terms = outcome.agreement.mitigation
    if terms is None or terms.method == "none":
        return None
    assert terms.criterion is not None
    levels = mitigated_attribute(terms, task.schema).levels
    sent = [one.multipliers for one in outcome.record.rounds if one.multipliers]
    return TrainedMitigation(
        method=terms.method,
        criterion=terms.criterion,
        attribute=str(terms.attribute),
        strength=None if terms.method == "reweighing" else terms.strength,
        weights=dict(zip(levels, terms.weights, strict=True)) if terms.weights else {},
        multipliers=tuple(sent),
    )


def _one_per_model(points: list[UtilityPoint]) -> tuple[UtilityPoint, ...]:
    """The last word on each model: a failed round makes the next one judge the same model again."""
    return tuple({point.after_round: point for point in points}.values())


def _fairness_by_round(rounds: Sequence[RoundRecord]) -> tuple[FairnessPoint, ...]:
    last_word = {
        (one.utility.after_round, fairness.scope): fairness.disparities
        for one in rounds
        if one.utility is not None
        for fairness in one.fairness
    }
    return tuple(
        FairnessPoint(after_round=after_round, scope=scope, disparities=_main(disparities))
        for (after_round, scope), disparities in last_word.items()
    )


def _main(disparities: Sequence[Disparity]) -> tuple[Disparity, ...]:
    return tuple(
        gap.model_copy(update={"variants": ()}) for gap in disparities if gap.metric in JUDGED_GAPS
    )


def _baselines(outcome: Outcome) -> tuple[Baseline, ...]:
    final = outcome.record.final_evaluation
    if final is None or final.majority is None or final.utility is None:
        return ()
    return (
        Baseline(
            name="majority class",
            description="always answers the most frequent class",
            simulation_only=False,
            utility=final.majority,
        ),
        Baseline(
            name="federated",
            description="this run's model",
            simulation_only=False,
            utility=final.utility.overall,
        ),
    )


def _notes(folder: RunFolder, outcome: Outcome) -> tuple[str, ...]:
    silent = sorted(set(outcome.agreement.sites) - set(outcome.statements))
    notes = []
    if outcome.agreement.training.local_layers:
        notes.append(
            f"the layers {', '.join(outcome.agreement.training.local_layers)} stay at the sites: "
            f"{folder.model.name} holds them as initialised, and each site is judged with its own, "
            "which its home keeps under local-layers/"
        )
    if not outcome.agreement.counts_exactly:
        notes.append(
            "held-out rows are counted with noise only, after the run: "
            + evaluating_command(folder)
        )
    elif outcome.record.final_evaluation is None:
        notes.append("the model as it is now was not evaluated; groups and drift are not known")
    if silent:
        notes.append(f"no closing statement came from {', '.join(silent)}: ask for their ledgers")
    trained = [r.round for r in outcome.record.rounds if r.round.clipped_updates is not None]
    cut = [one for one in trained if one.clipped_updates == one.in_the_sum]
    if cut:
        notes.append(
            f"in {len(cut)} of {len(trained)} rounds every site's update was longer than "
            "training.update_clip and was scaled down: lower training.learning_rate, or raise it"
        )
    measured = [r.round for r in outcome.record.rounds if r.round.noise is not None]
    short = [str(one.round) for one in measured if one.noise and one.noise.too_little]
    if short:
        notes.append(
            f"NOISE IS MISSING in round {', '.join(short)}: the sum carried less than the sites "
            "promised, so the guarantee that rests on it does not hold; find the site first"
        )
    incomplete = [
        r.round for r in outcome.record.rounds
        if 0 < len(r.round.groups) < outcome.agreement.robustness.groups
    ]  # fmt: skip
    if incomplete:
        notes.append(
            f"in {len(incomplete)} of {len(trained)} rounds a group of sites had no sum; the "
            "median or trimmed mean of those rounds is over the groups that had one"
        )
    survivors = {r.round.survivors for r in outcome.record.rounds if r.round.survivors}
    if len(survivors) > 1:
        notes.append(
            "the set of survivors changed between rounds; counts that do not change between rounds "
            "(such as a group's number of rows) can then be had for a lost site by subtraction"
        )
    return tuple(notes)
