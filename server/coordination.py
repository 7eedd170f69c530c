"""The run, as one page of numbered steps over a transport; resuming is starting with a past."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.run_layout import RunLayouts, run_tally_spec
from federation.agreement import Agreement
from federation.broadcast import Broadcast
from federation.config import FederationConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import (
    IntegrityError,
    UsageError,
)
from federation.initial_model import parameter_count
from federation.ring_vector import Stretch
from federation.round_layout import RoundKind
from federation.round_messages import Spending
from federation.run_folder import RunFolder
from federation.task import Task
from federation.timestamp import utc_now
from federation.trained_task import as_trained
from server.conversation import Place
from server.enlistment import agree, common_rules, enlist
from server.group_counts import counted_weights, counts_are_needed
from server.ledger_witness import Shown
from server.proposal import Weights, propose, settled_mitigation
from server.rounds import Observer, Rounds, Stop
from server.run_record import RunRecord, read_record, record_start
from server.secure_sums import SecureSums
from server.transport import Transport


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        agreement: that all sites signed.
        roster_digest: of the roster that every reply was verified with.
        record: of all rounds.
        statements: per site that could still be asked, what its ledger says.
        stopped: None if all rounds were run.
        model: final parameters and any multipliers, little-endian float32, as they travel.
        stretches: what a training round's vector is made of.
    """

    agreement: Agreement
    roster_digest: str
    record: RunRecord
    statements: Mapping[str, Spending]
    stopped: Stop | None
    model: bytes
    stretches: tuple[Stretch, ...]


def coordinate(
    transport: Transport,
    folder: RunFolder,
    config: FederationConfig,
    task: Task,
    observe: Observer,
) -> Outcome:
    """Run, or go on with, the federation of a prepared run folder.

    Args:
        transport: to the sites.
        folder: prepared, or of a run that was interrupted.
        config: with the sites named.
        task: what is trained.
        observe: told after each round.

    Raises:
        RoundFailed: not all invited sites are online.
        PrivacyRefusal: a site does not agree, or a guarantee cannot be met.
    """
    # 1. The past, if any, and who is there.
    past = read_record(folder)
    record_start(folder, utc_now())
    weights: Weights = ()
    if counts_are_needed(config.mitigation) and not folder.agreement.exists():
        # Before anybody says how far its ledger has come: counting is charged.
        weights = counted_weights(transport, folder, config, task)
    roster = ConsortiumFiles(folder.path).read_roster(int(time.time()))
    conversation, enlisted = enlist(transport, roster, config.federation, Place(folder.id))

    # 2. One agreement, signed by every site before anything is computed.
    rows = {site: enlistment.public_rows for site, enlistment in enlisted.items()}
    agreement = settled(folder, config, task, rows, common_rules(enlisted), weights)
    agree(conversation, agreement, folder, Shown.at_the_start(enlisted))
    trained = as_trained(task, agreement.training, agreement.mitigation)
    layouts = RunLayouts(
        run_tally_spec(task.schema, agreement),
        agreement,
        parameter_count(trained, agreement.seed),
    )
    sums = SecureSums(
        conversation,
        folder,
        agreement,
        roster.federation,
        layouts.of,
        dict(past.survivors),
        dict(past.attempts),
    )
    rounds = Rounds(sums, folder, config, trained, agreement, layouts)
    return play(rounds, past, observe, roster.digest())


def play(rounds: Rounds, past: RunRecord, observe: Observer, roster_digest: str) -> Outcome:
    """The rounds that are left of a run, its evaluation, and what the sites' ledgers say.

    Args:
        rounds: of the run.
        past: what is recorded of it already.
        observe: told after each round.
        roster_digest: of the roster that replies are verified with.
    """
    # 3. Rounds from where the past ends.
    agreement, folder, rule = rounds.agreement, rounds.folder, rounds.config.run.on_failed_round
    checkpoint = rounds.starting_point(past)
    stopped: Stop | None = None
    for number in range(past.next_round(rule), agreement.rounds + 1):
        checkpoint, stopped = rounds.train(number, checkpoint, past.tried.get(number, 0), observe)
        if stopped:
            break

    # 4. The final model, evaluated by all sites in a round of its own.
    write_atomically(folder.model, rounds.named_model(checkpoint))
    if past.final_evaluation is None or past.last_trained != checkpoint.after_round:
        begun = past.tried.get(rounds.evaluation_round(checkpoint), 0)
        unjudged = rounds.evaluate(checkpoint, begun, observe)
        stopped = stopped or unjudged

    # 5. What the ledgers say.
    statements = rounds.sums.close(completed=not stopped)
    return Outcome(
        agreement,
        roster_digest,
        read_record(folder),
        statements,
        stopped,
        Broadcast(checkpoint.parameters, checkpoint.multipliers).to_bytes(),
        rounds.layouts.of(RoundKind.TRAIN).stretches,
    )


def settled(
    folder: RunFolder,
    config: FederationConfig,
    task: Task,
    rows: Mapping[str, int],
    rules_digest: str,
    weights: Weights,
) -> Agreement:
    """The agreement of the folder's first start: a resumed run goes on under exactly that.

    Solved again, the noise could come out otherwise, on another version of an accountant.
    """
    if not folder.agreement.exists():
        mitigation = settled_mitigation(config.mitigation, weights)
        trained = as_trained(task, config.training, mitigation)
        parameters = parameter_count(trained, config.run.seed)
        proposed = propose(config, folder.id, rows, rules_digest, parameters, weights)
        spec = run_tally_spec(task.schema, proposed).digest()
        proposed = proposed.model_copy(update={"spec_digest": spec})
        write_atomically(folder.agreement, proposed.to_bytes())
        return proposed
    try:
        signed = Agreement.from_bytes(folder.agreement.read_bytes())
    except UsageError as error:
        raise IntegrityError(f"{folder.agreement} is not what was written: {error}") from error
    if signed.run != folder.id:
        raise UsageError(f"{folder.path} was named {signed.run} when it ran; name it so again")
    return signed
