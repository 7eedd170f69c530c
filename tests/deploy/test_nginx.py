"""nginx in the edge's place lets through what the edge does; tried with a real one."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from programs import DEPLOY, program, run

from server.coordinator_config import CoordinatorConfig
from server.edge import FLEET, METHODS, EdgeLimits
from server.federation_home import FederationHome
from server.federation_setup import set_up

TEXT = (DEPLOY / "nginx" / "edge.conf").read_text()


def test_it_names_the_methods_of_the_edge_and_no_others() -> None:
    (listed,) = re.findall(r'location ~ "\^/v1/fleet/\(([a-z|-]+)\)\$"', TEXT)
    assert set(listed.split("|")) == METHODS


def test_it_allows_the_bodies_that_the_edge_does() -> None:
    assert f"client_max_body_size {EdgeLimits().largest_body // 2**20}m;" in TEXT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Backend(BaseHTTPRequestHandler):
    """A SuperLink that answers with what it is asked to: 200 and the body, or the status in it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path))
        self.send_response(int(body) if body.isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names that the server asks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """(ask, what the backend saw): nginx with the certificates of a real federation's folder."""
    binary = program("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    fed = FederationHome(folder / "fed")
    config = CoordinatorConfig(name="demo", hosts=("localhost",))
    set_up(fed, config, datetime.now(UTC), existing_ca=None, consortium=None)
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    backend.seen = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fed.loopback_certificate, fed.loopback_key)
    backend.socket = context.wrap_socket(backend.socket, server_side=True)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    port = free_port()
    conf = TEXT.replace("FED", str(fed.path)).replace("COORDINATOR:8443", f"127.0.0.1:{port}")
    conf = conf.replace("COORDINATOR", "localhost").replace("18443", str(backend.server_port))
    (folder / "edge.conf").write_text(conf)
    temporary = "".join(
        f"{one}_temp_path {folder}/{one};"
        for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events {}\n"
        f"http {{ {temporary} include {folder}/edge.conf; }}\n"
    )
    arguments = (binary, "-p", folder, "-c", folder / "nginx.conf")
    tested = run(*arguments, "-t")
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen([str(one) for one in arguments], stderr=subprocess.DEVNULL)
    trusting = ssl.create_default_context(cafile=str(fed.ca))

    def ask(method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        for _ in range(200):
            connection = http.client.HTTPSConnection(
                "localhost", port, timeout=10, context=trusting
            )
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "error.log").read_text()
                threading.Event().wait(0.05)
            finally:
                connection.close()
        raise AssertionError("nginx does not listen")

    try:
        yield ask, backend.seen
    finally:
        process.terminate()
        process.wait(10)
        backend.shutdown()
        backend.server_close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_fleet_method_is_passed_on_with_its_body(nginx, method: str) -> None:
    ask, seen = nginx
    assert ask("POST", FLEET + method, b"x" * 2_000_000) == (200, b"x" * 2_000_000)
    assert seen[-1] == ("POST", FLEET + method)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/v1/control/start-run", "/v1/runtime/acquire-task",
        FLEET + "register-node", FLEET + "unregister-node", FLEET, FLEET + "pull-messages/x",
        FLEET + "../control/start-run", "/v1/fleet/%2e%2e/control/start-run", "/healthz",
    ],
)  # fmt: skip
def test_nothing_else_reaches_the_superlink(nginx, path: str) -> None:
    ask, seen = nginx
    before = len(seen)
    assert ask("POST", path, b"x")[0] in {403, 404}
    assert len(seen) == before


def test_fleet_paths_take_posts_only(nginx) -> None:
    ask, seen = nginx
    before = len(seen)
    assert ask("GET", FLEET + "pull-messages")[0] == 403
    assert ask("PUT", FLEET + "pull-messages", b"x")[0] == 403
    assert len(seen) == before


@pytest.mark.parametrize("status", [404, 429, 500])
def test_what_would_end_a_stock_node_is_told_as_503(nginx, status: int) -> None:
    ask, _ = nginx
    assert ask("POST", FLEET + "pull-messages", str(status).encode())[0] == 503


@pytest.mark.parametrize("status", [401, 403, 412])
def test_other_answers_come_back_as_they_are(nginx, status: int) -> None:
    ask, _ = nginx
    assert ask("POST", FLEET + "pull-messages", str(status).encode())[0] == status


def test_health_is_told(nginx) -> None:
    ask, _ = nginx
    assert ask("GET", "/health")[0] == 200
