"""Requests and replies: what is sent arrives, what is forged or malformed is refused by name."""

import json
import math
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.envelope import Phase, Reply, Request, parse_reply
from federation.errors import ProtocolViolation

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
REQUEST = Request("run-1", 2, 1, Phase.TRAIN, "ab" * 16, 1e9, b"body")
REPLY = Reply("ulm", "ok", body=b"answer")


def verify(data: bytes, request: Request = REQUEST, federation: str = "f") -> Reply:
    return Reply.verify(data, federation, request, KEY.public_key(), "ulm")


@given(st.binary(max_size=200), st.integers(0, 10**9), st.sampled_from(Phase))
def test_a_request_reads_back_the_same(body: bytes, round_: int, phase: Phase) -> None:
    request = replace(REQUEST, body=body, round=round_, phase=phase)
    assert Request.from_bytes(request.to_bytes()) == request


def test_a_reply_reads_back_the_same() -> None:
    assert verify(REPLY.sign("f", REQUEST, KEY)) == REPLY


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, run="run-2"),
        replace(REQUEST, round=3),
        replace(REQUEST, attempt=2),
        replace(REQUEST, phase=Phase.SIGN),
        replace(REQUEST, nonce="cd" * 16),
    ],
)
def test_a_reply_fits_one_question_of_one_run_only(other: Request) -> None:
    with pytest.raises(ProtocolViolation, match="signature is not valid"):
        verify(REPLY.sign("f", REQUEST, KEY), other)


def test_a_reply_fits_one_federation_only() -> None:
    with pytest.raises(ProtocolViolation, match="signature is not valid"):
        verify(REPLY.sign("g", REQUEST, KEY))


def test_a_site_cannot_answer_for_another() -> None:
    with pytest.raises(ProtocolViolation, match="in the name of 'bonn'"):
        verify(Reply("bonn", "ok").sign("f", REQUEST, KEY))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(REPLY.sign("f", REQUEST, KEY))
    data[position % len(data)] ^= change
    with pytest.raises(ProtocolViolation):
        verify(bytes(data))


def framed(header: object, body: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else canonical.encode(header)
    return len(encoded).to_bytes(4, "big") + encoded + body


GOOD = {
    "v": 2, "run": "r", "round": 1, "attempt": 1, "phase": "train", "nonce": "0" * 32,
    "expires": 1.0, "rider": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "0 bytes"),
        (b"\x00\x00\x00", "3 bytes"),
        (b"\xff\xff\xff\xff", "longer"),
        (framed(b"{nope"), "not JSON"),
        (framed([1]), "not an object"),
        (framed(GOOD | {"extra": 1}), "exactly the fields"),
        (framed({k: v for k, v in GOOD.items() if k != "run"}), "exactly the fields"),
        (framed(GOOD | {"round": "1"}), "round has a wrong type"),
        (framed(GOOD | {"round": True}), "round has a wrong type"),
        (framed(GOOD | {"v": 1}), "version 1"),
        (framed(GOOD | {"phase": "steal"}), "phase"),
        (framed(GOOD | {"nonce": "0"}), "nonce"),
        (framed(GOOD | {"nonce": "g" * 32}), "nonce"),
        (framed(GOOD | {"run": ""}), "run"),
        (framed(GOOD | {"run": "/etc"}), "run"),
        (framed(GOOD | {"run": ".."}), "run"),
        (framed(GOOD | {"run": "r" * 201}), "run"),
        (framed(json.dumps(GOOD | {"expires": math.inf}).encode()), "expires"),
        (framed(json.dumps(GOOD | {"run": "\ud800"}).encode()), "run is not text"),
        (framed(GOOD | {"round": -1}), "round or attempt"),
        (framed(GOOD | {"round": 2**32}), "round or attempt"),
        (framed(GOOD | {"attempt": 10**400}), "round or attempt"),
        (framed(GOOD | {"expires": 10**400}), "not finite"),
        (framed(GOOD | {"expires": -(10**400)}), "not finite"),
        (framed(GOOD | {"rider": 1}), "rider: longer than the message"),
        (framed(GOOD | {"rider": -1}), "rider: longer than the message"),
        (framed(GOOD | {"rider": 5}, b"12345"), "message header: longer"),
    ],
)
def test_a_malformed_request_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(ProtocolViolation, match=named):
        Request.from_bytes(data)


REPLY_HEADER = {
    "v": 2, "site": "s", "status": "ok", "code": "", "reason": "", "signature": "00", "rider": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (REPLY_HEADER | {"v": 0}, "version 0"),
        (REPLY_HEADER | {"status": "fine"}, "status"),
        (REPLY_HEADER | {"signature": "zz"}, "hexadecimal"),
        (REPLY_HEADER | {"site": 1}, "site has a wrong type"),
        (REPLY_HEADER | {"rider": 1}, "rider: longer than the message"),
    ],
)
def test_a_malformed_reply_is_refused_by_name(header: dict, named: str) -> None:
    with pytest.raises(ProtocolViolation, match=named):
        parse_reply(framed(header))


RIDER = replace(REQUEST, round=3, phase=Phase.ADVERTISE, nonce="ef" * 16, body=b"early")


def test_a_rider_travels_with_its_request_and_its_reply_with_the_reply() -> None:
    carrying = replace(REQUEST, rider=RIDER)
    assert Request.from_bytes(carrying.to_bytes()) == carrying
    riding = Reply("ulm", "ok", body=b"keys").sign("f", RIDER, KEY)
    reply = verify(replace(REPLY, rider=riding).sign("f", carrying, KEY), carrying)
    assert reply.body == b"answer"
    assert verify(reply.rider, RIDER).body == b"keys"


def test_a_reply_to_a_rider_is_none_to_what_carried_it_and_the_other_way() -> None:
    riding = Reply("ulm", "ok", body=b"keys").sign("f", RIDER, KEY)
    for data, request in ((riding, REQUEST), (REPLY.sign("f", REQUEST, KEY), RIDER)):
        with pytest.raises(ProtocolViolation, match="signature is not valid"):
            verify(data, request)


def test_a_rider_carries_no_rider_however_deep_it_is_nested() -> None:
    nested = REQUEST
    for _ in range(400):
        nested = replace(REQUEST, rider=nested)
    with pytest.raises(ProtocolViolation, match="rider: it carries a rider itself"):
        Request.from_bytes(nested.to_bytes())


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_a_request_with_a_rider_parses_into_a_crash(at: int, change: int) -> None:
    data = bytearray(replace(REQUEST, rider=RIDER).to_bytes())
    data[at % len(data)] ^= change
    try:
        Request.from_bytes(bytes(data))
    except ProtocolViolation:
        return


def test_a_body_in_pieces_is_the_same_message_and_no_piece_is_copied() -> None:
    rider = Request("run", 2, 1, Phase.ADVERTISE, "1" * 32, 9.0, b"soon")
    whole = Request("run", 1, 1, Phase.TRAIN, "0" * 32, 9.0, b"one two", rider)
    pieces = (b"one", b" ", b"two")
    parted = Request("run", 1, 1, Phase.TRAIN, "0" * 32, 9.0, rider=rider, pieces=pieces)
    assert parted.to_bytes() == whole.to_bytes() == b"".join(parted.parts())
    assert Request.from_bytes(parted.to_bytes()) == whole
    assert all(any(part is piece for part in parted.parts()) for piece in pieces)
