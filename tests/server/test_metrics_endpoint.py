"""The metrics endpoint serves collectors, and bounds what anybody else on the machine costs."""

import socket
import threading
import urllib.request

from server.metrics_endpoint import MOST_CONNECTIONS, serve_metrics


def scraped(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return answer.read()


def test_connections_beyond_the_bound_are_hung_up_on_and_the_rest_is_served() -> None:
    with serve_metrics(0, lambda: "up 1\n") as port:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_CONNECTIONS)]
        beyond = socket.create_connection(("127.0.0.1", port), timeout=30)
        assert beyond.recv(1) == b""
        assert threading.active_count() <= MOST_CONNECTIONS + 8
        for connection in (*held, beyond):
            connection.close()
        for _ in range(MOST_CONNECTIONS):
            try:
                assert scraped(port) == b"up 1\n"
                break
            except OSError:  # the threads of the closed connections are just ending
                continue
        else:
            raise AssertionError("nobody was served")


def test_garbage_is_answered_and_forgotten() -> None:
    with serve_metrics(0, lambda: "up 1\n") as port:
        for garbage in (b"\0" * 70_000, b"GET " + b"a" * 100_000, b"\x16\x03\x01\x02\x00"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                try:
                    connection.sendall(garbage)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
        assert scraped(port) == b"up 1\n"
