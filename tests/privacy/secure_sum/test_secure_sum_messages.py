"""Each message has one encoding: what parses is what would have been written, byte for byte."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import MASKED_HEAD, Stage, make_terms, names, play, play_again

from federation.errors import ProtocolViolation
from federation.ring_vector import Stretch
from privacy.secure_sum import wire
from privacy.secure_sum.messages import (
    Agreed,
    Agreements,
    Bundle,
    Dealt,
    Envelope,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Survivors,
    VouchedAdvert,
)

TERMS = make_terms(stretches=(Stretch(16, 3), Stretch(20, 3), Stretch(32, 2)))
SITES = TERMS.sites
SESSION = play_again(play(TERMS), lost={TERMS.sites[1]: Stage.MASK})
FIRST = TERMS.sites[0]


def over_sites(kind: type) -> Callable[[bytes], bytes]:
    """Reads a message and writes it again."""
    return lambda data: kind.from_bytes(data, SITES).to_bytes(SITES)


MESSAGES: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "advert": (over_sites(VouchedAdvert), SESSION.sent[Stage.ADVERTISE][FIRST]),
    "bundle": (over_sites(Bundle), SESSION.told[Stage.SHARE][FIRST]),
    "dealt": (over_sites(Dealt), SESSION.sent[Stage.SHARE][FIRST]),
    "envelopes": (over_sites(Envelopes), SESSION.told[Stage.MASK][FIRST]),
    "masked input": (
        lambda data: MaskedInput.from_bytes(data, TERMS.stretches).to_bytes(),
        SESSION.sent[Stage.MASK][FIRST],
    ),
    "survivors": (over_sites(Survivors), SESSION.told[Stage.SIGN][FIRST]),
    "agreed": (over_sites(Agreed), SESSION.sent[Stage.SIGN][FIRST]),
    "agreements": (over_sites(Agreements), SESSION.told[Stage.OPEN][FIRST]),
    "opened": (over_sites(OpenedShares), SESSION.sent[Stage.OPEN][FIRST]),
}
each_message = pytest.mark.parametrize("name", MESSAGES)


@each_message
def test_a_message_reads_back_the_same(name: str) -> None:
    again, data = MESSAGES[name]
    assert again(data) == data


@each_message
def test_a_cut_or_lengthened_message_is_refused(name: str) -> None:
    parse, data = MESSAGES[name]
    for wrong in [data[:at] for at in range(len(data))] + [data + b"\0", data + data]:
        with pytest.raises(ProtocolViolation):
            parse(wrong)


@each_message
def test_no_message_passes_for_another_kind_or_version(name: str) -> None:
    parse, _ = MESSAGES[name]
    others = [data for other, (_, data) in MESSAGES.items() if other != name]
    own = MESSAGES[name][1]
    for wrong in [*others, b"XS" + own[2:], own[:2] + b"\x01" + own[3:]]:
        with pytest.raises(ProtocolViolation, match="not a message of this kind and version"):
            parse(wrong)


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_an_altered_message_is_refused_or_is_another_message_in_its_one_encoding(
    name: str, data: st.DataObject
) -> None:
    parse, message = MESSAGES[name]
    altered = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(4, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        written = parse(bytes(altered))
    except ProtocolViolation:
        return
    assert written == bytes(altered)


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=300))
def test_any_bytes_are_refused_or_parse(name: str, body: bytes) -> None:
    parse, message = MESSAGES[name]
    for data in (body, message[:4] + body):
        try:
            assert parse(data) == data
        except ProtocolViolation:
            continue


def test_masked_words_travel_as_they_are_packed() -> None:
    packed = b"\x01\x00\x00\x00\xfe\xff\xff\xff"
    masks = bytes(range(32))
    data = MaskedInput(masks, packed).to_bytes()
    assert data == b"HS\x03\x05" + masks + packed
    assert bytes(MaskedInput.from_bytes(data, (Stretch(32, 2),)).packed) == packed


@pytest.mark.parametrize("length", [1, 3])
def test_a_masked_input_of_another_length_is_refused(length: int) -> None:
    data = MaskedInput(bytes(32), bytes(8)).to_bytes()
    with pytest.raises(ProtocolViolation, match=r"masked input: 8 bytes, expected (4|12)"):
        MaskedInput.from_bytes(data, (Stretch(32, length),))


def test_both_shares_of_one_site_are_no_message() -> None:
    share, sites = bytes(33), ("a", "b")
    OpenedShares.from_bytes(OpenedShares({"a": share}, {"b": share}).to_bytes(sites), sites)
    both = OpenedShares({"a": share}, {"a": share}).to_bytes(sites)
    with pytest.raises(ProtocolViolation, match="both shares of one site"):
        OpenedShares.from_bytes(both, sites)


def test_names_come_in_order_once_and_at_most_200_bytes_of_utf8() -> None:
    def names_of(*encoded: bytes) -> tuple[str, ...]:
        entries = [wire.number(len(name)) + name for name in encoded]
        data = wire.frame(0, wire.number(len(entries)), *entries)
        return wire.Reader(data, 0, "terms").names()

    assert names_of(b"a", b"b" * 200) == ("a", "b" * 200)
    for wrong, why in [
        ((b"b", b"a"), "out of order"),
        ((b"a", b"a"), "one twice"),
        ((b"a", b"b" * 201), "a name of 201 > 200 bytes"),
        ((b"a", b"\xff"), "not UTF-8"),
    ]:
        with pytest.raises(ProtocolViolation, match=why):
            names_of(*wrong)
    endless = wire.frame(0, wire.number(2**32 - 1), wire.text("a"))
    with pytest.raises(ProtocolViolation, match="terms: too short"):
        wire.Reader(endless, 0, "terms").names()


@given(st.integers(1, 40), st.data())
def test_a_set_of_sites_is_a_bit_each_and_no_bit_more(n: int, data: st.DataObject) -> None:
    sites = names(n)
    some = data.draw(st.sets(st.sampled_from(sites)))
    message = Survivors(tuple(some)).to_bytes(sites)
    assert len(message) == 4 + -(-n // 8)
    assert Survivors.from_bytes(message, sites).members == tuple(sorted(some))
    if n % 8:
        beyond = message[:-1] + bytes([message[-1] | 0x80])
        with pytest.raises(ProtocolViolation, match="a bit of no invited site is set"):
            Survivors.from_bytes(beyond, sites)


def test_a_vector_leaves_in_the_masked_input_only() -> None:
    """By size: nothing else that a site sends grows with the vector."""
    sizes = []
    for length in (10, 1000):
        sent = play(make_terms(length=length)).sent
        sizes.append({stage: len(sent[stage][names(5)[0]]) for stage in Stage})
    grown = {stage for stage in Stage if sizes[0][stage] != sizes[1][stage]}
    assert grown == {Stage.MASK}
    assert sizes[1][Stage.MASK] == MASKED_HEAD + 4 * 1000


@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_a_masked_input_takes_its_bits_and_a_head(bits: int) -> None:
    sent = play(make_terms(stretches=(Stretch(bits, 1000),))).sent
    assert len(sent[Stage.MASK][FIRST]) == MASKED_HEAD + 1000 * bits // 8


def test_a_pledge_holds_every_commitment_of_a_dealer_and_no_share() -> None:
    """The dealer stands among the holders in their order, wherever its name comes."""
    for dealer, data in SESSION.sent[Stage.SHARE].items():
        dealt = Dealt.from_bytes(data, SITES)
        pledge = dealt.pledge(dealer)
        to_others = {
            holder: Envelope.from_fields(fields).commitments
            for holder, fields in dealt.envelopes.items()
        }
        assert pledge.commitments == {dealer: dealt.own_commitments, **to_others}
        assert tuple(pledge.commitments) == SITES
        assert (pledge.seed_commitment, pledge.signature) == (
            dealt.seed_commitment,
            dealt.signature,
        )
