"""A line between a site's node and the coordinator that a test can cut, stall and divert."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

LOOPBACK = "127.0.0.1"


class FaultyLine:
    """A TCP proxy on a port of its own.

    Attributes:
        port: where the node connects to.
        target: the port that new connections are passed on to.
        stalls: whether connections are taken and nothing is passed on.
        allowance: bytes from the node that are still let through, then the line is cut; None: all.
        connections: made to it so far.
    """

    def __init__(self, target: int) -> None:
        self.target, self.stalls, self.allowance = target, False, None
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._is_cut = False
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and each new one at once, until `heal`."""
        with self._lock:
            self._is_cut = True
            self._reset_all()

    def heal(self) -> None:
        """Pass on what comes; connections that stalled are reset."""
        with self._lock:
            self._is_cut, self.stalls, self.allowance = False, False, None
            self._reset_all()

    def divert(self, port: int) -> None:
        """Pass on to another server from now on."""
        with self._lock:
            self.target = port
            self._reset_all()

    def wait_for_connections(self, count: int, seconds: float = 120) -> None:
        """Return when so many more were made."""
        with self._news:
            goal = self.connections + count
            assert self._news.wait_for(lambda: self.connections >= goal, seconds)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            self._is_cut = True
            self._reset_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                node, _ = self._listener.accept()
                with self._news:
                    self.connections += 1
                    self._news.notify_all()
                    if self._is_cut:
                        _reset(node)
                        continue
                    self._open.add(node)
                if not self.stalls:
                    threading.Thread(target=self._join, args=(node,), daemon=True).start()

    def _join(self, node: socket.socket) -> None:
        try:
            link = socket.create_connection((LOOPBACK, self.target))
        except OSError:
            self._drop(node)
            return
        with self._lock:
            self._open.add(link)
        for ends in ((node, link, True), (link, node, False)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.stalls:
                    return  # both ends stay open, and nothing comes any more
                if up and self._is_spent(len(data)):
                    self.cut()
                    return
                sink.sendall(data)
        self._drop(source)
        self._drop(sink)

    def _is_spent(self, count: int) -> bool:
        with self._lock:
            if self.allowance is None:
                return False
            self.allowance -= count
            return self.allowance < 0

    def _drop(self, end: socket.socket) -> None:
        with self._lock:
            self._open.discard(end)
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def _reset_all(self) -> None:
        while self._open:
            _reset(self._open.pop())


def _reset(end: socket.socket) -> None:
    """Close with RST, as a firewall or a power cut does."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class _Garbage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status, body, headers_sent = 200, b"", {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()

    def answer(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # whoever does not believe the certificate hangs up
        pass


@contextmanager
def answering(
    certificate: Path, key: Path | None, status: int, body: bytes = b"", **headers: str
) -> Iterator[int]:
    """The port of a TLS server that answers everything alike."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = type("Garbage", (_Garbage,), {"status": status, "body": body, "headers_sent": told})
    with _served(kind, certificate, key) as port:
        yield port


@contextmanager
def limiting(
    certificate: Path, key: Path, authority: Path, edge: int, largest: int
) -> Iterator[int]:
    """The port of a proxy before the edge that takes no larger bodies, as proxies often are set."""
    trusted = ssl.create_default_context(cafile=str(authority))
    with httpx.Client(base_url=f"https://localhost:{edge}", verify=trusted, timeout=120) as client:
        kind = type("Limiting", (_Limiting,), {"client": client, "largest": largest})
        with _served(kind, certificate, key) as port:
            yield port


class _Limiting(_Garbage):
    client: httpx.Client
    largest = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if len(body) > self.largest:
            self.status, self.body, self.headers_sent = 413, b"<html>too large</html>", {}
        else:
            passed = {n: v for n, v in self.headers.items() if n.lower() not in NOT_PASSED_ON}
            answer = self.client.post(self.path, content=body, headers=passed)
            self.status, self.body = answer.status_code, answer.content
            self.headers_sent = {"Content-Type": answer.headers.get("content-type", "text/plain")}
        self.answer()


NOT_PASSED_ON = {"host", "content-length", "connection", "accept-encoding"}


@contextmanager
def _served(
    kind: type[BaseHTTPRequestHandler], certificate: Path, key: Path | None
) -> Iterator[int]:
    server = _Server((LOOPBACK, 0), kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
