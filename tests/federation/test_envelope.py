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
    "v": 1, "run": "r", "round": 1, "attempt": 1, "phase": "train", "nonce": "0" * 32,
    "expires": 1.0,
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
        (framed(GOOD | {"v": 2}), "version 2"),
        (framed(GOOD | {"phase": "steal"}), "phase"),
        (framed(GOOD | {"nonce": "0"}), "nonce"),
        (framed(GOOD | {"nonce": "g" * 32}), "nonce"),
        (framed(GOOD | {"run": ""}), "run"),
        (framed(GOOD | {"run": "/etc"}), "run"),
        (framed(GOOD | {"run": ".."}), "run"),
        (framed(GOOD | {"run": "r" * 201}), "run"),
        (framed(json.dumps(GOOD | {"expires": math.inf}).encode()), "expires"),
        (framed(json.dumps(GOOD | {"run": "\ud800"}).encode()), "run is not text"),
        (framed(GOOD | {"round": -1}), "negative"),
    ],
)
def test_a_malformed_request_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(ProtocolViolation, match=named):
        Request.from_bytes(data)


REPLY_HEADER = {"v": 1, "site": "s", "status": "ok", "code": "", "reason": "", "signature": "00"}


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (REPLY_HEADER | {"v": 0}, "version 0"),
        (REPLY_HEADER | {"status": "fine"}, "status"),
        (REPLY_HEADER | {"signature": "zz"}, "hexadecimal"),
        (REPLY_HEADER | {"site": 1}, "site has a wrong type"),
    ],
)
def test_a_malformed_reply_is_refused_by_name(header: dict, named: str) -> None:
    with pytest.raises(ProtocolViolation, match=named):
        parse_reply(framed(header))
