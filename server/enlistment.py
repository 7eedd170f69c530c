"""Before anything is computed: who is there, under which rules, and that all sign one agreement."""

import time
from collections.abc import Mapping
from dataclasses import replace

from federation.agreement_kinds import AnyAgreement
from federation.config import FederationRules
from federation.envelope import Phase
from federation.errors import PrivacyRefusal, ProtocolViolation, RoundFailed
from federation.roster import Roster
from federation.round_messages import Enlistment
from federation.run_folder import RunFolder
from privacy.message_sizes import LARGEST_ANSWER
from server.conversation import Answers, Conversation, Place, Question
from server.ledger_witness import Shown, keep
from server.transport import Transport

AGREE_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each further try; an agent that was killed is back within ten."""
ENLIST_SECONDS = 60.0
"""How long to wait for all sites to be online."""


def enlist(
    transport: Transport, roster: Roster, rules: FederationRules, place: Place
) -> tuple[Conversation, dict[str, Enlistment]]:
    """The line to all invited sites, and what each says of itself.

    Raises:
        RoundFailed: not all of them are online.
        PrivacyRefusal: a site pins another roster.
    """
    conversation = Conversation(roster, transport)
    timeout = max(ENLIST_SECONDS, rules.round_timeout_seconds)
    addresses, bodies = conversation.find_sites(rules.sites, place, timeout)
    enlisted = {}
    for site, body in bodies.items():
        try:
            enlistment = enlisted[site] = Enlistment.from_bytes(body)
        except ProtocolViolation as error:
            raise RoundFailed(f"{site} does not say who it is: {error}") from error
        if enlistment.roster_digest != roster.digest():
            raise PrivacyRefusal(
                f"{site} pins another roster ({enlistment.roster_digest[:16]}...) than the "
                f"coordinator's ({roster.digest()[:16]}...); compare them by phone"
            )
    return replace(conversation, addresses=addresses), enlisted


def common_rules(enlisted: Mapping[str, Enlistment]) -> str:
    """The digest of the run rules that all sites hold.

    Raises:
        PrivacyRefusal: they do not hold the same.
    """
    holders: dict[str, list[str]] = {}
    for site, enlistment in sorted(enlisted.items()):
        holders.setdefault(enlistment.rules_digest, []).append(site)
    if len(holders) > 1:
        told = "; ".join(f"{', '.join(sites)}: {one[:16]}..." for one, sites in holders.items())
        raise PrivacyRefusal(
            f"the sites hold different run rules ({told}); the consortium signs one set for all "
            "of them: install it everywhere"
        )
    return next(iter(holders))


def agree(
    conversation: Conversation, agreement: AnyAgreement, folder: RunFolder, shown: Shown
) -> None:
    """Have every site sign, and look at what the others' ledgers have come to.

    Raises:
        PrivacyRefusal: a site will not.
        IntegrityError: a site's ledger holds less than another site saw, or something else.
        RoundFailed: a site did not answer.
    """
    place = Place(folder.id)
    bodies = dict.fromkeys(agreement.sites, agreement.to_bytes())
    question = Question(Phase.AGREE, place, bodies, LARGEST_ANSWER[Phase.AGREE])
    timeout = agreement.federation.round_timeout_seconds
    witness = shown.question(place, agreement.sites)
    answers, witnessed = _asked_until_heard(conversation, question, witness, timeout)
    _require_all(answers)
    if any(body != agreement.digest() for body in answers.bodies.values()):
        raise RoundFailed("a site signed another agreement than the one proposed")
    _require_all(witnessed)
    keep(folder, shown, witnessed)


def _asked_until_heard(
    conversation: Conversation, question: Question, rider: Question, timeout: float
) -> tuple[Answers, Answers]:
    """The answers to both questions; a silent site is asked again while it comes back.

    Who agreed twice agreed once: a site keeps an agreement that it knows already.
    """
    first, second = conversation.ask_with_rider(question, rider, timeout)
    for pause in AGREE_PAUSES:
        silent = first.silent | second.silent
        if not silent or first.refusals or second.refusals:
            break
        time.sleep(pause)
        late, ridden = conversation.ask_with_rider(
            question.for_only(silent), rider.for_only(silent), timeout
        )
        first, second = first.completed_by(late), second.completed_by(ridden)
    return first, second


def _require_all(answers: Answers) -> None:
    if not answers.lost:
        return
    told = "; ".join(f"{site}: {reason}" for site, reason in sorted(answers.lost.items()))
    # A site that refuses a message, for its age for instance, says nothing about privacy.
    unwilling = set(answers.refusals.values()) - {"protocol"}
    kind = PrivacyRefusal if unwilling else RoundFailed
    raise kind(f"not every site agreed: {told}")
