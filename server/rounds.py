"""Rounds of one run: sum securely, decode, step, judge, record; each durable before the next."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from safetensors.torch import save as save_model

from evaluation import findings
from evaluation.mitigation.multiplier_ascent import ascended, shown_rates
from evaluation.run_layout import RunLayouts
from evaluation.tally_spec import TallySpec
from federation.adversary import predictor_of
from federation.agreement import Agreement
from federation.boosted_trees import TreeShape, boosted_trees_of
from federation.broadcast import broadcast_shape
from federation.config import FederationConfig
from federation.control_variates import server_control
from federation.envelope import ATTEMPTS_EXHAUSTED, BUDGET_EXHAUSTED, RUN_OVERSPENT
from federation.errors import DataError
from federation.initial_model import initial_model
from federation.local_layers import local_names
from federation.multipliers import multipliers
from federation.round_layout import (
    CLIPPED_UPDATES,
    TRAINING_LOSS,
    UPDATE,
    UPDATE_NORM,
    WEIGHT,
    RoundKind,
    scoped,
)
from federation.run_folder import RunFolder
from federation.summary import Fairness, Headcount, Round, UtilityPoint
from federation.task import Floats, Task
from federation.tree_growth import grown
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from server import optimizer
from server.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from server.grouped_round import GroupedSum
from server.noised_update import put_back_in_place, without_surplus
from server.robust_update import robust_update
from server.run_record import RoundRecord, RunRecord, record_round
from server.secure_round import FailedRound, SecureSum
from server.secure_sums import Sums


@dataclass(frozen=True, slots=True)
class Progress:
    """What an onlooker is told after each round."""

    agreement: Agreement
    record: RoundRecord
    completed: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run does not go on.

    Attributes:
        by_budget: a site's ledger forbade it.
        by_refusal: a site would not, by its own rules; so its ledger is one of them.
    """

    reason: str
    by_budget: bool = False
    by_refusal: bool = False


MOST_NAMED_SITES = 500
"""In records and summaries; of more sites, only numbers are kept."""

Observer = Callable[[Progress], None]


@dataclass(frozen=True)
class Rounds:
    """The fixed parts of a run, and the rounds over them.

    Attributes:
        sums: where the sum of a round comes from.
        folder: of the run.
        config: as it ran.
        task: what is trained.
        agreement: that all sites signed.
        layouts: of the rounds' vectors.
    """

    sums: Sums
    folder: RunFolder
    config: FederationConfig
    task: Task
    agreement: Agreement
    layouts: RunLayouts

    @property
    def spec(self) -> TallySpec:
        """What is counted."""
        return self.layouts.spec

    def starting_point(self, past: RunRecord) -> Checkpoint:
        """The last checkpoint, or the model as initialised."""
        last = past.last_training
        if last is not None:
            return read_checkpoint(self.folder, last.round.round, last.checkpoint_sha256)
        model = initial_model(self.task, self.agreement.seed)
        parameters = flat_parameters(model).astype(np.float64)
        state = optimizer.init(self.agreement.server, len(parameters))
        shape = broadcast_shape(self.agreement, self.task, len(parameters), RoundKind.TRAIN)
        none = np.zeros(shape.multipliers)
        control, counted = np.zeros(shape.control), np.zeros(shape.counted)
        return Checkpoint(0, parameters, state, none, none, control, counted)

    def train(
        self, number: int, checkpoint: Checkpoint, begun: int, observe: Observer
    ) -> tuple[Checkpoint, Stop | None]:
        """One training round; returns the next checkpoint and why the run stops, if it does."""
        began = time.monotonic()
        outcome, attempts = self._attempt(number, RoundKind.TRAIN, checkpoint, begun)
        seconds = time.monotonic() - began
        try:
            if isinstance(outcome, FailedRound):
                raise outcome
            agreed, layout = self.agreement, self.layouts.of(RoundKind.TRAIN)
            sums = self._read(RoundKind.TRAIN, without_surplus(agreed, layout, outcome))
            noise = put_back_in_place(agreed, sums, outcome, number)
            counted = self.agreement.counts_in_training
            fairness = self._fairness(sums, outcome) if counted else ()
            following = self._step(number, checkpoint, sums, outcome)
            following = self._ascended(following, checkpoint, fairness)
            done = _completed(number, RoundKind.TRAIN, outcome, attempts, seconds)
            record = RoundRecord(
                round=done.model_copy(
                    update={
                        "update_norm": _mean(sums, UPDATE_NORM, outcome),
                        "clipped_updates": _total(sums, CLIPPED_UPDATES),
                        "noise": noise,
                    }
                ),
                utility=(self._utility(checkpoint.after_round, sums, outcome) if counted else None),
                training_loss=_mean(sums, TRAINING_LOSS, outcome),
                fairness=fairness,
                multipliers=self._named(checkpoint.multipliers),
            )
        except (FailedRound, DataError) as failure:
            record = _failed(number, RoundKind.TRAIN, failure, attempts, seconds)
            stop = _stop(f"round {number} failed: {failure}", failure)
            stops = stop.by_budget or self.config.run.on_failed_round == "stop"
            return self._recorded(record, checkpoint, observe), stop if stops else None
        digest = write_checkpoint(self.folder, following)
        record = record.model_copy(update={"checkpoint_sha256": digest})
        return self._recorded(record, following, observe), None

    def evaluation_round(self, checkpoint: Checkpoint) -> int:
        """Number of the round that judges a final model; the run's last model has rounds + 1.

        A run that stopped and goes on ends with another model, and no round is about two.
        """
        rounds = self.agreement.rounds
        return rounds + 1 + (rounds - checkpoint.after_round)

    def evaluate(self, checkpoint: Checkpoint, begun: int, observe: Observer) -> Stop | None:
        """The evaluation round of a final model; returns why it failed, if it did."""
        number, began = self.evaluation_round(checkpoint), time.monotonic()
        judged = checkpoint.to_be_judged(self.agreement.training)
        outcome, attempts = self._attempt(number, RoundKind.EVALUATE, judged, begun)
        seconds = time.monotonic() - began
        try:
            if isinstance(outcome, FailedRound):
                raise outcome
            sums = self._read(RoundKind.EVALUATE, outcome)
            done = _completed(number, RoundKind.EVALUATE, outcome, attempts, seconds)
            if not self.agreement.counts_exactly:
                self._recorded(RoundRecord(round=done), checkpoint, observe)
                return None
            record = RoundRecord(
                round=done,
                utility=self._utility(checkpoint.after_round, sums, outcome),
                fairness=self._fairness(sums, outcome),
                drift=tuple(
                    drift
                    for scope in self._readable_scopes(outcome)
                    for drift in findings.drift(
                        self.spec, _in_scope(sums, scope), _in_scope(sums, scope), scope
                    )
                ),
                majority=findings.majority_baseline(self.spec, _in_scope(sums, "overall")),
                multipliers=self._named(checkpoint.multipliers),
            )
        except (FailedRound, DataError) as failure:
            record = _failed(number, RoundKind.EVALUATE, failure, attempts, seconds)
            self._recorded(record, checkpoint, observe)
            return _stop(f"the evaluation round failed: {failure}", failure)
        self._recorded(record, checkpoint, observe)
        return None

    def named_model(self, checkpoint: Checkpoint) -> bytes:
        """The model as a safetensors file, every tensor under its own name."""
        model = initial_model(self.task, self.agreement.seed)
        load_flat_parameters(model, checkpoint.parameters)
        # An adversary has done its work: what is used is the task's own model, under its own names.
        named = predictor_of(model).state_dict()
        tensors = {name: tensor.contiguous() for name, tensor in named.items()}
        stay = local_names(model, self.agreement.training.local_layers)
        return save_model(tensors, {"as_initialised": ", ".join(stay)} if stay else None)

    def _attempt(
        self, number: int, kind: RoundKind, checkpoint: Checkpoint, begun: int
    ) -> tuple[SecureSum | FailedRound, int]:
        """Try the round until it succeeds, a site refuses for its budget, or tries run out."""
        outcome: SecureSum | FailedRound | None = None
        tried = 0
        while outcome is None or _worth_another(outcome, tried, self.config):
            tried += 1
            try:
                outcome = self.sums.attempt(number, kind, checkpoint.model_bytes())
            except FailedRound as failed:
                outcome = failed
        return outcome, begun + tried

    def _read(self, kind: RoundKind, outcome: SecureSum) -> dict[str, Floats]:
        """The sum by segment.

        Raises:
            DataError: its counts contradict each other.
        """
        sums = self.layouts.of(kind).decode(outcome.total)
        evaluating = kind is RoundKind.EVALUATE
        agreed = self.agreement
        if not (agreed.counts_exactly if evaluating else agreed.counts_in_training):
            return sums
        for scope in self.agreement.all_scopes:
            own = _in_scope(sums, scope)
            findings.require_consistent(self.spec, own, windows=evaluating)
            if evaluating:
                present = [s for s in outcome.survivors if scope in self.agreement.scopes(s)]
                findings.require_consistent_report(self.spec, own, len(present))
        return sums

    def _update(self, sums: Mapping[str, Floats], outcome: SecureSum) -> Floats:
        """What the round moves the model by: the mean update of all sites, or a robust one."""
        if isinstance(outcome, GroupedSum):
            return robust_update(self.agreement, self.layouts.of(RoundKind.TRAIN), outcome.groups)
        rows, sampling = self.agreement.public_rows.values(), self.agreement.sampling
        weight = sums[WEIGHT]
        if sampling.kind != "all" and self.agreement.site_level is not None:
            # What the sample weighs would tell who is in it; what it is expected to does not.
            weight = np.array([sum(rows) * sampling.expected(len(rows)) / len(rows)])
        return np.asarray(sums[UPDATE] * max(rows) / weight)

    def _step(
        self, number: int, checkpoint: Checkpoint, sums: Mapping[str, Floats], outcome: SecureSum
    ) -> Checkpoint:
        update = self._update(sums, outcome)
        state, parameters = self._moved(checkpoint, update, outcome)
        if not np.all(np.isfinite(parameters)):
            raise DataError(
                f"round {number}: the model is no longer finite; lower training.learning_rate or "
                "server.learning_rate"
            )
        return Checkpoint(
            number,
            parameters,
            state,
            control=self._control(checkpoint.control, sums, update),
            counted=self._counted(number, checkpoint.counted, outcome),
        )

    def _moved(
        self, checkpoint: Checkpoint, update: Floats, outcome: SecureSum
    ) -> tuple[Mapping[str, Floats], Floats]:
        """The optimizer's state and the parameters after a round's mean update."""
        agreed, before = self.agreement, checkpoint.parameters
        if self._trees is None:
            return optimizer.apply(agreed.server, checkpoint.optimizer, before, update)
        declared = sum(agreed.public_rows[site] for site in outcome.survivors)
        rows = agreed.training.sampling_rate * declared
        return {}, grown(self._trees, before, update, rows, agreed.training.learning_rate)

    @cached_property
    def _trees(self) -> TreeShape | None:
        """Of a model that is grown, not moved; None of any other."""
        trees = boosted_trees_of(initial_model(self.task, self.agreement.seed))
        return None if trees is None else trees.shape

    def _control(self, control: Floats, sums: Mapping[str, Floats], update: Floats) -> Floats:
        """SCAFFOLD's, after a round; as it was without SCAFFOLD."""
        training = self.agreement.training
        if not training.is_scaffold:
            return control
        share = float(sums[WEIGHT][0]) / sum(self.agreement.public_rows.values())
        return server_control(control, update, share, training.travelled)

    def _counted(self, number: int, counted: Floats, outcome: SecureSum) -> Floats:
        """Per site the round of its last update that is in the model; empty if nobody asks."""
        if not len(counted):
            return counted
        are_in = [site in outcome.survivors for site in self.agreement.sites]
        return np.where(are_in, float(number), counted)

    def _ascended(
        self, following: Checkpoint, checkpoint: Checkpoint, fairness: tuple[Fairness, ...]
    ) -> Checkpoint:
        """The next checkpoint with its multipliers, from what the findings of this round show."""
        mitigation = self.agreement.mitigation
        of = multipliers(mitigation, self.task.schema)
        if mitigation is None or not of:
            return following
        rates = shown_rates(fairness, str(mitigation.attribute), of)
        step, largest = mitigation.strength, mitigation.largest_multiplier
        integral, values = ascended(checkpoint.integral, rates, of, step, largest)
        return replace(following, multipliers=values, integral=integral)

    def _named(self, values: Floats) -> dict[str, float]:
        of = multipliers(self.agreement.mitigation, self.task.schema)
        return {one.label: value for one, value in zip(of, values.tolist(), strict=True)}

    def _utility(
        self, after_round: int, sums: Mapping[str, Floats], outcome: SecureSum
    ) -> UtilityPoint:
        return UtilityPoint(
            after_round=after_round,
            sites=len(outcome.survivors),
            overall=findings.utility(self.spec, _in_scope(sums, "overall")),
            cohorts={
                scope: findings.utility(self.spec, _in_scope(sums, scope))
                for scope in self._readable_scopes(outcome)
                if scope != "overall"
            },
        )

    def _fairness(self, sums: Mapping[str, Floats], outcome: SecureSum) -> tuple[Fairness, ...]:
        scopes = {scope: _in_scope(sums, scope) for scope in self._readable_scopes(outcome)}
        return findings.fairness_by_scope(self.spec, scopes, self.agreement.evaluation.minimum_cell)

    def _readable_scopes(self, outcome: SecureSum) -> tuple[str, ...]:
        """`overall` and the cohorts that have survivors; a cohort without any summed nothing."""
        alive = set(outcome.survivors)
        return (
            "overall",
            *(name for name, sites in sorted(self.agreement.cohorts.items()) if alive & set(sites)),
        )

    def _recorded(
        self, record: RoundRecord, checkpoint: Checkpoint, observe: Observer
    ) -> Checkpoint:
        record_round(self.folder, record)
        completed = checkpoint.after_round
        observe(Progress(self.agreement, record, completed))
        return checkpoint


def _stop(reason: str, failure: FailedRound | DataError) -> Stop:
    by_refusal = isinstance(failure, FailedRound) and failure.is_by_rules
    return Stop(reason, _is_spent(failure), by_refusal)


def _is_spent(failure: Exception) -> bool:
    """Whether a site refused because nothing is left to spend: no further attempt changes that."""
    return _is_refused(failure, {BUDGET_EXHAUSTED, RUN_OVERSPENT})


def _is_refused(failure: Exception, codes: set[str]) -> bool:
    return isinstance(failure, FailedRound) and not codes.isdisjoint(failure.refusals.values())


def _worth_another(outcome: SecureSum | FailedRound, tried: int, config: FederationConfig) -> bool:
    return (
        isinstance(outcome, FailedRound)
        and not _is_spent(outcome)
        and not _is_refused(outcome, {ATTEMPTS_EXHAUSTED})
        and tried < config.run.attempts_per_round
    )


def _completed(
    number: int,
    kind: RoundKind,
    outcome: SecureSum,
    attempts: int,
    seconds: float,
) -> Round:
    done = Round(
        round=number,
        kind=kind.value,
        status="completed",
        attempts=attempts,
        exchanges=outcome.exchanges,
        seconds=seconds,
    )
    survivors, dropped = outcome.survivors, dict(outcome.dropped)
    if len(survivors) + len(dropped) > MOST_NAMED_SITES:
        return done.model_copy(update={"headcount": _headcount(len(survivors), dropped)})
    groups = outcome.groups if isinstance(outcome, GroupedSum) else ()
    named = {"survivors": survivors, "dropped": dropped}
    return done.model_copy(update=named | {"groups": tuple(one.survivors for one in groups)})


def _headcount(survivors: int, dropped: Mapping[str, str]) -> Headcount:
    reasons = Counter(dropped.values())
    return Headcount(
        invited=survivors + len(dropped), survivors=survivors, dropped=dict(reasons.most_common())
    )


def _failed(
    number: int, kind: RoundKind, failure: FailedRound | DataError, attempts: int, seconds: float
) -> RoundRecord:
    dropped = failure.dropped if isinstance(failure, FailedRound) else {}
    many = len(dropped) > MOST_NAMED_SITES
    return RoundRecord(
        round=Round(
            round=number,
            kind=kind.value,
            status="failed",
            reason=str(failure),
            attempts=attempts,
            dropped={} if many else dropped,
            headcount=_headcount(0, dropped) if many else None,
            seconds=seconds,
        )
    )


def _mean(sums: Mapping[str, Floats], name: str, outcome: SecureSum) -> float | None:
    return float(sums[name][0]) / len(outcome.survivors) if name in sums else None


def _total(sums: Mapping[str, Floats], name: str) -> int | None:
    return round(float(sums[name][0])) if name in sums else None


def _in_scope(sums: Mapping[str, Floats], scope: str) -> dict[str, Floats]:
    prefix = scoped(scope, "")
    return {name.removeprefix(prefix): v for name, v in sums.items() if name.startswith(prefix)}
