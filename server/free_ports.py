"""Whether the coordinator's ports are free, before anything is started that would listen there."""

import errno
import socket
import time

from federation.errors import UsageError
from server.coordinator_config import CoordinatorConfig
from server.superlink import LOOPBACK

FREE_WITHIN_SECONDS = 30.0
"""A coordinator that was killed leaves keepers, which take some seconds to end its processes."""
LOOK_SECONDS = 0.2


def require_free_ports(config: CoordinatorConfig, patience: float = FREE_WITHIN_SECONDS) -> None:
    """Return if nobody listens where the processes are to listen.

    The SuperLink of a copy of the folder shows the same certificate and would answer as if it were
    this one's: nodes would be let in there, and runs submitted.

    Args:
        config: names the ports.
        patience: seconds to wait for whoever listens there to end.

    Raises:
        UsageError: somebody goes on listening, or nobody may listen there.
    """
    places = {
        "port": (config.bind, config.port),
        "superlink_port": (LOOPBACK, config.superlink_port),
        "health_port": (LOOPBACK, config.health_port),
    }
    deadline = time.monotonic() + patience
    for name, (host, port) in places.items():
        while not is_free(host, port):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"{name} = {port}: another process listens there, a coordinator of a copy of "
                    "this folder perhaps: end it, or choose another port in coordinator.toml"
                )
            time.sleep(LOOK_SECONDS)


def is_free(host: str, port: int) -> bool:
    """Whether a process could listen there now.

    Raises:
        UsageError: the address is not this machine's, or the port not this user's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: what waits for the last packets of a closed connection is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise UsageError(f"cannot listen at {host}, port {port}: {error.strerror}") from error
    return True
