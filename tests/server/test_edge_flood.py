"""The edge as a real process, with strangers at its door: it stays up, its memory bounded."""

import random
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sample_federation_home import sample_home

from server.federation_home import FederationHome
from server.process_group import edge_answers, status

MEBIBYTE = 2**20
PATIENCE = 60.0


class RunningEdge:
    """The process, and ways to speak to it."""

    def __init__(self, home: FederationHome, process: "subprocess.Popen[bytes]") -> None:
        self.home, self.process, self.port = home, process, home.config().port
        self.context = ssl.create_default_context(cafile=home.ca)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def tls(self) -> ssl.SSLSocket:
        return self.context.wrap_socket(self.raw(), server_hostname="localhost")

    def answers(self) -> bool:
        # Without a SuperLink behind it the right answer is 503.
        return status(self.port, self.context, "127.0.0.1") == 503

    def resident(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEdge]:
    home = sample_home(tmp_path_factory.mktemp("edge") / "fed")
    process = subprocess.Popen([sys.executable, "-m", "server.edge_server", str(home.path)])
    try:
        is_up = edge_answers(home, home.config())
        deadline = time.monotonic() + PATIENCE
        while not is_up():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield RunningEdge(home, process)
    finally:
        process.kill()
        process.wait(30)


def fill(connection: socket.socket, data: bytes) -> bytes:
    """Send, and take what comes until the other side hangs up; a reset is an answer, too."""
    with suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    answer = b""
    with suppress(OSError):
        while len(answer) < MEBIBYTE and (more := connection.recv(65536)):
            answer += more
    with suppress(OSError):
        connection.close()
    return answer


def test_garbage_before_and_after_the_handshake_does_no_harm(edge: RunningEdge) -> None:
    chance = random.Random(6)
    for _ in range(40):
        fill(edge.raw(), chance.randbytes(chance.randrange(1, 3000)))
    for _ in range(40):
        answer = fill(edge.tls(), chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n")
        assert not answer.startswith(b"HTTP/1.1 200")
    assert edge.answers()


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Content-Length: 6\r\n\r\nhello!",
        b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"POST /v1/control/start-run HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 50,
    ],
    ids=range(10),
)  # fmt: skip
def test_a_malformed_or_huge_request_is_refused(edge: RunningEdge, request_: bytes) -> None:
    answer = fill(edge.tls(), request_)
    assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 101"))
    assert edge.answers()


def test_many_half_open_connections_neither_end_it_nor_fill_its_memory(edge: RunningEdge) -> None:
    before = edge.resident()
    held: list[socket.socket] = []
    try:
        for number in range(300):
            with suppress(OSError):
                connection = edge.raw() if number % 2 else edge.tls()
                held.append(connection)
                if not number % 2:
                    connection.sendall(b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nCont")
        assert edge.answers()
        assert edge.resident() - before < 160 * MEBIBYTE
    finally:
        for connection in held:
            connection.close()
    assert edge.answers()


@pytest.mark.slow
def test_a_request_without_an_end_to_its_headers_is_hung_up_on(edge: RunningEdge) -> None:
    connection = edge.tls()
    connection.settimeout(PATIENCE)
    connection.sendall(b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\n")
    with suppress(OSError):
        assert connection.recv(1000) == b""
    connection.close()
    assert edge.answers()


def test_old_versions_of_tls_are_refused(edge: RunningEdge) -> None:
    old = ssl.create_default_context(cafile=edge.home.ca)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        old.wrap_socket(edge.raw(), server_hostname="localhost")


def test_what_it_logged_of_all_this_is_bounded_and_holds_nothing_of_it(edge: RunningEdge) -> None:
    logs = list(edge.home.log.glob("edge.jsonl*"))
    assert logs
    assert sum(path.stat().st_size for path in logs) < MEBIBYTE
    assert all(b"aaaaaaaa" not in path.read_bytes() for path in logs)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in logs)
