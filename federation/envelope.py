"""Request and reply between coordinator and agent: versioned, length-checked, replies signed.

Wire format, version 2: four bytes of header length (big endian), the header as canonical JSON,
then the body, then the rider to the end. The signature of a reply covers federation, run, round,
attempt, phase, site, the request's nonce and the SHA-256 of the body, so an answer fits one
question of one run only.

A rider is a whole request that travels on another one, and its reply on the other's reply: what a
later round needs to be asked early costs no message of its own. Each is answered, and signed, as if
it had come alone; a rider carries no rider.
"""

import hashlib
import json
import re
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation import canonical
from federation.errors import ProtocolViolation

Data = bytes | memoryview
Body = bytes | tuple[bytes, ...]
"""A body to be sent, in one piece or in several; those that many requests have are not copied."""
VERSION = 2
LARGEST_MESSAGE = 1 << 30
"""Bytes; a gibibyte holds a model of 2**28 parameters."""
LARGEST_HEADER = 1 << 16
LARGEST_NUMBER = 2**32 - 1
"""Of rounds and attempts, as in the terms of a secure sum."""
BUDGET_EXHAUSTED = "budget_exhausted"
"""The refusal code of a site whose ledger does not cover the round."""
RUN_OVERSPENT = "run_overspent"
"""The refusal code of a site that a run asks for more releases than it agreed to."""
ATTEMPTS_EXHAUSTED = "attempts_exhausted"
"""The refusal code of a site that was asked for too many attempts of a round."""
_NONCE = re.compile(r"[0-9a-f]{32}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # it names a folder, too
_SIGNING = b"hedgerow/reply/v2\x00"


class Phase(StrEnum):
    """The questions a coordinator may ask, in the order of a run."""

    ENLIST = "enlist"
    AGREE = "agree"
    WITNESS = "witness"
    ADVERTISE = "advertise"
    SHARE = "share"
    TRAIN = "train"
    SIGN = "sign"
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Request:
    """A question to one site.

    Attributes:
        run: the run's id.
        round: 0 outside rounds.
        attempt: 1 for the first try of a round, 0 outside rounds.
        nonce: 32 hexadecimal digits, fresh per request and site.
        expires: seconds since the epoch after which the site no longer answers.
        body: what the phase defines.
        rider: another question to the same site, to be answered after this one.
        pieces: of a request to be sent, what comes after `body` and belongs to it.
    """

    run: str
    round: int
    attempt: int
    phase: Phase
    nonce: str
    expires: float
    body: bytes = b""
    rider: "Request | None" = None
    pieces: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """The wire form."""
        return b"".join(self.parts())

    def parts(self) -> tuple[bytes, ...]:
        """The wire form in pieces, of which those of the body are not copied."""
        names = ("run", "round", "attempt", "phase", "nonce", "expires")
        header = {name: getattr(self, name) for name in names}
        rider = self.rider.to_bytes() if self.rider else b""
        head = _frame({"v": VERSION, **header, "rider": len(rider)}, b"", b"")
        return head, self.body, *self.pieces, rider

    @classmethod
    def from_bytes(cls, data: bytes) -> "Request":
        """Parse and check every length and type.

        Raises:
            ProtocolViolation: names the field that is wrong.
        """
        return Received.from_bytes(data).opened()


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: its header is checked, its body is not looked into and not copied.

    So whoever received it can refuse a body by its size, and sign that refusal.

    Attributes:
        head: the request without body and rider.
        body: as in the message.
        rider: likewise.
    """

    head: Request
    body: memoryview
    rider: "Received | None"

    @classmethod
    def from_bytes(cls, data: bytes) -> "Received":
        """Parse the header and that of the rider.

        Raises:
            ProtocolViolation: names the field that is wrong.
        """
        header, payload = _unframe(data)
        head = _head(header)
        body, riding = _parted(header, payload)
        return cls(head, body, cls._from_rider(riding) if riding else None)

    @classmethod
    def _from_rider(cls, data: memoryview) -> "Received":
        header, body = _unframe(data)
        # Riders on riders could go deeper than the stack.
        if header.get("rider") != 0:
            raise ProtocolViolation("message rider: it carries a rider itself")
        return cls(_head(header), body, None)

    def opened(self) -> Request:
        """The whole request."""
        rider = self.rider.opened() if self.rider else None
        return replace(self.head, body=bytes(self.body), rider=rider)


@dataclass(frozen=True, slots=True)
class Reply:
    """A site's answer.

    Attributes:
        site: who answers.
        status: `ok`; `refused` (the site will not, by its own rules); `failed` (it could not).
        code: for a refusal or failure a short machine-readable word, else empty.
        reason: for a refusal or failure one sentence that reveals nothing about rows.
        body: what the phase defines.
        rider: the whole reply, signed by itself, to what rode on the request.
    """

    site: str
    status: Literal["ok", "refused", "failed"]
    code: str = ""
    reason: str = ""
    body: bytes = b""
    rider: Data = b""

    def sign(self, federation: str, request: Request, identity: Ed25519PrivateKey) -> bytes:
        """The wire form, signed for this one request; the rider is not, it has its own."""
        signature = identity.sign(_signed_bytes(federation, request, self))
        header = {
            "v": VERSION,
            "site": self.site,
            "status": self.status,
            "code": self.code,
            "reason": self.reason,
            "signature": signature.hex(),
            "rider": len(self.rider),
        }
        return _frame(header, self.body, self.rider)

    @classmethod
    def verify(
        cls,
        data: Data,
        federation: str,
        request: Request,
        key: Ed25519PublicKey,
        site: str,
    ) -> "Reply":
        """Parse a reply and check that `site` gave it to exactly this request.

        Raises:
            ProtocolViolation: malformed, or not signed by the site for this request.
        """
        reply, signature = parse_reply(data)
        if reply.site != site:
            raise ProtocolViolation(f"a reply in the name of {reply.site!r} came from {site!r}")
        try:
            key.verify(signature, _signed_bytes(federation, request, reply))
        except InvalidSignature as error:
            raise ProtocolViolation(f"reply of {site!r}: the signature is not valid") from error
        return reply


def reply_parts(data: Data) -> tuple[memoryview, memoryview]:
    """Body and rider of a reply, neither copied nor looked into: for their sizes.

    Raises:
        ProtocolViolation: malformed.
    """
    header, payload = _unframe(data)
    _expect_reply(header)
    return _parted(header, payload)


def parse_reply(data: Data) -> tuple[Reply, bytes]:
    """A reply and its signature, not verified: only for learning which site a node is.

    The rider is not copied.

    Raises:
        ProtocolViolation: malformed.
    """
    header, payload = _unframe(data)
    _expect_reply(header)
    if header["v"] != VERSION:
        raise ProtocolViolation(f"message version {header['v']}: expected {VERSION}")
    if header["status"] not in ("ok", "refused", "failed"):
        raise ProtocolViolation("reply status: expected ok, refused or failed")
    # Exactly one spelling per signature: fromhex alone would accept capitals and spaces, too.
    if not re.fullmatch(r"[0-9a-f]*", header["signature"]) or len(header["signature"]) % 2:
        raise ProtocolViolation("reply signature: not lower-case hexadecimal")
    signature = bytes.fromhex(header["signature"])
    body, rider = _parted(header, payload)
    said = header["site"], header["status"], header["code"], header["reason"]
    return Reply(*said, bytes(body), rider), signature


def _head(header: dict[str, Any]) -> Request:
    """The request of a header, without body and rider."""
    _expect(header, {"v": int, "run": str, "round": int, "attempt": int, "phase": str,
                     "nonce": str, "expires": (int, float), "rider": int})  # fmt: skip
    if header["v"] != VERSION:
        raise ProtocolViolation(f"message version {header['v']}: expected {VERSION}")
    if header["phase"] not in set(Phase):
        raise ProtocolViolation("message phase: not one of the protocol's")
    if not _NONCE.fullmatch(header["nonce"]):
        raise ProtocolViolation("message nonce: expected 32 hexadecimal digits")
    if not _RUN.fullmatch(header["run"]):
        raise ProtocolViolation("message run: expected a name of letters, digits and . _ -")
    # JSON's whole numbers have no end: one that no float holds is refused like an infinite one.
    if not abs(header["expires"]) <= sys.float_info.max:
        raise ProtocolViolation("message expires: not finite")
    if not all(0 <= header[name] <= LARGEST_NUMBER for name in ("round", "attempt")):
        raise ProtocolViolation("message round or attempt: expected 0 to 2**32 - 1")
    return Request(
        header["run"], header["round"], header["attempt"], Phase(header["phase"]),
        header["nonce"], float(header["expires"]),
    )  # fmt: skip


def _expect_reply(header: dict[str, Any]) -> None:
    _expect(header, {"v": int, "site": str, "status": str, "code": str, "reason": str,
                     "signature": str, "rider": int})  # fmt: skip


def _signed_bytes(federation: str, request: Request, reply: Reply) -> bytes:
    bound = canonical.encode([
        federation, request.run, request.round, request.attempt, request.phase, request.nonce,
        reply.site, reply.status, reply.code, reply.reason,
    ])  # fmt: skip
    # The body by its digest: Ed25519 would read millions of words twice.
    return _SIGNING + bound + hashlib.sha256(reply.body).digest()


def _frame(header: dict[str, object], body: bytes, rider: Data) -> bytes:
    encoded = canonical.encode(header)
    return b"".join((len(encoded).to_bytes(4, "big"), encoded, body, rider))


def _parted(header: dict[str, Any], payload: memoryview) -> tuple[memoryview, memoryview]:
    """Body and rider."""
    if not 0 <= header["rider"] <= len(payload):
        raise ProtocolViolation("message rider: longer than the message")
    end = len(payload) - header["rider"]
    return payload[:end], payload[end:]


def _unframe(data: Data) -> tuple[dict[str, Any], memoryview]:
    if not 4 <= len(data) <= LARGEST_MESSAGE:
        raise ProtocolViolation(f"message of {len(data)} bytes: expected 4 to {LARGEST_MESSAGE}")
    length = int.from_bytes(data[:4], "big")
    if length > min(LARGEST_HEADER, len(data) - 4):
        raise ProtocolViolation("message header: longer than the message or than allowed")
    try:
        header = json.loads(bytes(data[4 : 4 + length]))
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation("message header: not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolViolation("message header: not an object")
    return header, memoryview(data)[4 + length :]


def _expect(header: dict[str, Any], fields: dict[str, type | tuple[type, ...]]) -> None:
    if set(header) != set(fields):
        raise ProtocolViolation(f"message header: expected exactly the fields {sorted(fields)}")
    for name, kind in fields.items():
        if not isinstance(header[name], kind) or isinstance(header[name], bool):
            raise ProtocolViolation(f"message header: {name} has a wrong type")
        if isinstance(header[name], str) and not _is_text(header[name]):
            raise ProtocolViolation(f"message header: {name} is not text")


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON's escapes can also spell half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
