"""How the coordinator runs Flower's processes: command lines, environment and secrets.

The SuperLink listens on 127.0.0.1 alone and with TLS, knows its nodes by their keys, keeps its
state in a file, and leaves the ServerApp to a SuperExec that has to show a shared secret: without
that one, whoever reaches the port could take the ServerApp's task and become it.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from federation.durable_file import write_atomically
from federation.errors import UsageError
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome

FLWR = "1.41"
"""Release that these command lines, and the client in flower_control.py, are written for."""

LOOPBACK = "127.0.0.1"

KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS")
"""Of this process's environment; proxies above all are none of Flower's business on loopback."""

SWITCHES: Mapping[str, str] = {
    # No telemetry, no question for updates, no packages from the network at run time.
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # How often the SuperExec asks for work; a second of waiting at the start of a run otherwise.
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25",
    "PYTHONUNBUFFERED": "1",
}


def require_flwr() -> str:
    """The installed version of flwr, if the coordinator's processes are written for it.

    Raises:
        UsageError: they are not.
    """
    installed = version("flwr")
    if installed.split(".")[:2] != FLWR.split("."):
        raise UsageError(
            f"flwr {installed} is installed: the coordinator runs with flwr {FLWR} only, as do all "
            f"of its sites; pip install 'flwr=={FLWR}.*'"
        )
    return installed


def program(name: str) -> str:
    """Path of a command that flwr installed beside this Python.

    Raises:
        UsageError: it is not there.
    """
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise UsageError(f"{path} is missing: install hedgerow, with flwr, into one environment")
    return str(path)


def superlink_command(home: FederationHome, config: CoordinatorConfig) -> tuple[str, ...]:
    """Command line of the SuperLink."""
    return (
        program("flower-superlink"),
        "--host", LOOPBACK,
        "--port", str(config.superlink_port),
        "--ssl-certfile", str(home.loopback_certificate.absolute()),
        "--ssl-keyfile", str(home.loopback_key.absolute()),
        "--ssl-ca-certfile", str(home.loopback_ca.absolute()),
        "--enable-supernode-auth",
        "--database", str(home.database.absolute()),
        "--health-server-address", f"{LOOPBACK}:{config.health_port}",
        "--isolation", "process",
        "--superexec-auth-secret-file", str(home.superexec_secret.absolute()),
        "--disable-runtime-dependency-installation",
    )  # fmt: skip


def superexec_command(home: FederationHome, config: CoordinatorConfig) -> tuple[str, ...]:
    """Command line of the SuperExec, which starts a ServerApp per run."""
    return (
        program("flower-superexec"),
        "--runtime-api-address", f"{LOOPBACK}:{config.superlink_port}",
        "--root-certificates", str(home.loopback_ca.absolute()),
        "--superexec-auth-secret-file", str(home.superexec_secret.absolute()),
    )  # fmt: skip


def environment(home: FederationHome) -> dict[str, str]:
    """The whole environment of Flower's processes."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    # They run the hedgerow that runs here, installed or not.
    places = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    # The SuperExec starts the first flwr-serverapp on its path: this environment's own.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
    flwr_home = {"FLWR_HOME": str(home.flwr_home.absolute()), "PATH": path}
    return kept | dict(SWITCHES) | flwr_home


def furnish(home: FederationHome) -> None:
    """Make what the SuperLink needs on disk, the shared secret above all; all for its owner alone.

    Raises:
        UsageError: a certificate that `hedgerow coordinator init` writes is missing.
    """
    for path in (home.loopback_certificate, home.loopback_key, home.loopback_ca):
        if not path.is_file():
            raise UsageError(f"{path} is missing; hedgerow coordinator certificate renew makes it")
    # Flower unpacks a bundle once and trusts what lies there from then on; it shall look again.
    shutil.rmtree(home.flwr_home / "apps", ignore_errors=True)
    for folder in (home.superlink, home.flwr_home, home.runs, home.log):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    if not home.superexec_secret.is_file():
        write_atomically(home.superexec_secret, secrets.token_hex(32).encode(), mode=0o600)
