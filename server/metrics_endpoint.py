"""`GET /metrics` on loopback, for Prometheus."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from federation.errors import UsageError
from server.superlink import LOOPBACK

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE_SECONDS = 5.0
MOST_CONNECTIONS = 16
"""At a time. They are served in the process that keeps all others up: it must not run out of
descriptors for whoever on this machine opens connections and says nothing."""


@contextmanager
def serve_metrics(port: int, text: Callable[[], str]) -> Iterator[int]:
    """Serve on 127.0.0.1 while the context lasts; gives the port, which is new if 0 was asked for.

    Args:
        port: to listen on.
        text: asked anew for every request, in another thread.

    Raises:
        UsageError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_SECONDS
        server_version, sys_version = "hedgerow", ""

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a collector asks every few seconds."""

    try:
        server = _Quiet((LOOPBACK, port), Handler)
    except OSError as error:
        raise UsageError(
            f"metrics_port = {port}: cannot listen there: {error.strerror}; choose another in "
            "coordinator.toml"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread of its own, or hang up where too many are served."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the base class; then somebody else may come."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A collector that hangs up, or garbage: nothing to report."""
