"""The agent: the site's own process, which alone holds rows, keys, ledger, journal and policy.

Bytes in, bytes out: `answer` takes a request and returns a signed reply, whatever happens. The
reply carries a protocol message, a refusal by the site's own rules, or a failure; none of them
tells anything about rows. What a site says irrevocably is in the journal, and what it spends is in
the ledger, before the reply exists.
"""

import hashlib
import math
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.analytics import AnalyticsBench, check_analytics
from client.code_consent import CheckCode
from client.cohort_discovery import KeepCohort
from client.consent import Refusal, check_agreement, check_certificates, check_hours
from client.contribution import (
    Trainer,
    Workbench,
    require_same_spec,
    require_trainable,
)
from client.evaluation import EvaluationBench, check_evaluation, evaluated_rows
from client.journal import Journal
from client.kept_layers import KeepLayers, no_layers_kept
from client.ledger_witness import LedgerWitness
from client.limits import answer_limit
from client.round_vectors import Bench, GivenModel, RoundVectors, charge_plan
from client.spending import spending
from federation.agreement import Agreement, SiteLevelPrivacy
from federation.agreement_kinds import AnyAgreement, parse_agreement
from federation.analytics_agreement import AnalyticsAgreement
from federation.data_source import Source
from federation.drift_summary import WindowDrift
from federation.entropy import Entropy, SystemEntropy
from federation.envelope import (
    ATTEMPTS_EXHAUSTED,
    BUDGET_EXHAUSTED,
    Phase,
    Received,
    Reply,
    Request,
)
from federation.errors import (
    BudgetExhausted,
    ConfigError,
    HedgerowError,
    PrivacyRefusal,
    ProtocolViolation,
)
from federation.evaluation_agreement import EvaluationAgreement
from federation.local_layers import personalised
from federation.mitigated_task import mitigated
from federation.multipliers import are_within
from federation.roster import Roster
from federation.round_layout import RoundKind
from federation.round_messages import (
    COMPLETED,
    Disclosure,
    Enlistment,
    Heads,
    Invitation,
    Statement,
    Work,
)
from federation.run_rules import SignedRunRules
from federation.site_policy import SitePolicy
from federation.sum_groups import sum_group_of
from federation.summary import SEEDED, SYSTEM
from federation.task import Floats, SiteRequest, Task
from federation.timestamp import utc_text
from privacy.arithmetic import arithmetic_on
from privacy.ledger import Ledger
from privacy.message_sizes import LARGEST_QUESTION, largest_question, require_size
from privacy.secure_sum import site as secure_sum
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.vouchers import NOBODY, Acquaintances
from privacy.surplus_noise import revealed_seeds

Stage = secure_sum.Advertised | secure_sum.Shared | secure_sum.Masked | secure_sum.Signed
S = TypeVar("S", bound=Stage)
LONGEST_WAIT = 86_400.0
"""Seconds for which a request may be good."""
MOST_ATTEMPTS = 1000
"""Of a round; each leaves marks in the journal. A start of a run makes ten at most of one round."""

TaskLoader = Callable[[AnyAgreement], Task]
NoteRefusal = Callable[[str, str, str], None]
"""Takes run, phase and code."""


@dataclass(frozen=True)
class SiteAssets:
    """What the site installed for its agent.

    Attributes:
        policy: the site's own rules.
        identity: the key that speaks for the site.
        roster: the sites' public keys, certified by the consortium that is pinned here.
        rules: what that consortium demands of every run.
        ledger: the budget of the dataset.
        journal: what was irrevocably said.
        load_task: finds and constructs the task of an agreement.
        training_entropy: of batches and DP noise: `SystemEntropy` in a deployment.
        trainer: takes the place of the site's own training in a simulation of many sites.
        clock: seconds since the epoch.
        note_fault: keeps the details of a fault at the site, where its text may hold row values.
        keep_local: keeps the site's own report on a window of its rows.
        keep_cohort: keeps in which discovered cohort the site is.
        keep_layers: keeps a run's layers that stay at the site.
        check_code: raises Refusal unless the site approved a task's code.
        note_refusal: keeps that the site refused something, and by which code.
        open_source: the site's own rows, as its policy says; None where the task has a table.
    """

    policy: SitePolicy
    identity: Ed25519PrivateKey
    roster: Roster
    rules: SignedRunRules
    ledger: Ledger
    journal: Journal
    load_task: TaskLoader
    training_entropy: Entropy
    clock: Callable[[], float]
    note_fault: Callable[[str], None]
    keep_local: Callable[[WindowDrift], None] = lambda _: None
    keep_cohort: KeepCohort = lambda _: None
    keep_layers: KeepLayers = no_layers_kept
    check_code: CheckCode = lambda _: None
    note_refusal: NoteRefusal = lambda _run, _phase, _code: None
    open_source: Callable[[], Source | None] = lambda: None
    trainer: Trainer | None = None


Place = tuple[str, int, int]
"""Run, round and attempt."""


@dataclass(frozen=True, slots=True)
class _Session:
    """A secure-sum session that is open; a failed check drops it for good."""

    terms: SessionTerms
    kind: RoundKind
    state: Stage


class SiteAgent:
    """Answers a coordinator's requests for one site."""

    def __init__(self, assets: SiteAssets) -> None:
        self._assets = assets
        self._vectors = RoundVectors(
            assets.ledger,
            assets.journal,
            assets.policy.limits.seconds_per_answer,
            assets.keep_layers,
        )
        self._benches: dict[str, Bench] = {}
        # The round that is summed, and the one whose keys are exchanged meanwhile.
        self._sessions: dict[Place, _Session] = {}
        # Of the latest session of one run. In memory only: a restart falls back on signatures.
        self._acquaintances: dict[str, Acquaintances] = {}
        self._witness = LedgerWitness(
            federation=assets.roster.federation,
            site=assets.policy.site,
            identity=assets.identity,
            keys=assets.roster.public_keys(),
            ledger=assets.ledger,
            journal=assets.journal,
        )
        # Keys and self-masks come from the operating system even in a seeded simulation: they
        # cancel in the sum, so nothing is gained by repeating them.
        self._key_entropy = SystemEntropy()
        self._answers: dict[Phase, Callable[[Request], bytes]] = {
            Phase.ENLIST: self._enlist,
            Phase.AGREE: self._agree,
            Phase.WITNESS: self._witness_ledgers,
            Phase.ADVERTISE: self._advertise,
            Phase.SHARE: self._share,
            Phase.TRAIN: self._train,
            Phase.SIGN: self._sign,
            Phase.OPEN: self._open,
            Phase.CLOSE: self._close,
        }

    def answer(self, data: bytes) -> bytes:
        """The signed reply to a request, and to the rider on it.

        Raises:
            ProtocolViolation: `data` is no request at all, so there is nothing to sign for.
        """
        received = Received.from_bytes(data)
        reply, rider = self._reply(received), received.rider
        if rider is not None:
            reply = replace(reply, rider=self._signed(rider.head, self._reply(rider)))
        return self._signed(received.head, reply)

    def refuse(self, data: bytes, code: str, reason: str) -> bytes:
        """The signed refusal of a request, and of the rider on it, that is not looked into.

        Raises:
            ProtocolViolation: `data` is no request at all.
        """
        received = Received.from_bytes(data)
        reply, rider = Reply(self._site, "refused", code, reason), received.rider
        self._note_refusal(received.head, code)
        if rider is not None:
            reply = replace(reply, rider=self._signed(rider.head, reply))
        return self._signed(received.head, reply)

    def _signed(self, request: Request, reply: Reply) -> bytes:
        return reply.sign(self._assets.roster.federation, request, self._assets.identity)

    def _reply(self, received: Received) -> Reply:
        request = received.head
        try:
            now = self._assets.clock()
            _check_time(request, now)
            require_size(request.phase, len(received.body), self._largest_body(request))
            request = replace(request, body=bytes(received.body))
            return Reply(self._site, "ok", body=self._answers[request.phase](request))
        except PrivacyRefusal as error:
            code = _refusal_code(error)
            self._note_refusal(request, code)
            return Reply(self._site, "refused", code, str(error))
        except ProtocolViolation as error:
            self._sessions.pop(_place(request), None)
            return Reply(self._site, "refused", "protocol", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, only its type may leave
            self._sessions.pop(_place(request), None)
            self._note_fault()
            fault = f"the site failed with {type(error).__name__}; its faults.log has the details"
            return Reply(self._site, "failed", "internal", fault)

    def _note_refusal(self, request: Request, code: str) -> None:
        try:
            self._assets.note_refusal(request.run, request.phase, code)
        except HedgerowError:  # a refusal stays one where it cannot be written down
            self._note_fault()

    def _note_fault(self) -> None:
        # On a full disk this fails, too; the reply still says that something did.
        with suppress(OSError):
            self._assets.note_fault(traceback.format_exc())

    def _largest_body(self, request: Request) -> int:
        """Bytes of the largest body that the request can have at this point of its run."""
        if request.phase in LARGEST_QUESTION:
            return LARGEST_QUESTION[request.phase]
        session, trains = self._session(request), request.phase is Phase.TRAIN
        model_bytes = 4 * self._bench(request.run).broadcast(session.kind) if trains else 0
        return largest_question(request.phase, session.terms, model_bytes)

    @property
    def _site(self) -> str:
        return self._assets.policy.site

    # -- once per run ----------------------------------------------------------------------

    def _enlist(self, request: Request) -> bytes:
        if request.body.decode(errors="replace") != self._assets.roster.federation:
            raise Refusal("unknown_federation", "this site belongs to another federation")
        policy, ledger = self._assets.policy, self._assets.ledger
        budget = ledger.account().in_force().record
        return Enlistment(
            public_rows=policy.public_rows,
            roster_digest=self._assets.roster.digest(),
            rules_digest=self._assets.rules.digest(),
            delta=budget.delta,
            epsilon_budget=_finite(budget.epsilon),
            epsilon_spent=_finite(ledger.spent().epsilon),
            ledger=self._witness.own_head(request.run),
            remembered=self._witness.remembered(request.run),
            names_itself=policy.name_with_flags,
        ).to_bytes()

    def _agree(self, request: Request) -> bytes:
        agreement = parse_agreement(request.body)
        if agreement.run != request.run:
            raise ProtocolViolation("agreement: it is for another run")
        assets, roster_sites = self._assets, frozenset(self._assets.roster.keys)
        check_hours(assets.policy, assets.clock())
        check_certificates(assets.roster, assets.clock())
        if isinstance(agreement, AnalyticsAgreement):
            check_analytics(assets.policy, assets.rules, roster_sites, agreement)
        elif isinstance(agreement, EvaluationAgreement):
            check_evaluation(assets.policy, assets.rules, roster_sites, agreement, assets.journal)
        else:
            check_agreement(assets.policy, assets.rules, roster_sites, agreement)
        self._assets.journal.remember_agreement(request.run, request.body)
        bench = self._bench(request.run)
        if any(bench.is_charged(kind) for kind in bench.kinds):
            self._assets.ledger.require_allowed(charge_plan(bench))
        return agreement.digest()

    def _witness_ledgers(self, request: Request) -> bytes:
        return self._witness.answer(request.run, Heads.from_bytes(request.body)).to_bytes()

    def _close(self, request: Request) -> bytes:
        self._sessions.clear()
        self._acquaintances.clear()
        if request.body == COMPLETED:
            self._vectors.void_what_never_left(request.run)
            self._assets.journal.forget(request.run)
        ledger = self._assets.ledger
        head_seq, head_hash = ledger.head()
        seeded = not isinstance(self._assets.training_entropy, SystemEntropy)
        spent = spending(
            ledger.account(),
            f"{head_seq}:{head_hash}",
            SEEDED if seeded else SYSTEM,
            self._site_level_terms(request.run),
        )
        own = self._witness.own_head(request.run)
        return Statement(ledger=own, **spent.model_dump()).to_bytes()

    def _site_level_terms(self, run: str) -> SiteLevelPrivacy | None:
        body = self._assets.journal.agreement(run)
        agreement = parse_agreement(body) if body else None
        return agreement.site_level if isinstance(agreement, Agreement) else None

    def _bench(self, run: str) -> Bench:
        """The run's task and rows, loaded once; found again in the journal after a restart."""
        if run not in self._benches:
            body = self._assets.journal.agreement(run)
            if body is None:
                raise Refusal("not_agreed", "this site has not agreed to this run")
            bench = self._made_bench(parse_agreement(body))
            # One at a time, for each holds all rows: whoever agrees on many runs fills no memory.
            self._benches = {run: bench}
            self._acquaintances.clear()
        return self._benches[run]

    def _made_bench(self, agreement: AnyAgreement) -> Bench:
        assets, policy = self._assets, self._assets.policy
        assets.check_code(agreement.task.name)
        # The site's own seed: whoever could choose it could have any row counted, not trained.
        asked = SiteRequest(policy.site, policy.split_seed, assets.open_source())
        entropy = assets.training_entropy
        with answer_limit(policy.limits.seconds_per_answer):
            task = _task(assets.load_task(agreement), agreement)
            if isinstance(agreement, AnalyticsAgreement):
                data = task.load(asked)
                return AnalyticsBench(policy.site, agreement, task, data, entropy)
            if isinstance(agreement, EvaluationAgreement):
                rows, before = evaluated_rows(task, asked, agreement)
                return EvaluationBench(
                    policy.site, agreement, task, rows, entropy, before,
                    assets.keep_local, assets.journal.discoveries, assets.keep_cohort,
                )  # fmt: skip
            data = task.load(asked)
            bench = Workbench(
                policy.site, agreement, task, data, entropy, arithmetic_on(policy.device),
                policy.noise_factor, assets.trainer,
            )  # fmt: skip
            try:
                require_same_spec(bench)
            except ConfigError as error:
                raise Refusal("spec_differs", str(error)) from error
            require_trainable(bench)
        return bench

    # -- the five phases of a round --------------------------------------------------------

    def _advertise(self, request: Request) -> bytes:
        check_hours(self._assets.policy, self._assets.clock())
        self._witness.require_not_behind()
        bench, invitation = self._bench(request.run), Invitation.from_bytes(request.body)
        if invitation.agreement_digest != bench.agreement.digest().hex():
            raise ProtocolViolation("invitation: not under the agreement this site knows")
        if invitation.kind not in bench.kinds:
            raise ProtocolViolation(f"invitation: kind {invitation.kind} was not agreed")
        if invitation.layout_digest != bench.layout(invitation.kind).digest().hex():
            raise ProtocolViolation("invitation: the layout is not the agreement's")
        _check_round(request.round, invitation.kind, bench.agreement.rounds)
        _check_attempt(request.attempt)
        self._mark(request)
        if bench.is_charged(invitation.kind):
            layout_digest = bytes.fromhex(invitation.layout_digest)
            self._vectors.require_payable(bench, request.run, request.round, layout_digest)
        terms = self._terms(bench, request, invitation)
        floor = secure_sum.SitePolicyFloor(
            self._assets.policy.minimum_quorum, self._assets.policy.minimum_threshold
        )
        known = self._acquaintances.get(request.run, NOBODY)
        state, message = secure_sum.advertise(
            terms, bench.site, self._assets.identity, self._key_entropy, floor, known
        )
        self._keep_session(request, _Session(terms, invitation.kind, state))
        return message

    def _share(self, request: Request) -> bytes:
        session, state = self._open_session(request, secure_sum.Advertised)
        keys = self._assets.roster.public_keys()
        following, message = secure_sum.share(state, request.body, keys, self._key_entropy)
        self._acquaintances = {request.run: following.acquaintances}
        self._advance(request, session, following)
        return message

    def _train(self, request: Request) -> bytes:
        session, state = self._open_session(request, secure_sum.Shared)
        work, bench = Work.from_bytes(request.body), self._bench(request.run)
        # Before the round is bound to it: a round has one model, and one that cannot be trained
        # would cost its charge.
        numbers = _numbers(work.model, bench.broadcast(session.kind))
        _check_multipliers(bench, session.kind, numbers)
        model_digest = hashlib.sha256(work.model).digest()
        self._assets.journal.bind_model(request.run, request.round, model_digest)
        given = GivenModel(numbers, model_digest)
        entry, vector = self._vectors.contribute(bench, session.terms, session.kind, given)
        following, message = secure_sum.mask(state, work.envelopes, model_digest, vector)
        self._mark(request)
        if entry:
            self._vectors.commit(entry, vector)
        self._advance(request, session, following)
        return message

    def _sign(self, request: Request) -> bytes:
        session, state = self._open_session(request, secure_sum.Masked)
        following, message = secure_sum.sign(state, request.body)
        self._assets.journal.bind_survivors(request.run, request.round, following.survivors)
        self._mark(request)
        self._advance(request, session, following)
        return message

    def _open(self, request: Request) -> bytes:
        session, state = self._open_session(request, secure_sum.Signed)
        self._sessions.pop(_place(request))
        self._mark(request)
        shares = secure_sum.open_shares(state, request.body)[1]
        return Disclosure(shares, self._surplus_seeds(request, session, state)).to_bytes()

    def _surplus_seeds(
        self, request: Request, session: _Session, state: secure_sum.Signed
    ) -> tuple[bytes, ...]:
        """What removes the noise that proved surplus: for the survivors that this site agreed to.

        Raises:
            ProtocolViolation: the contribution that the noise is in is gone.
        """
        bench = self._bench(request.run)
        noise = bench.noise_in_the_sum() if isinstance(bench, Workbench) else None
        if session.kind is not RoundKind.TRAIN or noise is None or noise.surplus is None:
            return ()
        contribution = self._assets.journal.contribution(request.run, request.round)
        if contribution is None:
            raise ProtocolViolation("open: this site's contribution to the round is gone")
        return revealed_seeds(noise.surplus, contribution.noise_secret, len(state.survivors))

    def _mark(self, request: Request) -> None:
        """Make it durable that this answer is given, before it is."""
        self._assets.journal.mark(request.run, request.round, request.attempt, request.phase)

    # -- what the phases are made of -------------------------------------------------------

    def _keep_session(self, request: Request, session: _Session) -> None:
        """Keep the new session and that of the round before; no other is open any more."""
        before = (request.run, request.round - 1)
        self._sessions = {
            place: kept for place, kept in self._sessions.items() if place[:2] == before
        }
        self._sessions[_place(request)] = session

    def _advance(self, request: Request, session: _Session, state: Stage) -> None:
        self._sessions[_place(request)] = replace(session, state=state)

    def _terms(self, bench: Bench, request: Request, invitation: Invitation) -> SessionTerms:
        agreement = bench.agreement
        group = sum_group_of(agreement, request.round, bench.site)
        return SessionTerms(
            federation=self._assets.roster.federation,
            run=request.run,
            round=request.round,
            attempt=request.attempt,
            config_digest=agreement.digest(),
            layout_digest=bytes.fromhex(invitation.layout_digest),
            sites=group.sites,
            threshold=group.threshold,
            quorum=group.quorum,
            # Groups are small: they are complete graphs, as configuration and consent see to.
            degree=agreement.federation.degree_among(group.sites),
            stretches=bench.layout(invitation.kind).stretches,
            groups=agreement.groups,
            minimum_contributors=agreement.minimum_contributors,
        )

    def _session(self, request: Request) -> _Session:
        session = self._sessions.get(_place(request))
        if session is None:
            raise ProtocolViolation(
                f"{request.phase}: no session for this round and attempt is open at this site"
            )
        return session

    def _open_session(self, request: Request, stage: type[S]) -> tuple[_Session, S]:
        session = self._session(request)
        if not isinstance(session.state, stage):
            raise ProtocolViolation(
                f"{request.phase}: out of order, the session is {type(session.state).__name__}"
            )
        return session, session.state


def _check_time(request: Request, now: float) -> None:
    """Return if a request is good at this moment.

    Raises:
        ProtocolViolation: it has expired, or is good for longer than any is: either end's clock is
            wrong, or the site answered late.
    """
    if now > request.expires:
        raise ProtocolViolation(
            f"request: it has expired {now - request.expires:.0f} s ago by this site's clock "
            f"({utc_text(now)}); the site was busy for so long, or the clocks differ"
        )
    if request.expires > now + LONGEST_WAIT:
        raise ProtocolViolation(
            "request: it asks to be good for more than a day by this site's clock "
            f"({utc_text(now)}); the clocks differ"
        )


def _check_round(number: int, kind: RoundKind, rounds: int) -> None:
    """Return if a round of this number may be of this kind.

    Training rounds come first. Each model that a run may end with has an evaluation round of its
    own after them: the run's last model, or that of a run that stopped and later went on.
    """
    if not 1 <= number <= 2 * rounds + 1:
        raise ProtocolViolation("invitation: a round beyond the agreement")
    if (kind is RoundKind.EVALUATE) != (number > rounds):
        raise ProtocolViolation(f"invitation: round {number} is not for kind {kind}")


def _check_attempt(number: int) -> None:
    """Return if a round may have an attempt of this number.

    Raises:
        Refusal: not so many; a coordinator could fill the journal with them.
    """
    if number > MOST_ATTEMPTS:
        raise Refusal(
            ATTEMPTS_EXHAUSTED,
            f"this site takes part in {MOST_ATTEMPTS} attempts of a round at most, and this is "
            f"number {number}: begin a new run",
        )


def _numbers(model: bytes, count: int) -> Floats:
    """The global model and what goes with it, as they travelled, shape (count,).

    Raises:
        ProtocolViolation: another number of them, or one that is not finite.
    """
    if len(model) != 4 * count:
        raise ProtocolViolation(f"model: {len(model)} bytes, expected {4 * count}")
    numbers = np.frombuffer(model, "<f4")
    if not np.all(np.isfinite(numbers)):
        raise ProtocolViolation("model: a parameter is not finite")
    return numbers.astype(np.float64)


def _check_multipliers(bench: Bench, kind: RoundKind, numbers: Floats) -> None:
    """Return if the multipliers behind a model keep to the bound that was agreed.

    Raises:
        ProtocolViolation: one does not.
    """
    if not isinstance(bench, Workbench) or bench.agreement.mitigation is None:
        return
    mitigation, given = bench.agreement.mitigation, bench.shape(kind).split(numbers)
    if not are_within(given.multipliers, mitigation.largest_multiplier):
        raise ProtocolViolation(
            "model: a multiplier is beyond mitigation.largest_multiplier = "
            f"{mitigation.largest_multiplier:g}"
        )


def _task(task: Task, agreement: AnyAgreement) -> Task:
    """The task as the run trains it.

    Raises:
        Refusal: its model or rows cannot be trained as the agreement says.
    """
    if not isinstance(agreement, Agreement):
        return task
    try:
        task = personalised(task, agreement.training.local_layers)
    except ConfigError as error:
        raise Refusal("local_layers_impossible", str(error)) from error
    try:
        return mitigated(task, agreement.mitigation)
    except ConfigError as error:
        raise Refusal("mitigation_impossible", str(error)) from error


def _place(request: Request) -> Place:
    return request.run, request.round, request.attempt


def _refusal_code(error: PrivacyRefusal) -> str:
    if isinstance(error, Refusal):
        return error.code
    return BUDGET_EXHAUSTED if isinstance(error, BudgetExhausted) else "privacy"


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
