"""Whoever listens where the coordinator is to listen is found before anything is started."""

import socket
import threading

import pytest

from federation.errors import UsageError
from server.coordinator_config import CoordinatorConfig
from server.free_ports import is_free, require_free_ports


@pytest.fixture
def taken() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config(**ports: int) -> CoordinatorConfig:
    names = ("port", "superlink_port", "health_port")
    free = {name: free_port() for name in names}
    whole = {"name": "trial", "hosts": ["localhost"], "bind": "127.0.0.1"} | free | ports
    return CoordinatorConfig.model_construct(**whole)


def test_free_ports_are_passed() -> None:
    require_free_ports(config(), patience=0.0)


@pytest.mark.parametrize("name", ["port", "superlink_port", "health_port"])
def test_a_taken_port_is_named(taken: socket.socket, name: str) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(UsageError, match=f"{name} = {port}: another process listens there"):
        require_free_ports(config(**{name: port}), patience=0.0)


def test_a_port_that_is_being_left_is_waited_for() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    leaving = threading.Timer(0.3, listener.close)
    leaving.start()
    require_free_ports(config(port=port), patience=60.0)
    leaving.join()


def test_a_connection_that_was_closed_a_moment_ago_is_no_obstacle() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # this side waits for its last packets now
    assert is_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot listen at 192\.0\.2\.1"):
        is_free("192.0.2.1", free_port())
