"""The edge's application, with a SuperLink that is played by a function."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.supercore.runtime_version_compatibility import (
    get_runtime_version_incompatibility_exit_message,
)
from flwr.superlink.routers.fleet.router import router

from federation.json_log import open_log
from federation.software import Software
from server.edge import FLEET, METHODS, Edge, EdgeLimits, FewLines, superlink_client

Play = Callable[[httpx.Request], httpx.Response]


def unasked(_: httpx.Request) -> httpx.Response:
    raise AssertionError("the SuperLink was asked")


class Once(httpx.AsyncByteStream):
    """A body that comes over a network: it can be read once."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


def answering(status: int, text: str = "", headers: dict[str, str] | None = None) -> Play:
    return lambda _: httpx.Response(status, headers=headers, stream=Once(text.encode()))


async def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Once(await request.aread()))


class Asking:
    """Requests to an edge in this process."""

    def __init__(self, tmp_path: Path, play: Any, limits: EdgeLimits) -> None:
        self.log = tmp_path / "edge.jsonl"
        self.software = Software(hedgerow="0.1.0", flwr="1.41.0")
        self._play, self._limits = play, limits

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            superlink = superlink_client(
                "127.0.0.1:1", "", self._limits, httpx.MockTransport(self._play)
            )
            with closing(open_log(self.log)) as log:
                transport = httpx.ASGITransport(Edge(superlink, self._limits, log, self.software))
                async with httpx.AsyncClient(transport=transport, base_url="https://edge") as asked:
                    return await asked.request(method, path, **more)

        return asyncio.run(ask())


@pytest.fixture
def edge(tmp_path: Path) -> Callable[..., Asking]:
    def made(play: Any = unasked, **limits: Any) -> Asking:
        return Asking(tmp_path, play, EdgeLimits(**limits))

    return made


def test_its_methods_are_those_of_flwr_but_for_the_coordinators_own() -> None:
    offered = {route.path.removeprefix(FLEET) for route in router.routes}
    assert offered - METHODS == {"register-node", "unregister-node"}
    assert offered >= METHODS


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_fleet_method_is_passed_on_with_its_body(
    edge: Callable[..., Asking], method: str
) -> None:
    answer = edge(echo)("POST", FLEET + method, content=b"\0body")
    assert (answer.status_code, answer.content) == (200, b"\0body")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/v1/control/start-run", "/v1/control/list-nodes",
        "/v1/runtime/acquire-task", "/v1/fleet", "/v1/fleet/", "/v1/fleet/register-node",
        "/v1/fleet/unregister-node", "/v1/fleet/pull-messages/", "/v1/fleet/../control/stop-run",
        "/v1/fleet/%2e%2e/control/stop-run", "/v1/fleet/pull%2dmessages", "//v1/fleet/get-run",
        "/v1/fleet/get-run?x=1", "/V1/FLEET/get-run", "/v1/fleet/get-run%00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_nothing_else_reaches_the_superlink(
    edge: Callable[..., Asking], method: str, path: str
) -> None:
    assert edge()(method, path).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_fleet_path_takes_posts_only(edge: Callable[..., Asking], method: str) -> None:
    assert edge()(method, FLEET + "get-run").status_code == 405


def test_the_limit_of_a_body_is_tight(edge: Callable[..., Asking]) -> None:
    assert edge(echo, largest_body=5)("POST", FLEET + "push-object", content=b"12345").is_success
    asked = edge(largest_body=5)("POST", FLEET + "push-object", content=b"123456")
    assert asked.status_code == 413


def test_a_body_of_unknown_length_is_refused(edge: Callable[..., Asking]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    assert edge()("POST", FLEET + "get-run", content=chunks()).status_code == 411
    both = {"transfer-encoding": "chunked", "content-length": "1"}
    assert edge()("POST", FLEET + "get-run", content=b"x", headers=both).status_code == 411


@pytest.mark.parametrize("status", [404, 429, 500, 501, 502, 503, 504])
def test_what_would_end_a_stock_supernode_is_told_as_503(
    edge: Callable[..., Asking], status: int
) -> None:
    answer = edge(answering(status, "secret"))("POST", FLEET + "get-run")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in answer.text


@pytest.mark.parametrize("status", [200, 400, 401, 403, 412])
def test_other_answers_come_back_as_they_are(edge: Callable[..., Asking], status: int) -> None:
    answer = edge(answering(status, "as is"))("POST", FLEET + "get-run")
    assert (answer.status_code, answer.text) == (status, "as is")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.PoolTimeout]
)
def test_a_superlink_that_is_down_is_told_as_503(
    edge: Callable[..., Asking], error: type[httpx.TransportError]
) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise error("down", request=request)

    answer = edge(down)("POST", FLEET + "get-run")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert edge(down)("GET", "/health").status_code == 503


def test_the_superlink_gets_flowers_headers_and_no_others(edge: Callable[..., Asking]) -> None:
    seen: dict[str, str] = {}

    def note(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return httpx.Response(200, stream=Once(b""))

    headers = {
        "flwr-public-key": "key", "flwr-signature": "signature", "flwr-timestamp": "now",
        "content-type": "application/protobuf", "x-forwarded-for": "1.2.3.4", "cookie": "c=1",
        "x-flwr-client": "cli", "proxy-authorization": "x", "connection": "keep-alive, x-y",
    }  # fmt: skip
    edge(note)("POST", FLEET + "get-run", headers=headers, content=b"b")
    assert seen["flwr-public-key"] == "key"
    assert seen["content-type"] == "application/protobuf"
    assert not {"x-forwarded-for", "cookie", "x-flwr-client", "proxy-authorization"} & set(seen)


def test_hop_by_hop_headers_do_not_come_back(edge: Callable[..., Asking]) -> None:
    headers = {"server": "uvicorn", "keep-alive": "5", "flwr-version": "1", "upgrade": "x"}
    answer = edge(answering(200, headers=headers))("POST", FLEET + "get-run")
    assert answer.headers["flwr-version"] == "1"
    assert not {"server", "keep-alive", "upgrade"} & set(answer.headers)


def test_more_at_a_time_than_allowed_is_told_to_wait(edge: Callable[..., Asking]) -> None:
    assert edge(concurrency=0)("POST", FLEET + "get-run").status_code == 503


def test_a_client_that_stops_sending_is_not_waited_for(tmp_path: Path) -> None:
    limits = EdgeLimits(body_seconds=0.05)
    sent: list[Any] = []

    async def silence() -> Any:
        await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event)

    async def ask() -> None:
        superlink = superlink_client("127.0.0.1:1", "", limits, httpx.MockTransport(echo))
        scope = {
            "type": "http", "method": "POST", "path": FLEET + "push-object", "query_string": b"",
            "raw_path": (FLEET + "push-object").encode(), "headers": [(b"content-length", b"9")],
        }  # fmt: skip
        with closing(open_log(tmp_path / "log")) as log:
            await Edge(superlink, limits, log)(scope, silence, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408


def test_the_log_holds_refusals_but_no_body_and_no_path(edge: Callable[..., Asking]) -> None:
    asking = edge()
    asking("POST", "/v1/control/SECRET-PATH", content=b"SECRET-BODY")
    text = asking.log.read_text()
    assert '"request_refused"' in text
    assert "SECRET" not in text


def test_a_flood_of_refusals_fills_no_disk() -> None:
    few = FewLines(per_second=3)
    written = [few.may_write(now=7.0 + count / 1000)[0] for count in range(500)]
    assert sum(written) == 3
    assert few.may_write(8.0) == (True, 497)


@pytest.mark.parametrize(
    ("header", "value", "fits"),
    [
        ("flwr-package-version", "1.41.7", True),
        ("flwr-package-version", "1.42.0", False),
        ("hedgerow-version", "0.1.9", True),
        ("hedgerow-version", "0.2.0", False),
        ("hedgerow-version", "\x7f" * 500, False),
    ],
)
def test_a_node_of_another_version_is_refused_in_flowers_own_words(
    edge: Callable[..., Asking], header: str, value: str, fits: bool
) -> None:
    asking = edge(echo if fits else unasked)
    answer = asking("POST", FLEET + "activate-node", headers={header: value}, content=b"x")
    assert answer.status_code == (200 if fits else 412)
    if not fits:
        told = get_runtime_version_incompatibility_exit_message(answer.text)
        assert told is not None
        assert "both ends need the same first two numbers" in told
        assert "both ends need the same first two numbers" in asking.log.read_text()
