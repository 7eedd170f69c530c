"""The opened sum equals the integer sum of exactly the survivors' vectors, or nothing is opened."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsal import (
    MASKED_HEAD,
    Rehearsal,
    Stage,
    constant,
    integer_sum,
    make_terms,
    names,
    play,
    random_vectors,
    values,
)

from federation.errors import ProtocolViolation, RoundFailed
from federation.ring_vector import RING_BITS, Stretch
from privacy.secure_sum.mask_stream import CHUNK_BYTES
from privacy.secure_sum.messages import Dealt, Envelopes, OpenedShares
from privacy.secure_sum.terms import SessionTerms


@st.composite
def admissible_terms(draw: st.DrawFn) -> SessionTerms:
    n = draw(st.integers(3, 8))
    quorum = draw(st.integers(max(3, (n + 1) // 2 + 1), n))
    threshold = draw(st.integers(2, quorum))
    rings = draw(st.lists(st.sampled_from(RING_BITS), min_size=1, unique=True))
    stretches = tuple(Stretch(bits, draw(st.integers(1, 20))) for bits in sorted(rings))
    return make_terms(n, quorum=quorum, threshold=threshold, stretches=stretches)


@st.composite
def losses(draw: st.DrawFn, terms: SessionTerms) -> dict[str, Stage]:
    lost = draw(st.lists(st.sampled_from(terms.sites), unique=True, max_size=4))
    return {name: draw(st.sampled_from(Stage)) for name in lost}


def answering(terms: SessionTerms, lost: dict[str, Stage], stage: Stage) -> tuple[str, ...]:
    return tuple(name for name in terms.sites if lost.get(name, 99) > stage)


@settings(max_examples=60)
@given(st.data())
def test_any_losses_end_in_the_exact_sum_or_in_a_failed_round(data: st.DataObject) -> None:
    terms = data.draw(admissible_terms())
    lost = data.draw(losses(terms))
    rehearsal = Rehearsal(terms, lost=lost)
    enough = all(
        len(answering(terms, lost, stage)) >= terms.quorum for stage in Stage if stage != Stage.OPEN
    ) and (len(answering(terms, lost, Stage.OPEN)) >= terms.threshold)
    if not enough:
        with pytest.raises(RoundFailed):
            rehearsal.play()
        return
    revealed = rehearsal.play()
    assert revealed.survivors == answering(terms, lost, Stage.MASK)
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)
    assert (revealed.blamed, dict(revealed.excluded)) == ((), {})


@pytest.mark.parametrize(
    ("n", "threshold", "quorum"), [(3, 2, 3), (3, 3, 3), (4, 3, 3), (12, 7, 9)]
)
def test_small_and_larger_federations(n: int, threshold: int, quorum: int) -> None:
    terms = make_terms(n, threshold=threshold, quorum=quorum)
    rehearsal = Rehearsal(terms)
    revealed = rehearsal.play()
    assert revealed.survivors == terms.sites
    assert values(revealed.total) == integer_sum(rehearsal.vectors, terms.sites)


CHUNK_WORDS = CHUNK_BYTES // 4
OTHERS = {16: (Stretch(20, 3), Stretch(32, 5)), 32: ()}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("length", [1, 3, CHUNK_WORDS - 1, CHUNK_WORDS, 2 * CHUNK_WORDS + 1])
@pytest.mark.parametrize("bits", [16, 32])
def test_any_length_and_number_of_threads(length: int, bits: int, threads: int) -> None:
    terms = make_terms(stretches=(Stretch(bits, length), *OTHERS[bits]))
    rehearsal = Rehearsal(terms, lost={terms.sites[2]: Stage.MASK}, threads=threads)
    revealed = rehearsal.play()
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)


def test_extreme_words_wrap_and_inputs_are_left_alone() -> None:
    terms = make_terms()
    vectors = constant(terms, 2**32 - 1)
    rehearsal = Rehearsal(terms, vectors)
    assert set(values(rehearsal.play().total)[0]) == {2**32 - len(terms.sites)}
    assert all(np.all(vector.buffer[: 4 * 9] == 255) for vector in vectors.values())


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("position", [0, 2, 4])
def test_one_site_lost_at_each_stage(stage: Stage, position: int) -> None:
    terms = make_terms()
    lost = terms.sites[position]
    rehearsal = Rehearsal(terms, lost={lost: stage})
    revealed = rehearsal.play()
    assert (lost in revealed.survivors) == (stage > Stage.MASK)
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)


def test_losses_at_every_stage_of_one_session_down_to_the_quorum() -> None:
    terms = make_terms(11, threshold=3, quorum=7)
    lost = dict(zip(terms.sites, Stage, strict=False)) | {terms.sites[9]: Stage.OPEN}
    rehearsal = Rehearsal(terms, lost=lost)
    revealed = rehearsal.play()
    assert len(rehearsal.sent[Stage.SIGN]) == terms.quorum
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)


@pytest.mark.parametrize(
    ("stage", "phase"),
    [
        (Stage.ADVERTISE, "advertise"),
        (Stage.SHARE, "share"),
        (Stage.MASK, "mask"),
        (Stage.SIGN, "sign"),
    ],
)
def test_the_quorum_is_enough_and_one_fewer_fails_naming_the_phase(
    stage: Stage, phase: str
) -> None:
    terms = make_terms(6, quorum=4)
    play(terms, lost=dict.fromkeys(terms.sites[:2], stage))
    with pytest.raises(
        RoundFailed, match=f"^{phase}: 3 of 6 sites gave a valid answer and the quorum is 4"
    ):
        play(terms, lost=dict.fromkeys(terms.sites[:3], stage))


def test_the_threshold_opens_the_sum_and_one_fewer_does_not() -> None:
    terms = make_terms(6, quorum=5, threshold=3)
    rehearsal = Rehearsal(terms, lost=dict.fromkeys(terms.sites[:3], Stage.OPEN))
    assert rehearsal.play().survivors == terms.sites
    with pytest.raises(
        RoundFailed,
        match=r"^open: 2 sites gave valid shares of site-00's secret and the threshold is 3",
    ):
        play(terms, lost=dict.fromkeys(terms.sites[:4], Stage.OPEN))


@st.composite
def sparse_terms(draw: st.DrawFn) -> SessionTerms:
    n, degree = draw(st.integers(8, 14)), draw(st.sampled_from([2, 4, 6]))
    quorum = draw(st.integers((n + 1) // 2 + 1, n))
    threshold = draw(st.integers(degree // 2 + 1, min(degree, quorum)))
    return make_terms(n, quorum=quorum, threshold=threshold, degree=degree, length=3)


@settings(max_examples=80)
@given(st.data())
def test_on_a_sparse_graph_too_any_losses_end_in_the_exact_sum_or_in_a_failed_round(
    data: st.DataObject,
) -> None:
    terms = data.draw(sparse_terms())
    rehearsal = Rehearsal(terms, lost=data.draw(losses(terms)))
    try:
        revealed = rehearsal.play()
    except RoundFailed:
        return
    except ProtocolViolation as refusal:
        assert "neighbours dealt shares" in str(refusal)  # noqa: PT017 - any other would be a fault
        return
    assert revealed.survivors == answering(terms, rehearsal.lost, Stage.MASK)
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_sparse_graph_survives_a_loss_at_each_stage(stage: Stage) -> None:
    terms = make_terms(14, quorum=10, threshold=5, degree=8)
    lost = {terms.sites[3]: stage, terms.sites[8]: stage}
    rehearsal = Rehearsal(terms, lost=lost)
    revealed = rehearsal.play()
    assert values(revealed.total) == integer_sum(rehearsal.vectors, revealed.survivors)


def test_on_a_sparse_graph_a_site_deals_with_its_neighbours_alone() -> None:
    terms = make_terms(14, quorum=10, threshold=5, degree=8)
    rehearsal = play(terms)
    for name, data in rehearsal.sent[Stage.SHARE].items():
        dealt = Dealt.from_bytes(data, terms.sites)
        assert dealt.envelopes.members == rehearsal.sharing.graph[name]
        assert len(dealt.envelopes) == 8


def test_a_site_that_lost_all_its_neighbours_is_told_so_and_goes_no_further() -> None:
    terms = make_terms(9, quorum=6, threshold=2, degree=2)
    alone = terms.sites[0]
    near = play(terms).sharing.graph[alone]
    rehearsal = Rehearsal(terms, lost=dict.fromkeys(near, Stage.SHARE))
    with pytest.raises(ProtocolViolation, match="fewer than 2 neighbours dealt shares"):
        rehearsal.play()
    assert rehearsal.told[Stage.MASK][alone] == Envelopes({}).to_bytes(terms.sites)


GROUPS = (names(7)[:3], names(7)[3:])


def test_a_group_at_its_minimum_is_opened_and_one_fewer_fails() -> None:
    terms = make_terms(7, quorum=5, groups=GROUPS)
    play(terms, lost={GROUPS[1][0]: Stage.MASK})
    with pytest.raises(RoundFailed, match=r"^mask: of the group site-00.* only 2 are left"):
        play(terms, lost={GROUPS[0][0]: Stage.MASK})


def test_a_group_may_be_lost_as_a_whole() -> None:
    sites = names(10)
    terms = make_terms(10, quorum=6, groups=(sites[:3], sites[3:]))
    rehearsal = Rehearsal(terms, lost=dict.fromkeys(sites[:3], Stage.MASK))
    assert rehearsal.play().survivors == sites[3:]


def test_a_late_masked_input_stays_under_its_own_mask() -> None:
    """Its mask key is opened, but of its seed no share ever is, and the sum is closed to it."""
    terms = make_terms()
    late = terms.sites[1]
    rehearsal = play(terms, lost={late: Stage.SIGN})
    without = play(terms, lost={late: Stage.MASK})
    assert rehearsal.sent[Stage.MASK][late]  # it exists, and comes when `without` is opening
    for answer in without.sent[Stage.OPEN].values():
        opened = OpenedShares.from_bytes(answer, terms.sites)
        assert late in opened.mask_keys
        assert late not in opened.seeds


def test_the_vectors_of_two_attempts_are_masked_afresh() -> None:
    """The same entropy even: terms alone change every mask."""
    vectors = random_vectors(make_terms(length=64))
    first, second = (
        play(make_terms(length=64, attempt=attempt), vectors=vectors).sent[Stage.MASK]
        for attempt in (1, 2)
    )
    for name in names(5):
        words = [np.frombuffer(sent[name][MASKED_HEAD:], "<u4") for sent in (first, second)]
        assert np.count_nonzero(words[0] == words[1]) <= 1
