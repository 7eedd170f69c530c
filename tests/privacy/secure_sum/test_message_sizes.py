"""The largest bodies: the messages of played sessions reach them and never go beyond."""

import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsal import Rehearsal, Stage, make_terms, names, play, play_again

from federation.agreement import Agreement
from federation.config import (
    EvaluationRules,
    FederationRules,
    ServerOptimizer,
    TaskChoice,
    Training,
)
from federation.envelope import Phase
from federation.errors import ProtocolViolation, RoundFailed
from federation.ledger_head import HeadStatement, LedgerHead
from federation.ring_vector import Stretch
from federation.round_layout import RoundKind
from federation.round_messages import (
    COMPLETED,
    SEED_BYTES,
    Disclosure,
    Enlistment,
    Heads,
    Invitation,
    Statement,
    Witnessed,
    Work,
)
from privacy.message_sizes import (
    LARGEST_ANSWER,
    LARGEST_QUESTION,
    largest_answer,
    largest_question,
    require_size,
)

PHASES = dict(
    zip(Stage, (Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN, Phase.OPEN), strict=True)
)
MODEL = b"m" * 40


def asked(session: Rehearsal) -> list[tuple[Phase, int, int]]:
    """Phase, size and limit of every question of a session; an invitation has no session yet."""
    terms, questions = session.terms, []
    for stage, bodies in session.told.items():
        for body in bodies.values() if stage is not Stage.ADVERTISE else ():
            sent = Work(MODEL, body).to_bytes() if stage is Stage.MASK else body
            limit = largest_question(PHASES[stage], terms, len(MODEL))
            questions.append((PHASES[stage], len(sent), limit))
    return questions


def answered(session: Rehearsal) -> list[tuple[Phase, int, int]]:
    return [
        (PHASES[stage], len(body), largest_answer(PHASES[stage], session.terms))
        for stage, bodies in session.sent.items()
        for body in bodies.values()
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 3, "threshold": 2, "quorum": 3},
        {"n": 8, "threshold": 5, "quorum": 6},
        {"n": 9, "threshold": 5, "quorum": 6, "stretches": (Stretch(16, 3), Stretch(20, 7))},
        {"n": 11, "degree": 4, "threshold": 4, "quorum": 8},
    ],
)
def test_where_nobody_is_lost_every_message_is_as_large_as_it_can_be(changes: dict) -> None:
    session = play_again(play(make_terms(**changes)))
    sizes = asked(session) + answered(session)
    assert {phase for phase, _, _ in sizes} == set(PHASES.values())
    for phase, size, limit in sizes:
        assert size == limit, phase
        require_size(phase, size, limit)
        with pytest.raises(ProtocolViolation, match=f"{size + 1} bytes in phase {phase}.* {limit}"):
            require_size(phase, size + 1, limit)


def test_the_seeds_of_surplus_noise_have_room_when_shares_are_opened_and_only_then() -> None:
    session, seeds = play(make_terms()), (bytes(SEED_BYTES),) * 3
    for shares in session.sent[Stage.OPEN].values():
        body = Disclosure(shares, seeds).to_bytes()
        assert len(body) == largest_answer(Phase.OPEN, session.terms, len(seeds))
    for phase in (Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN):
        assert largest_answer(phase, session.terms, 3) == largest_answer(phase, session.terms)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 9), st.data())
def test_no_loss_makes_a_message_larger(n: int, data: st.DataObject) -> None:
    quorum = data.draw(st.integers(max(3, (n + 1) // 2 + 1), n))
    lost = data.draw(st.dictionaries(st.sampled_from(names(n)), st.sampled_from(Stage)))
    terms = make_terms(n, threshold=2, quorum=quorum)
    session = Rehearsal(terms, lost=lost, known=play(terms).acquaintances)
    with suppress(RoundFailed):  # what was said until then counts, too
        session.play()
    for phase, size, limit in asked(session) + answered(session):
        assert size <= limit, phase
    assert session.sent


def test_what_is_said_outside_sessions_has_room() -> None:
    digest = "0" * 64
    invitation = Invitation(kind=RoundKind.EVALUATE, agreement_digest=digest, layout_digest=digest)
    longest = -sys.float_info.min / 3
    name = "s" * 63
    head = LedgerHead(run="r" * 200, site=name, dataset=digest, seq=2**62, hash=digest)
    seen = HeadStatement(head=head, signer=name, signature=digest + digest)
    longest_of = {int: 2**62, str: digest + digest, HeadStatement: seen}
    statement = Statement(
        **{
            name: longest_of.get(field.annotation, longest)
            for name, field in Statement.model_fields.items()
        }
    )
    enlistment = Enlistment(
        public_rows=2**31 - 1,
        roster_digest=digest,
        rules_digest=digest,
        delta=longest,
        epsilon_budget=longest,
        epsilon_spent=longest,
        ledger=seen,
        remembered=(seen,) * 999,
    )
    heads = Heads(claims=(seen,) * 1000, about_you=(seen,) * 999)
    witnessed = Witnessed(statements=(seen,) * 999, setbacks=())
    assert len(enlistment.to_bytes()) <= LARGEST_ANSWER[Phase.ENLIST]
    assert len(heads.to_bytes()) <= LARGEST_QUESTION[Phase.WITNESS]
    assert len(witnessed.to_bytes()) <= LARGEST_ANSWER[Phase.WITNESS]
    assert 2 * len(invitation.to_bytes()) <= LARGEST_QUESTION[Phase.ADVERTISE]
    assert 2 * len(statement.to_bytes()) <= LARGEST_ANSWER[Phase.CLOSE]
    assert len(COMPLETED) == LARGEST_QUESTION[Phase.CLOSE]


def test_a_thousand_sites_of_the_longest_names_can_agree() -> None:
    sites = tuple(f"{number:063}" for number in range(1000))
    agreement = Agreement(
        run="r" * 200,
        rules_digest="ab" * 32,
        rounds=4,
        seed=1,
        task=TaskChoice(),
        federation=FederationRules(sites=sites),
        cohorts={sites[k]: sites[k : k + 10] for k in range(0, 1000, 10)},
        public_rows=dict.fromkeys(sites, 2**31 - 1),
        training=Training(),
        server=ServerOptimizer(),
        privacy=None,
        site_level=None,
        evaluation=EvaluationRules(),
    )
    assert 2 * len(agreement.to_bytes()) <= LARGEST_QUESTION[Phase.AGREE]
