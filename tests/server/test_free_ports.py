"""A port that is taken is named before anything of a coordinator is started."""

import socket

import pytest

from federation.errors import ConfigError
from server.coordinator_config import CoordinatorConfig
from server.free_ports import require_free


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def config() -> CoordinatorConfig:
    names = ("port", "superlink_port", "health_port", "metrics_port", "console_port")
    ports = {name: free_port() for name in names}
    return CoordinatorConfig(name="demo", hosts=("localhost",), bind="127.0.0.1", **ports)


def test_free_ports_are_free_again_afterwards(config) -> None:
    require_free(config, patience=0)
    require_free(config, patience=0)


@pytest.mark.parametrize("name", ["port", "superlink_port", "health_port"])
def test_a_taken_port_is_named_with_its_remedy(config, name: str) -> None:
    taken = getattr(config, name)
    with (
        socket.create_server(("127.0.0.1", taken)),
        pytest.raises(ConfigError, match=f"^{name} = {taken}: .*Address already in use") as told,
    ):
        require_free(config, patience=0)
    assert "choose another in coordinator.toml" in str(told.value)
    assert ("sign the roster anew" in str(told.value)) == (name == "port")


def test_an_address_of_another_machine_is_said_at_once(config) -> None:
    with pytest.raises(ConfigError, match=r"listened on at 192\.0\.2\.1"):
        require_free(config.model_copy(update={"bind": "192.0.2.1"}), patience=3600)
