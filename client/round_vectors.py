"""What a site gives to a round: one vector, made once and paid for once.

Whatever is tried again resends what was made first. A training vector is reserved in the ledger
before the work starts, is in the journal before it is masked, and is committed before it leaves; so
after any crash the round goes on under the charge that stands open, and nothing is charged twice.
"""

import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version

from client.analytics import AnalyticsBench, analytics_contribution
from client.consent import Refusal
from client.contribution import (
    Workbench,
    evaluation_contribution,
    own_layers,
    training_contribution,
)
from client.evaluation import EvaluationBench, evaluation_vector
from client.journal import Contribution, Journal, StateAfter
from client.kept_layers import KeepLayers, layers_file, no_layers_kept
from client.limits import answer_limit
from federation.entropy import SystemEntropy
from federation.envelope import RUN_OVERSPENT, Phase
from federation.errors import PrivacyRefusal, ProtocolViolation
from federation.ring_vector import Bytes, RingVector
from federation.round_layout import RoundKind
from federation.site_state import SiteState
from federation.sum_groups import smallest_sum_group
from federation.summary import SEEDED, SYSTEM
from federation.task import Floats
from privacy.account import ChargePlan, PlanTerms, Standing
from privacy.ledger import Ledger
from privacy.run_plan import shared_record_noise
from privacy.secure_sum.terms import SessionTerms

STATE_LOST = "state_lost"
"""Refusal code: what a site kept of its training is gone."""

Bench = Workbench | AnalyticsBench | EvaluationBench


@dataclass(frozen=True, slots=True)
class GivenModel:
    """The global model of a round.

    Attributes:
        numbers: its parameters and what goes with them, shape (broadcast,), float64.
        digest: SHA-256 of it as it travelled, 32 bytes.
    """

    numbers: Floats
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Before:
    """What a round's training goes on from.

    Attributes:
        since: the round that it was kept of; 0: none.
        state: None where the run keeps none.
    """

    since: int
    state: SiteState | None

    def followed_by(self, state: SiteState) -> StateAfter | None:
        """What is kept of the round, if anything is."""
        return None if self.state is None else StateAfter(self.since, state.to_bytes())


@dataclass(frozen=True, slots=True)
class RoundVectors:
    """The vectors of one site.

    Attributes:
        ledger: of the dataset.
        journal: which keeps them.
        seconds: most that one may take to be made; None sets no limit.
        keep_layers: keeps a run's layers that stay at the site, as they were judged.
    """

    ledger: Ledger
    journal: Journal
    seconds: float | None = None
    keep_layers: KeepLayers = no_layers_kept

    def contribute(
        self, bench: Bench, terms: SessionTerms, kind: RoundKind, model: GivenModel
    ) -> tuple[int, RingVector]:
        """The round's vector, and the ledger entry still to be committed (0: none).

        Raises:
            BudgetExhausted: the budget does not cover it.
            Refusal: the run has charged for all the rounds that were agreed.
            ProtocolViolation: the round had a vector already, which is not kept any more.
            Refusal: what the site kept of the round to go on from is gone; nothing is charged.
            Refusal: it takes too long; what was reserved for it stays so.
        """
        if not isinstance(bench, AnalyticsBench) and not bench.is_charged(kind):
            return 0, self._uncharged(bench, terms, model)
        again = self._paid(terms.run, terms.round, terms.layout_digest)
        if again is not None:
            # The same noised vector again: nothing new is released, so nothing is charged.
            stored, paid = again
            vector = RingVector(terms.stretches, stored.vector)
            return 0 if paid.committed else paid.seq, vector
        before = self._state_before(bench, terms, kind, model.numbers)
        charge, entry = self._reserve(bench, terms.run, terms.round)
        secret, after = b"", None
        with answer_limit(self.seconds):
            if isinstance(bench, AnalyticsBench):
                vector = analytics_contribution(bench, terms.round, charge)
            elif isinstance(bench, EvaluationBench):
                vector = evaluation_vector(bench, model.numbers, model.digest, charge)
            else:
                made = training_contribution(
                    bench, model.numbers, terms.round, charge, before.state
                )
                vector, secret = made.vector, made.noise_secret
                after = before.followed_by(made.state)
        kept = Contribution(charge, model.digest, terms.layout_digest, vector.buffer, secret)
        self.journal.keep_contribution(terms.run, terms.round, kept, after)
        return entry, vector

    def commit(self, entry: int, vector: RingVector) -> None:
        """Note in the ledger that the vector of a reservation leaves now."""
        self.ledger.commit(entry, _sha256(vector.buffer))
        self.journal.remember_ledger(*self.ledger.head())

    def require_payable(self, bench: Bench, run: str, round_: int, layout_digest: bytes) -> None:
        """Refuse before anything is advertised what the ledger would refuse before training.

        Raises:
            BudgetExhausted: the round is not paid for yet, and the budget does not cover it.
            Refusal, ProtocolViolation: as `contribute`.
        """
        charge, standing = self._unpaid_charge(run, round_)
        if standing is not None or self._paid(run, round_, layout_digest):
            return
        self._require_within_agreement(bench, run)
        self.ledger.register(charge_plan(bench))
        try:
            self.ledger.require_admitted(run)
        except PrivacyRefusal:
            # The same question again, for the record: a refusal is an entry of the ledger.
            self.ledger.reserve(run, round_, charge)
            raise

    def void_what_never_left(self, run: str) -> None:
        """Give back what a run that is over reserved for vectors that it never sent.

        A vector leaves with an answer to `train`, and each of these is marked in the journal before
        it is given; so a reservation that stands open in a round without a mark released nothing.
        """
        for standing in self.ledger.account().open_of(run):
            if not self.journal.is_marked(run, standing.round, Phase.TRAIN):
                self.ledger.void(
                    standing.seq,
                    "the run is over, and the journal, which notes every answer before it is "
                    f"given, holds none with a vector of round {standing.round}",
                )
                self.journal.remember_ledger(*self.ledger.head())

    def _uncharged(
        self, bench: Workbench | EvaluationBench, terms: SessionTerms, model: GivenModel
    ) -> RingVector:
        """Counts of held-out rows: counted once, whatever becomes of the rows on the disk."""
        stored = self.journal.contribution(terms.run, terms.round)
        if stored is not None and stored.layout_digest == terms.layout_digest:
            return RingVector(terms.stretches, stored.vector)
        self._require_first_vector(terms.run, terms.round)
        with answer_limit(self.seconds):
            if isinstance(bench, EvaluationBench):
                vector = evaluation_vector(bench, model.numbers, model.digest, 0)
            else:
                before = self._state_before(bench, terms, RoundKind.EVALUATE, model.numbers)
                vector = evaluation_contribution(bench, model.numbers, before.state)
                if bench.agreement.training.local_layers and before.state is not None:
                    self.keep_layers(terms.run, layers_file(own_layers(bench, before.state)))
        kept = Contribution(0, model.digest, terms.layout_digest, vector.buffer)
        self.journal.keep_contribution(terms.run, terms.round, kept)
        return vector

    def _state_before(
        self, bench: Bench, terms: SessionTerms, kind: RoundKind, numbers: Floats
    ) -> "_Before":
        """What the site goes on from: what it kept of its last round that counted.

        A vector leaves with an answer that is marked: what was trained in a round without a mark
        was given to nobody, and may yet be had back from the ledger; so nothing goes on from it.

        Raises:
            Refusal: it is gone, and another would not go with the model that travelled.
        """
        if not isinstance(bench, Workbench) or not bench.agreement.training.keeps_state:
            return _Before(0, None)
        since = bench.counted(numbers, kind)
        if since == 0:
            return _Before(0, bench.first_state)
        kept = self.journal.state_after(terms.run, since)
        if kept is None or not self.journal.is_marked(terms.run, since, Phase.TRAIN):
            raise Refusal(
                STATE_LOST,
                f"what this site kept of round {since} of the run is not there any more, and the "
                "model goes on from it: begin a new run",
            )
        first = bench.first_state
        return _Before(since, SiteState.from_bytes(kept, len(first.control), len(first.local)))

    def _require_first_vector(self, run: str, round_: int) -> None:
        """Return if this site has given no vector in any attempt of the round.

        Raises:
            ProtocolViolation: it has; two sums over the same survivors could differ by it.
        """
        if self.journal.is_marked(run, round_, Phase.TRAIN):
            raise ProtocolViolation("train: this round had another vector of this site before")

    def _paid(
        self, run: str, round_: int, layout_digest: bytes
    ) -> tuple[Contribution, Standing] | None:
        """What this site has for the round already, and the reservation that it is paid with.

        Paid for, and by a release of exactly this vector: else it is a release of its own. It was
        made on the one model that the round is bound to.

        Raises:
            ProtocolViolation: the round had a vector already, which is not kept any more: the run
                is completed, or a later round was trained.
        """
        stored = self.journal.contribution(run, round_)
        if stored is not None and stored.layout_digest == layout_digest:
            paid = self.ledger.reservation(run, round_, stored.charge)
            if paid is not None and paid.released_sha256 in {None, _sha256(stored.vector)}:
                return stored, paid
        self._require_first_vector(run, round_)
        return None

    def _unpaid_charge(self, run: str, round_: int) -> tuple[int, Standing | None]:
        """The number of the round's next release, and the reservation that stands open for it.

        An open reservation released nothing: it is committed before the reply that would carry the
        release exists. So a round that a crash cut short goes on under it.
        """
        charge = 1
        while reservation := self.ledger.reservation(run, round_, charge):
            if not reservation.committed:
                return charge, reservation
            charge += 1
        return charge, None

    def _reserve(self, bench: Bench, run: str, round_: int) -> tuple[int, int]:
        """Which release of the round is paid for, and by which entry; durable before training."""
        charge, standing = self._unpaid_charge(run, round_)
        if standing is not None:
            return charge, standing.seq
        self._require_within_agreement(bench, run)
        # Its plan is in the ledger since the site advertised: `require_payable`.
        entry = self.ledger.reserve(run, round_, charge)
        self.journal.remember_ledger(*self.ledger.head())
        return charge, entry

    def _require_within_agreement(self, bench: Bench, run: str) -> None:
        """A run may charge for as many rounds as were agreed, whatever the budget would bear."""
        if self.ledger.account().charged(run) >= bench.agreement.rounds:
            raise Refusal(
                RUN_OVERSPENT, "this run has charged this site for all the rounds it agreed to"
            )


def charge_plan(bench: Bench) -> ChargePlan:
    """What the run will be charged, from the agreement alone."""
    agreement = bench.agreement
    cohort = smallest_sum_group(agreement).quorum
    return ChargePlan(agreement.run, bench.charge(), agreement.rounds, cohort, _terms(bench))


def _terms(bench: Bench) -> PlanTerms:
    agreement, group = bench.agreement, smallest_sum_group(bench.agreement)
    common = PlanTerms(
        agreement_sha256=agreement.digest().hex(),
        task=agreement.task.name,
        sites=len(group.sites),
        threshold=group.threshold,
        noise_source=SYSTEM if isinstance(bench.entropy, SystemEntropy) else SEEDED,
        software=f"hedgerow {version('hedgerow')}",
    )
    if not isinstance(bench, Workbench):
        return common
    noise = bench.agreement.noise_in_the_sum
    privacy, shared = bench.agreement.privacy, shared_record_noise(bench.agreement)
    return replace(
        common,
        colluders=noise.colluders if noise else None,
        max_grad_norm=privacy.max_grad_norm if privacy else None,
        expected_batch_size=(shared.step if shared else bench.plan()).expected_batch_size,
        local_steps=bench.agreement.training.local_steps,
    )


def _sha256(vector: Bytes) -> str:
    return hashlib.sha256(vector.data).hexdigest()
