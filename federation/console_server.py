"""A small web server for one person on this machine: read-only pages, on 127.0.0.1 alone.

Who may read: whoever opens the printed address first. Its token is good once and is exchanged for a
cookie, which the browser sends to this server's pages only: both the cookie and the folder that it
is bound to are random, so another server on this machine is never sent it. The Host header must
name this machine, or else a foreign name that resolves to 127.0.0.1 could read along (DNS
rebinding). A page loads style and script from here and nothing from anywhere else; reports of runs
run no script at all. Only GET is answered, and files only where the page names them.
"""

import hmac
import os
import secrets
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from federation.console_page.page import Page, Source, document, script, style
from federation.errors import HedgerowError, UsageError

ADDRESS = "127.0.0.1"
HOSTS = frozenset({ADDRESS, "localhost"})
"""The names this server answers to, with any port: one may be forwarded over SSH."""

LARGEST_DOCUMENT = 64 * 1024 * 1024
COOKIE = "hedgerow-console"

_STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = f"{_STRICT}; style-src 'self'; script-src 'self'; connect-src 'self'"
REPORT_POLICY = f"{_STRICT}; style-src 'unsafe-inline'; sandbox"
"""A report carries its style within itself, and nothing that runs."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "text/plain; charset=utf-8",
    ".prom": "text/plain; charset=utf-8",
}


@dataclass
class Entry:
    """Who may read: the token until it is used, the session from then on.

    Attributes:
        token: in the address that is printed; good once.
        folder: of the address that all pages are under.
        session: value of the cookie.
    """

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    folder: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _used: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def use(self, token: str) -> bool:
        """Whether this is the token and it was not used yet; from now on it is."""
        with self._lock:
            right = hmac.compare_digest(token.encode(), self.token.encode()) and not self._used
            self._used = self._used or right
            return right

    def admits(self, cookie: str) -> bool:
        """Whether this is the session's cookie."""
        return hmac.compare_digest(cookie.encode(), self.session.encode())


def application(source: Source, entry: Entry) -> ASGIApp:
    """The server's answers, behind its checks.

    Args:
        source: makes the pages, one at a time.
        entry: who may read.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    page = _one_at_a_time(source)
    under = f"/{entry.folder}"

    @app.get("/")
    def enter(token: Annotated[str, Query(max_length=200)] = "") -> Response:
        if not entry.use(token):
            return _refusal(
                403,
                "This address is good once, for whom it was printed. To open the console anew, "
                "end the command with Ctrl-C and start it again.",
            )
        answer = RedirectResponse(f"{under}/", status_code=303)
        answer.set_cookie(COOKIE, entry.session, path=f"{under}/", httponly=True, samesite="strict")
        return answer

    @app.get(f"{under}/")
    def whole(request: Request, run: Annotated[str, Query(max_length=300)] = "") -> Response:
        return _if_admitted(request, entry, lambda: _html(document(page(run))))

    @app.get(f"{under}/part")
    def part(request: Request, run: Annotated[str, Query(max_length=300)] = "") -> Response:
        def answer() -> Response:
            made = page(run)
            return _html(made.body, {"X-Page-Title": quote(made.title)})

        return _if_admitted(request, entry, answer)

    @app.get(f"{under}/console.css")
    def css(request: Request) -> Response:
        return _if_admitted(request, entry, lambda: Response(style(), media_type="text/css"))

    @app.get(f"{under}/console.js")
    def javascript(request: Request) -> Response:
        return _if_admitted(
            request, entry, lambda: Response(script(), media_type="text/javascript")
        )

    @app.get(f"{under}/file")
    def file(
        request: Request,
        name: Annotated[str, Query(max_length=300)],
        run: Annotated[str, Query(max_length=300)] = "",
    ) -> Response:
        return _if_admitted(request, entry, lambda: _file(page(run), name))

    return _Guard(app)


def _one_at_a_time(source: Source) -> Source:
    """Several tabs must not verify one ledger several times at once."""
    lock = threading.Lock()

    def page(subject: str) -> Page:
        with lock:
            return source(subject)

    return page


def _if_admitted(request: Request, entry: Entry, answer: Callable[[], Response]) -> Response:
    if not entry.admits(request.cookies.get(COOKIE, "")):
        return _refusal(403, "Open the address that hedgerow console printed.")
    try:
        return answer()
    except LookupError:
        return _refusal(404, "There is no such run or file here.")
    except HedgerowError as error:
        return _refusal(503, f"hedgerow: {error}")


def _html(text: str, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY} | (headers or {}))


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status)


def _file(page: Page, name: str) -> Response:
    """A file that the page names; no other can be asked for.

    Raises:
        LookupError: the page does not name it, or it is gone.
    """
    path = page.documents[name]
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return Response(_content(path), media_type=_MEDIA[path.suffix], headers=headers)


def _content(path: Path) -> bytes:
    """What a plain file holds; no link is followed, and no device waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise LookupError(path.name) from error
    known = os.fstat(descriptor)
    if not stat.S_ISREG(known.st_mode) or known.st_size > LARGEST_DOCUMENT:
        os.close(descriptor)
        raise LookupError(path.name)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(LARGEST_DOCUMENT)


class _Guard:
    """What every request must pass and every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {name for name, _ in message["headers"]}
                more = {"Content-Security-Policy": _STRICT} | HEADERS
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in more.items()
                        if name.lower().encode() not in told
                    ),
                ]
            await send(message)

        if scope["type"] != "http":
            return
        await (_refused(scope) or self._app)(scope, receive, sent)


def _refused(scope: Scope) -> Response | None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _is_this_machine(hosts[0].decode("latin-1")):
        return _refusal(421, "This server answers to 127.0.0.1 and localhost only.")
    if scope["method"] != "GET":
        answer = _refusal(405, "This server is read-only: GET alone.")
        answer.headers["Allow"] = "GET"
        return answer
    return None


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names this machine, with or without a port.

    >>> [_is_this_machine(one) for one in ("127.0.0.1:8000", "localhost", "evil.example:8000")]
    [True, True, False]
    """
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return False
    return parts.netloc == host and "@" not in host and parts.hostname in HOSTS


def bind(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0 takes a free one.

    Raises:
        UsageError: the port is in use, or not ours to take.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((ADDRESS, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise UsageError(
            f"--port {port}: {error.strerror}; choose another, or leave --port out for a free one"
        ) from error
    return bound


def serve(source: Source, bound: socket.socket, told: Callable[[str], None]) -> None:
    """Answer until Ctrl-C or SIGTERM; then return.

    Args:
        source: makes the pages.
        bound: what `bind` returned; closed at the end.
        told: is called with the address to open, once it can be.
    """
    entry = Entry()
    port = bound.getsockname()[1]
    config = uvicorn.Config(
        application(source, entry),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,  # an access log would hold the token
        access_log=False,
        server_header=False,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    told(f"http://{ADDRESS}:{port}/?token={entry.token}")
    # uvicorn raises the signal that ended it once more; whether that still interrupts depends on
    # how far its loop has come.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[bound])
