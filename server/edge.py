"""The coordinator's only public door: a reverse proxy that knows the SuperLink's fleet paths alone.

Flower serves what sites need (Fleet), what operators need (Control) and what its own processes need
(Runtime) on one port, and of these only Fleet knows who asks. So the SuperLink listens on
127.0.0.1, and this passes on `POST /v1/fleet/<method>` for the methods that a registered node
needs. Everything else is 404 and never reaches the SuperLink. Bodies are streamed and never kept.

Stock SuperNodes go on after 502, 503 and 504 only, and fall silent for good at any other error
(measured, flwr 1.41): so a SuperLink that is down, slow or failing is told as 503 here.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from federation.errors import UsageError
from federation.json_log import JsonLog
from federation.software import HEADERS, Software, require_same_series

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

FLEET = "/v1/fleet/"
METHODS = frozenset({
    "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages",
    "get-run", "get-fab", "push-object", "pull-object", "confirm-message-received",
})  # fmt: skip
"""Without register-node, which the SuperLink refuses anyway, and unregister-node, which lets a
stolen key be burned for good: both are the coordinator's business."""

PATHS = {f"{FLEET}{method}": method for method in METHODS}
HEALTH = "/health"

VERSIONS = {name: header.encode() for name, header in HEADERS.items()}
OTHER_VERSION = 1001
"""Flower's code for a version that does not fit; its Fleet API itself looks at none (flwr 1.41)."""
LONGEST_VERSION = 64

PASSED_ON = frozenset({b"content-type", b"accept"})
PASSED_ON_PREFIX = b"flwr-"
"""Headers of a request that the SuperLink gets; it needs no others."""

NOT_BROUGHT_BACK = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"trailers", b"transfer-encoding", b"upgrade", b"server", b"date",
})  # fmt: skip
"""Hop-by-hop headers (RFC 9110, 7.6.1), and what tells of the software behind."""

STATUSES_TOLD_AS_UNAVAILABLE = frozenset({404, 429, *range(500, 600)})
"""Of the SuperLink's answers on a fleet path: what would end a stock SuperNode for good. A 404
there is a SuperLink that is still starting, or another version; the node waits for a better one."""

REFUSALS_TOLD = {
    401: "the SuperLink does not know the node, or the clocks differ",
    412: "the SuperLink refuses the node: its key is not enrolled or online already, or it runs "
    "another version of Flower",
}
"""What the SuperLink says no to and a person has to look at; the site is told the same."""

RETRY_AFTER_SECONDS = 2
FAILURES_LOGGED_PER_SECOND = 10


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What a stranger may cost.

    Attributes:
        largest_body: bytes of a request; 413 above.
        concurrency: requests that are passed on at a time; 503 above.
        body_seconds: without a byte of the body, or of room for the answer, until the end.
        slowest_body: bytes a second, on average, that a body has to come at.
        answer_seconds: that the SuperLink may take to answer.
    """

    largest_body: int = 64 * 1024 * 1024
    concurrency: int = 128
    body_seconds: float = 20.0
    slowest_body: int = 16 * 1024
    answer_seconds: float = 60.0


@dataclass(slots=True)
class _Request:
    """One request on its way."""

    method: str
    started: float
    bytes_in: int = 0
    bytes_out: int = 0
    status: int = 0
    reason: str = ""


class Refused(Exception):
    """This request gets this status; nothing of it is passed on."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason


class OtherVersion(Refused):
    """The node is of another version; the answer says so as Flower says it."""

    def __init__(self, reason: str) -> None:
        super().__init__(412, reason)

    @property
    def body(self) -> str:
        """What stands in the answer."""
        return json.dumps({"code": OTHER_VERSION, "detail": self.reason})


class Aborted(Exception):
    """The other side is gone or too slow; there is nobody left to answer."""


class FewLines:
    """So many lines a second, however much there is to complain about: a flood fills no disk."""

    def __init__(self, per_second: int) -> None:
        self._per_second, self._second, self._written, self._missed = per_second, 0, 0, 0

    def may_write(self, now: float) -> tuple[bool, int]:
        """Whether a line may be written now, and how many could not since the last one."""
        if int(now) != self._second:
            self._second, self._written = int(now), 0
        if self._written >= self._per_second:
            self._missed += 1
            return False, 0
        self._written += 1
        missed, self._missed = self._missed, 0
        return True, missed


@dataclass(slots=True)
class _Tally:
    """What was served since the last line."""

    since: float = field(default_factory=time.monotonic)
    count: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0

    def add(self, now: float, request: _Request, every: float = 60.0) -> "_Tally | None":
        """Count one request; gives what was counted once a minute."""
        self.count += 1
        self.bytes_in += request.bytes_in
        self.bytes_out += request.bytes_out
        self.seconds += now - request.started
        if now - self.since < every:
            return None
        whole = _Tally(self.since, self.count, self.bytes_in, self.bytes_out, self.seconds)
        self.since, self.count, self.bytes_in, self.bytes_out, self.seconds = now, 0, 0, 0, 0.0
        return whole


@dataclass(slots=True)
class Edge:
    """The ASGI application.

    Attributes:
        client: to the SuperLink; `superlink_client` makes it.
        limits: what a stranger may cost.
        log: of refusals and failures, and a line a minute on the rest; of no body, ever.
        software: a node that says it runs another series of these is refused; None: none is.
    """

    client: httpx.AsyncClient
    limits: EdgeLimits
    log: JsonLog
    software: Software | None = None
    in_flight: int = 0
    _failures: FewLines = field(default_factory=lambda: FewLines(FAILURES_LOGGED_PER_SECOND))
    _served: _Tally = field(default_factory=_Tally)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = _Request(PATHS.get(scope["path"], ""), time.monotonic())
        try:
            await self._answer(scope, request, receive, send)
        except Refused as refused:
            request.status, request.reason = refused.status, refused.reason
            said = refused.body if isinstance(refused, OtherVersion) else refused.reason
            await _reply(send, refused.status, said)
        except Aborted as aborted:
            request.reason = str(aborted)
        self._note(request)

    async def _answer(self, scope: Scope, request: _Request, receive: Receive, send: Send) -> None:
        if scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD"):
            request.method = "health"
            await self._require_superlink()
            request.status = 200
            await _reply(send, 200, "ok")
            return
        # The path as it came: nothing that is only a fleet path once it is decoded.
        raw = scope.get("raw_path") or scope["path"].encode()
        if not request.method or raw != scope["path"].encode() or scope["query_string"]:
            raise Refused(404, "not found")
        if scope["method"] != "POST":
            raise Refused(405, "POST only")
        self._require_version(scope["headers"])
        length = _content_length(scope["headers"], self.limits.largest_body)
        if self.in_flight >= self.limits.concurrency:
            raise Refused(503, "busy")
        self.in_flight += 1
        try:
            await self._pass_on(scope, request, _Body(receive, length, self.limits, request), send)
        finally:
            self.in_flight -= 1

    def _require_version(self, headers: Headers) -> None:
        """Return if the node fits, or does not say.

        Raises:
            Refused: it does not fit; in the words of Flower's own errors, which nodes read.
        """
        if self.software is None:
            return
        told = dict(headers)
        for name, header in VERSIONS.items():
            theirs = told.get(header, b"")[:LONGEST_VERSION].decode("ascii", "replace")
            try:
                if theirs:
                    require_same_series(name, getattr(self.software, name), theirs, "the node")
            except UsageError as error:
                raise OtherVersion(str(error)) from error

    async def _pass_on(self, scope: Scope, request: _Request, body: "_Body", send: Send) -> None:
        """Stream the request to the SuperLink and its answer back."""
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name in PASSED_ON or name.startswith(PASSED_ON_PREFIX)
        ]
        headers.append((b"content-length", str(body.length).encode()))
        passed = self.client.build_request(
            "POST", FLEET + request.method, headers=headers, content=body.chunks()
        )
        try:
            answer = await self.client.send(passed, stream=True)
        except httpx.HTTPError as error:
            raise Refused(503, "the SuperLink does not answer") from error
        try:
            if answer.status_code in STATUSES_TOLD_AS_UNAVAILABLE:
                raise Refused(503, f"the SuperLink answered {answer.status_code}")
            request.status = answer.status_code
            request.reason = REFUSALS_TOLD.get(answer.status_code, "")
            await self._bring_back(answer, request, send)
        finally:
            await answer.aclose()

    async def _bring_back(self, answer: httpx.Response, request: _Request, send: Send) -> None:
        headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower() not in NOT_BROUGHT_BACK
        ]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        await self._give(send, start)
        try:
            async for chunk in answer.aiter_raw():
                request.bytes_out += len(chunk)
                body = {"type": "http.response.body", "body": chunk, "more_body": True}
                await self._give(send, body)
        except httpx.HTTPError as error:
            # The status is out: only an answer cut short can still tell that it is not whole.
            raise Aborted("the SuperLink stopped in the middle of its answer") from error
        await self._give(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _give(self, send: Send, event: Event) -> None:
        try:
            await asyncio.wait_for(send(event), self.limits.body_seconds)
        except TimeoutError as error:
            raise Aborted("the client does not take its answer") from error

    async def _require_superlink(self) -> None:
        try:
            answer = await self.client.get(HEALTH, timeout=5.0)
        except httpx.HTTPError as error:
            raise Refused(503, "the SuperLink does not answer") from error
        if answer.status_code != 200:
            raise Refused(503, f"the SuperLink answered {answer.status_code}")

    def _note(self, request: _Request) -> None:
        now = time.monotonic()
        seconds = now - request.started
        if request.reason:
            may, missed = self._failures.may_write(now)
            if may:
                self.log.warning(
                    "request_refused",
                    method=request.method or "other",
                    status=request.status,
                    reason=request.reason,
                    seconds=round(seconds, 3),
                    count=missed + 1,
                )
        served = self._served.add(now, request)
        if served is not None:
            self.log.info(
                "requests_served",
                count=served.count,
                bytes_in=served.bytes_in,
                bytes_out=served.bytes_out,
                seconds=round(served.seconds, 3),
            )


def superlink_client(
    address: str, ca: str, limits: EdgeLimits, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """One pool of connections to the SuperLink, verified by its certificate, past no proxy.

    Args:
        address: host:port.
        ca: certificate file that signed the SuperLink's.
        limits: sets the size of the pool.
        transport: instead of the network, for tests.
    """
    timeout = httpx.Timeout(limits.answer_seconds, connect=5.0, pool=limits.body_seconds)
    # Less than the five seconds after which the SuperLink hangs up on an idle connection.
    pool = httpx.Limits(
        max_connections=limits.concurrency + 4, max_keepalive_connections=32, keepalive_expiry=3.0
    )
    return httpx.AsyncClient(
        base_url=f"https://{address}",
        verify=ssl.create_default_context(cafile=ca) if transport is None else False,
        timeout=timeout,
        limits=pool,
        trust_env=False,
        follow_redirects=False,
        headers={},
        transport=transport,
    )


@dataclass(slots=True)
class _Body:
    """The body of a request, as it comes in."""

    receive: Receive
    length: int
    limits: EdgeLimits
    request: _Request

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces in order; what stands in them is nobody's business here."""
        patience = self.limits.body_seconds
        end = time.monotonic() + patience + self.length / self.limits.slowest_body
        while True:
            try:
                wait = min(patience, end - time.monotonic())
                event = await asyncio.wait_for(self.receive(), wait)
            except TimeoutError as error:
                raise Refused(408, "the body did not come in time") from error
            if event["type"] == "http.disconnect":
                raise Aborted("the client went away in the middle of its request")
            chunk: bytes = event.get("body", b"")
            self.request.bytes_in += len(chunk)
            if chunk:
                yield chunk
            if not event.get("more_body", False):
                return


def _content_length(headers: Headers, largest: int) -> int:
    """Bytes that the body says it has.

    Raises:
        Refused: it does not say, or too many. flwr's clients always say.
    """
    said = [value for name, value in headers if name == b"content-length"]
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if is_chunked or len(said) != 1 or not said[0].isdigit() or len(said[0]) > 15:
        raise Refused(411, "a body of known length, please")
    length = int(said[0])
    if length > largest:
        raise Refused(413, f"a body of at most {largest} bytes, please")
    return length


async def _reply(send: Send, status: int, text: str) -> None:
    """Answer with a line of text; a refusal also ends the connection, with what is left of it."""
    body = text.encode() + b"\n"
    headers: Headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    if status >= 400:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
