"""Whether the ports of a coordinator are free, before anything is started on them."""

import errno
import socket
import time

from federation.errors import ConfigError
from server.coordinator_config import CoordinatorConfig
from server.superlink import LOOPBACK

PATIENCE = 15.0
"""Seconds: what a killed coordinator left behind is ended by its keepers in less."""
LOOK_SECONDS = 0.2


def require_free(config: CoordinatorConfig, patience: float = PATIENCE) -> None:
    """Return when each port can be listened on.

    Args:
        config: names them; the metrics endpoint binds its own at once.
        patience: seconds to wait for one that is in use.

    Raises:
        ConfigError: one is in use still, or not for this user or machine; names it.
    """
    until = time.monotonic() + patience
    for name, host in (
        ("port", config.bind),
        ("superlink_port", LOOPBACK),
        ("health_port", LOOPBACK),
    ):
        port = getattr(config, name)
        while (refused := _refused(host, port)) is not None:
            if refused.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise ConfigError(
                    name,
                    port,
                    f"a port that can be listened on at {host}; this one says: {refused.strerror}",
                    "end what uses it, or choose another in coordinator.toml"
                    + ("; then sign the roster anew, since sites are told it" * (name == "port")),
                ) from refused
            time.sleep(LOOK_SECONDS)


def _refused(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error
    return None
