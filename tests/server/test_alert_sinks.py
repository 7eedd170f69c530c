"""Alerts leave whole, or the user is told; and never in clear over a network."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from federation.alert import Alert, exit_code
from federation.errors import UsageError
from server import alert_sinks

ALERT = Alert(
    level="act", topic="drift", window="2018", scope="overall", subject="age", metric="psi",
    value=0.4, mark=0.25, sentence='age changed by "much"',
)  # fmt: skip


@pytest.fixture
def listener():
    """A real server on loopback; answers with the status that is asked for in the path."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Content-Type"], json.loads(body)))
            status = int(self.path.strip("/"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/200")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_every_alert_once(listener) -> None:
    url, received = listener
    assert alert_sinks.send(f"{url}/200", "run-1", [ALERT]) is None
    assert received == [
        ("application/json", {"run": "run-1", "alerts": [ALERT.model_dump(mode="json")]})
    ]


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_webhook_that_refuses_is_told_of(listener, status: int) -> None:
    url, received = listener
    problem = alert_sinks.send(f"{url}/{status}", "run-1", [ALERT])
    assert problem is not None
    assert f"{url}/{status}" in problem
    assert len(received) == 1  # no redirect was followed


def test_a_webhook_that_is_not_there_is_told_of() -> None:
    assert "did not take" in (alert_sinks.send("http://127.0.0.1:9/", "run-1", [ALERT]) or "")


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org", "nonsense", ""])
def test_alerts_do_not_travel_in_clear(url: str) -> None:
    with pytest.raises(UsageError, match="--webhook"):
        alert_sinks.send(url, "run-1", [ALERT])


def test_lines_are_replaced_as_a_whole(tmp_path) -> None:
    path = tmp_path / "alerts.jsonl"
    alert_sinks.write_lines(path, [ALERT, ALERT])
    assert [Alert.model_validate_json(line) for line in path.read_text().splitlines()] == [
        ALERT, ALERT
    ]  # fmt: skip
    alert_sinks.write_lines(path, [])
    assert path.read_bytes() == b""


def test_prometheus_text_escapes_labels_and_declares_each_metric_once() -> None:
    samples = [
        ("hedgerow_psi", (("feature", 'a"b\\c\nd'),), 0.25),
        ("hedgerow_psi", (("feature", "age"),), 1.0),
        ("hedgerow_alerts", (), 2.0),
    ]
    text = alert_sinks.prometheus_text(samples, {"hedgerow_psi": "PSI.", "hedgerow_alerts": "N."})
    assert text.splitlines() == [
        "# HELP hedgerow_psi PSI.",
        "# TYPE hedgerow_psi gauge",
        'hedgerow_psi{feature="a\\"b\\\\c\\nd"} 0.25',
        'hedgerow_psi{feature="age"} 1',
        "# HELP hedgerow_alerts N.",
        "# TYPE hedgerow_alerts gauge",
        "hedgerow_alerts 2",
    ]


@pytest.mark.parametrize(
    ("levels", "code"), [((), 0), (("watch",), 1), (("watch", "act"), 2), (("act",), 2)]
)
def test_exit_codes(levels, code: int) -> None:
    alerts = tuple(ALERT.model_copy(update={"level": level}) for level in levels)
    assert exit_code(alerts) == code
