"""Each message has one encoding: what parses is what would have been written, byte for byte."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import Stage, make_terms, names, play

from federation.errors import ProtocolViolation
from privacy.secure_sum import wire
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Bundle,
    Dealt,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Signatures,
    Survivors,
)

TERMS = make_terms()
SESSION = play(TERMS, lost={TERMS.sites[1]: Stage.MASK})
FIRST = TERMS.sites[0]


def masked_input(data: bytes) -> MaskedInput:
    return MaskedInput.from_bytes(data, TERMS.length)


MESSAGES: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "advert": (Advert.from_bytes, SESSION.sent[Stage.ADVERTISE][FIRST]),
    "bundle": (Bundle.from_bytes, SESSION.told[Stage.SHARE][FIRST]),
    "dealt": (Dealt.from_bytes, SESSION.sent[Stage.SHARE][FIRST]),
    "envelopes": (Envelopes.from_bytes, SESSION.told[Stage.MASK][FIRST]),
    "masked input": (masked_input, SESSION.sent[Stage.MASK][FIRST]),
    "survivors": (Survivors.from_bytes, SESSION.told[Stage.SIGN][FIRST]),
    "agreed": (Agreed.from_bytes, SESSION.sent[Stage.SIGN][FIRST]),
    "signatures": (Signatures.from_bytes, SESSION.told[Stage.OPEN][FIRST]),
    "opened": (OpenedShares.from_bytes, SESSION.sent[Stage.OPEN][FIRST]),
}
each_message = pytest.mark.parametrize("name", MESSAGES)


@each_message
def test_a_message_reads_back_the_same(name: str) -> None:
    parse, data = MESSAGES[name]
    assert parse(data).to_bytes() == data


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
    for wrong in [*others, b"XS" + own[2:], own[:2] + b"\x02" + own[3:]]:
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
        parsed = parse(bytes(altered))
    except ProtocolViolation:
        return
    assert parsed.to_bytes() == bytes(altered)


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=300))
def test_any_bytes_are_refused_or_parse(name: str, body: bytes) -> None:
    parse, message = MESSAGES[name]
    for data in (body, message[:4] + body):
        try:
            assert parse(data).to_bytes() == data
        except ProtocolViolation:
            continue


def test_masked_words_travel_little_endian() -> None:
    data = MaskedInput(np.array([1, 2**32 - 2], np.uint32)).to_bytes()
    assert data == b"HS\x01\x05\x01\x00\x00\x00\xfe\xff\xff\xff"
    assert MaskedInput.from_bytes(data, 2).words.tolist() == [1, 2**32 - 2]


@pytest.mark.parametrize("length", [1, 3])
def test_a_masked_input_of_another_length_is_refused(length: int) -> None:
    data = MaskedInput(np.zeros(2, np.uint32)).to_bytes()
    with pytest.raises(ProtocolViolation, match=r"masked input: (too short|4 bytes too many)"):
        MaskedInput.from_bytes(data, length)


def test_both_shares_of_one_site_are_no_message() -> None:
    share = bytes(33)
    OpenedShares.from_bytes(OpenedShares({"a": share}, {"b": share}).to_bytes())
    with pytest.raises(ProtocolViolation, match="both shares of one site"):
        OpenedShares.from_bytes(OpenedShares({"a": share}, {"a": share}).to_bytes())


def survivors(*encoded: bytes) -> bytes:
    entries = [wire.number(len(name)) + name for name in encoded]
    return wire.frame(Survivors.KIND, wire.number(len(entries)), *entries)


def test_names_come_in_order_once_and_at_most_200_bytes_of_utf8() -> None:
    assert Survivors.from_bytes(survivors(b"a", b"b" * 200)).sites == ("a", "b" * 200)
    for wrong, why in [
        (survivors(b"b", b"a"), "out of order"),
        (survivors(b"a", b"a"), "one twice"),
        (survivors(b"a", b"b" * 201), "a name of 201 > 200 bytes"),
        (survivors(b"a", b"\xff"), "not UTF-8"),
    ]:
        with pytest.raises(ProtocolViolation, match=why):
            Survivors.from_bytes(wrong)


def test_a_table_comes_in_order_and_once() -> None:
    def signatures(*sites: str) -> bytes:
        entries = [wire.text(site) + bytes(64) for site in sites]
        return wire.frame(Signatures.KIND, wire.number(len(entries)), *entries)

    assert set(Signatures.from_bytes(signatures("a", "b")).by_site) == {"a", "b"}
    for wrong in (signatures("b", "a"), signatures("a", "a")):
        with pytest.raises(ProtocolViolation, match="out of order, or one twice"):
            Signatures.from_bytes(wrong)


def test_a_count_beyond_the_message_ends_where_the_message_ends() -> None:
    endless = wire.frame(Survivors.KIND, wire.number(2**32 - 1), wire.text("a"))
    with pytest.raises(ProtocolViolation, match="survivor set: too short"):
        Survivors.from_bytes(endless)


def test_a_vector_leaves_in_the_masked_input_only() -> None:
    """By size: nothing else that a site sends grows with the vector."""
    sizes = []
    for length in (10, 1000):
        sent = play(make_terms(length=length)).sent
        sizes.append({stage: len(sent[stage][names(5)[0]]) for stage in Stage})
    grown = {stage for stage in Stage if sizes[0][stage] != sizes[1][stage]}
    assert grown == {Stage.MASK}
    assert sizes[1][Stage.MASK] == 4 + 4 * 1000
