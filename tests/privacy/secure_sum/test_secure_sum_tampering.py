"""Messages altered, replayed or lost at every position of a whole session, in both directions.

A site that refuses falls silent; the coordinator goes on with the others. Whatever happens, the end
is the exact sum of the survivors or `RoundFailed`, and nothing else is raised. The words of a
masked input are the one exception: whoever alters them adds to the sum, exactly as much. That is
for the signature on every reply to forbid (`federation.envelope`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from rehearsal import (
    MASKED_HEAD,
    MODEL,
    Rehearsal,
    Stage,
    collect,
    integer_sum,
    make_terms,
    play,
    play_again,
    random_vectors,
    values,
)

from federation.errors import ProtocolViolation, RoundFailed
from federation.ring_vector import Stretch
from privacy.secure_sum import coordinator, site
from privacy.secure_sum.messages import Envelopes
from privacy.secure_sum.terms import SessionTerms

STRETCHES = (Stretch(16, 3), Stretch(20, 3), Stretch(32, 2))
COMPLETE = make_terms(6, quorum=4, threshold=3, stretches=STRETCHES, round=2)
SPARSE = make_terms(9, quorum=6, threshold=3, degree=4, stretches=STRETCHES, round=2)
GRAPHS = {"complete": COMPLETE, "sparse": SPARSE}

TO, FROM = "to", "from"
Where = tuple[str, Stage, str]
"""Direction, stage and site."""
Change = Callable[[bytes], bytes | None]


@dataclass
class Tampered(Rehearsal):
    """A rehearsal with somebody on the line, and sites that fall silent once they refuse.

    Attributes:
        changes: what becomes of a message; None is a message that never arrives.
        refused: per site, why it refused.
    """

    changes: Mapping[Where, Change] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def _ask(self, stage: Stage, messages: Mapping[str, bytes]) -> dict[str, bytes]:
        self.told[stage] = dict(messages)
        self.states[stage], self.sent[stage] = {}, {}
        answers = {}
        for name, message in messages.items():
            if self.lost.get(name, stage + 1) <= stage or name in self.refused:
                continue
            shown = self._changed((TO, stage, name), message)
            if shown is None or not self._is_ready(stage, name):
                continue
            try:
                state, answer = self.step(stage, name, shown)
            except ProtocolViolation as refusal:
                self.refused[name] = str(refusal)
                continue
            self.states[stage][name], self.sent[stage][name] = state, answer
            arrived = self._changed((FROM, stage, name), answer)
            if arrived is not None:
                answers[name] = arrived
        return answers

    def _changed(self, where: Where, message: bytes) -> bytes | None:
        return self.changes.get(where, lambda data: data)(message)

    def _is_ready(self, stage: Stage, name: str) -> bool:
        return stage is Stage.ADVERTISE or name in self.states[Stage(stage - 1)]


KNOWN = {
    name: play(replace(terms, round=1), seed=2).acquaintances for name, terms in GRAPHS.items()
}
HONEST = {name: play(terms, known=KNOWN[name]) for name, terms in GRAPHS.items()}
EARLIER = {name: play(terms, seed=1, known=KNOWN[name]) for name, terms in GRAPHS.items()}
"""The same terms from other entropy: what is replayed."""


@st.composite
def changes(draw: st.DrawFn, kind: str) -> tuple[Where, Change]:
    """One change of one message; words of a masked input are left alone."""
    terms, honest, earlier = GRAPHS[kind], HONEST[kind], EARLIER[kind]
    stage, name = draw(st.sampled_from(Stage)), draw(st.sampled_from(terms.sites))
    # Nothing is told to a site before it advertises.
    direction = FROM if stage is Stage.ADVERTISE else draw(st.sampled_from([TO, FROM]))
    kept, before = (
        (each.told if direction == TO else each.sent)[stage] for each in (honest, earlier)
    )
    end = MASKED_HEAD if (direction, stage) == (FROM, Stage.MASK) else len(kept[name])
    at, to = draw(st.integers(0, end - 1)), draw(st.integers(1, 255))
    other = draw(st.sampled_from(terms.sites))
    elsewhere = draw(st.sampled_from([each for each in Stage if each != stage]))

    def altered(data: bytes) -> bytes:
        place = min(at, len(data) - 1)
        return data[:place] + bytes([data[place] ^ to]) + data[place + 1 :]

    swaps: dict[str, Change] = {
        "altered": altered,
        "cut": lambda data: data[: min(at, len(data) - 1)],
        "lengthened": lambda data: data + bytes([to]),
        "empty": lambda _: b"",
        "omitted": lambda _: None,
        "of an earlier session": lambda _: before[name],
        "of another stage": lambda _: honest.sent[elsewhere][name],
    }
    if (direction, stage) != (FROM, Stage.MASK):
        swaps["of another site"] = lambda _: kept[other]
    how = draw(st.sampled_from(sorted(swaps)))
    event(f"{direction} {stage.name} {how}")
    return (direction, stage, name), swaps[how]


def assert_exact_or_failed(played: Tampered) -> coordinator.Revealed | None:
    try:
        revealed = played.play()
    except ProtocolViolation as wrong:
        raise AssertionError("the coordinator ends a round by RoundFailed alone") from wrong
    except RoundFailed:
        return None
    assert len(revealed.survivors) >= played.terms.quorum
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)
    return revealed


@pytest.mark.parametrize("kind", GRAPHS)
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_becomes_of_messages_the_sum_is_exact_or_stays_closed(
    kind: str, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(changes(kind), min_size=1, max_size=3))
    played = Tampered(GRAPHS[kind], changes=dict(drawn), known=KNOWN[kind])
    assert_exact_or_failed(played)


@pytest.mark.parametrize("kind", GRAPHS)
@settings(max_examples=30)
@given(data=st.data())
def test_with_losses_too(kind: str, data: st.DataObject) -> None:
    terms = GRAPHS[kind]
    lost = data.draw(
        st.dictionaries(st.sampled_from(terms.sites), st.sampled_from(Stage), max_size=2)
    )
    drawn = data.draw(st.lists(changes(kind), min_size=1, max_size=2))
    played = Tampered(terms, changes=dict(drawn), lost=lost, known=KNOWN[kind])
    assert_exact_or_failed(played)


@pytest.mark.parametrize("direction", [TO, FROM])
@pytest.mark.parametrize("stage", Stage)
def test_bytes_all_along_one_sites_messages(stage: Stage, direction: str) -> None:
    """The head and every seventh byte, not sampled; masked words are another matter."""
    if (direction, stage) == (TO, Stage.ADVERTISE):
        return
    honest = play_again(play(make_terms(4, quorum=3, threshold=2, length=1)))
    terms, victim = honest.terms, honest.terms.sites[1]
    message = (honest.told if direction == TO else honest.sent)[stage][victim]
    end = MASKED_HEAD if (direction, stage) == (FROM, Stage.MASK) else len(message)
    for at in {*range(8), *range(8, end, 7), end - 1} & set(range(end)):
        flip = lambda data, at=at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]  # noqa: E731
        played = Tampered(terms, changes={(direction, stage, victim): flip}, known=honest.known)
        assert_exact_or_failed(played)


def test_altered_words_of_a_masked_input_add_to_the_sum_and_no_more() -> None:
    name = COMPLETE.sites[2]

    def word(data: bytes) -> bytes:
        at = MASKED_HEAD
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    played = Tampered(COMPLETE, changes={(FROM, Stage.MASK, name): word})
    revealed = played.play()
    sums, exact = values(revealed.total), integer_sum(played.vectors, COMPLETE.sites)
    assert (sums[0][0] - exact[0][0]) % 2**16 in {1, 2**16 - 1}
    assert (sums[0][1:], sums[1:]) == (exact[0][1:], exact[1:])


# -- what went in silence before a masked input named its masks ---------------------------


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_site_that_was_shown_fewer_envelopes_is_no_survivor(kind: str) -> None:
    """It cannot know; its input carries fewer masks than the others take off."""
    terms, honest = GRAPHS[kind], HONEST[kind]
    victim = terms.sites[2]
    envelopes = honest.told[Stage.MASK][victim]
    by_dealer = dict(Envelopes.from_bytes(envelopes, terms.sites).by_dealer)
    by_dealer.pop(next(iter(by_dealer)))
    fewer = Envelopes(by_dealer).to_bytes(terms.sites)
    played = Tampered(terms, changes={(TO, Stage.MASK, victim): lambda _: fewer})
    revealed = assert_exact_or_failed(played)
    assert revealed is not None
    assert victim not in revealed.survivors
    assert "under other masks" in revealed.excluded[victim]


def test_a_site_that_was_shown_another_model_is_no_survivor() -> None:
    played = Tampered(COMPLETE)
    honest_step, victim = played.step, COMPLETE.sites[2]

    def misled(stage: Stage, name: str, message: bytes) -> tuple[object, bytes]:
        if (stage, name) != (Stage.MASK, victim):
            return honest_step(stage, name, message)
        state = played.states[Stage.SHARE][name]
        return site.mask(state, message, bytes(32), played.vectors[name])

    played.step = misled
    revealed = assert_exact_or_failed(played)
    assert revealed is not None
    assert victim not in revealed.survivors


# -- losses on sparse graphs ---------------------------------------------------------------


@st.composite
def sparse_sessions(draw: st.DrawFn) -> tuple[SessionTerms, dict[str, Stage], int]:
    n, degree = draw(st.integers(6, 16)), draw(st.sampled_from([2, 4, 6, 8]))
    if degree >= n - 1:
        degree = 2
    quorum = draw(st.integers((n + 1) // 2 + 1, n))
    threshold = draw(st.integers(degree // 2 + 1, min(degree, quorum)))
    terms = make_terms(n, quorum=quorum, threshold=threshold, degree=degree, stretches=STRETCHES)
    lost = draw(st.dictionaries(st.sampled_from(terms.sites), st.sampled_from(Stage), max_size=n))
    return terms, lost, draw(st.integers(0, 2**16))


@settings(max_examples=60)
@given(sparse_sessions())
def test_any_losses_at_any_stages_of_any_sparse_graph(
    session: tuple[SessionTerms, dict[str, Stage], int],
) -> None:
    terms, lost, seed = session
    played = Tampered(terms, random_vectors(terms, seed), lost=lost, seed=seed)
    revealed = assert_exact_or_failed(played)
    event("opened" if revealed else "failed")
    if revealed is not None:
        gone = {name for name, stage in lost.items() if stage <= Stage.MASK}
        assert not gone & set(revealed.survivors)
        assert revealed.blamed == ()


def test_messages_that_arrive_twice_or_in_any_order_change_nothing() -> None:
    played = HONEST["complete"]
    inputs = played.sent[Stage.MASK]
    accumulation = coordinator.Accumulation(played.masking, MODEL)
    for name in [*reversed(inputs), *inputs]:
        accumulation.add(name, inputs[name])
    signing, _ = accumulation.close()
    assert values(signing.total) == values(collect(played.masking, inputs)[0].total)
    assert signing.survivors == COMPLETE.sites
    opening = replace(played.opening, signing=signing)
    backwards = dict(reversed(played.sent[Stage.OPEN].items()))
    revealed = coordinator.reveal(opening, backwards)
    assert values(revealed.total) == integer_sum(played.vectors, COMPLETE.sites)
