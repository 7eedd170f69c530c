"""The edge as a process: `python -m server.edge_server FED`, started by `hedgerow coordinator up`.

uvicorn serves the edge's application; what is added here is what a public port needs and uvicorn
leaves to a proxy in front: a time limit for headers and for the TLS handshake, a bound on open
connections, and a certificate that is read anew when it was renewed.
"""

import asyncio
import asyncio.constants
import contextlib
import os
import resource
import ssl
import sys
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from federation.json_log import JsonLog, open_log
from federation.network_address import address
from federation.software import Software
from server.edge import Edge, EdgeLimits, FewLines, superlink_client
from server.federation_home import FederationHome
from server.superlink import LOOPBACK

HEADER_BYTES = 16 * 1024
"""Of one request; flwr's come to about 700."""
HEADER_SECONDS = 10.0
HANDSHAKE_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75
CONNECTIONS = 400
"""Open at a time. asyncio keeps a buffer of 256 KiB for each TLS connection: 100 MiB in all."""
CERTIFICATE_LOOK_SECONDS = 30.0
GRACE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class EdgePlace:
    """Where the edge stands.

    Attributes:
        bind: address to listen on.
        superlink: host:port behind.
        certificate: chain that is shown.
        key: its private key.
        superlink_ca: what the SuperLink is verified by.
    """

    bind: str
    port: int
    superlink: str
    certificate: Path
    key: Path
    superlink_ca: Path


class PatientOnlySoLong(H11Protocol):
    """HTTP/1.1 that hangs up on who does not finish the headers of a request in time."""

    _headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first request."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Begin or end to wait, as a request begins or is complete in its headers."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._headers_due is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._headers_due = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _hang_up(self) -> None:
        self._headers_due = None
        is_served = self.cycle is not None and not self.cycle.response_complete
        if not is_served and not self.transport.is_closing():
            self.transport.abort()


def serve(place: EdgePlace, limits: EdgeLimits, log: JsonLog) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: the port is taken, or a certificate cannot be read.
    """
    _bound_open_files()
    # uvicorn has no setting for it, and a minute is long for who says nothing.
    asyncio.constants.SSL_HANDSHAKE_TIMEOUT = HANDSHAKE_SECONDS
    client = superlink_client(place.superlink, str(place.superlink_ca), limits)
    edge = Edge(client, limits, log, Software.installed())

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(_quiet(log))
        assert config.ssl is not None
        watching = asyncio.create_task(_renew(config.ssl, place, log))
        log.info("edge_started", port=place.port, pid=os.getpid())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await client.aclose()
            log.info("edge_stopped", pid=os.getpid())

    config = uvicorn.Config(
        _with_lifespan(edge, lifespan),
        host=place.bind,
        port=place.port,
        loop="asyncio",
        http=PatientOnlySoLong,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=CONNECTIONS,
        backlog=128,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=str(place.certificate),
        ssl_keyfile=str(place.key),
    )
    config.load()
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    config.ssl.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    uvicorn.Server(config).run()


def _with_lifespan(edge: Edge, lifespan: Callable[[], Any]) -> Callable[..., Any]:
    """The edge as a whole ASGI application, with what happens before and after."""

    async def application(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await edge(scope, receive, send)
            return
        await receive()
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return application


async def _renew(context: ssl.SSLContext, place: EdgePlace, log: JsonLog) -> None:
    """Show a renewed certificate to new connections, without a restart."""
    known = _changed_at(place)
    while True:
        await asyncio.sleep(CERTIFICATE_LOOK_SECONDS)
        now = _changed_at(place)
        if now == known:
            continue
        try:
            context.load_cert_chain(place.certificate, place.key)
        except (OSError, ssl.SSLError):
            # Half renewed, perhaps: the old pair goes on, and the next look tries again.
            log.warning("certificate_not_renewed")
        else:
            known = now
            log.info("certificate_renewed")


def _changed_at(place: EdgePlace) -> tuple[int, ...]:
    try:
        return tuple(path.stat().st_mtime_ns for path in (place.certificate, place.key))
    except FileNotFoundError:
        return ()


def _quiet(log: JsonLog) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What asyncio says of broken connections, a few lines a second of it and without texts."""
    few = FewLines(2)

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        may, missed = few.may_write(loop.time())
        if may:
            kind = type(context["exception"]).__name__ if "exception" in context else "unknown"
            log.warning("connection_failed", kind=kind, count=missed + 1)

    return note


def _bound_open_files() -> None:
    """Let the kernel refuse what is beyond: connections in a handshake are not counted elsewhere.

    Twice the connections leaves room for those to the SuperLink; asyncio waits when there is none.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (bound, hard))


def main() -> None:
    """Serve the edge of the federation folder that the command line names."""
    home = FederationHome(Path(sys.argv[1]))
    config = home.config()
    place = EdgePlace(
        config.bind,
        config.port,
        address(LOOPBACK, config.superlink_port),
        home.server_certificate,
        home.server_key,
        home.loopback_ca,
    )
    serve(place, EdgeLimits(), open_log(home.log / "edge.jsonl"))


if __name__ == "__main__":
    main()
