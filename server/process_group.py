"""The coordinator's processes: SuperLink, SuperExec and edge, and signs that they are well."""

import http.client
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from federation.child_processes import Child
from server import superlink
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome

PROBE_SECONDS = 2.0
READY_WITHIN_SECONDS = 120.0

SUPERLINK, SUPEREXEC, EDGE = "superlink", "superexec", "edge"


def coordinator_children(home: FederationHome, config: CoordinatorConfig) -> tuple[Child, ...]:
    """What `coordinator up` runs, in the order of starting.

    Raises:
        UsageError: flwr is missing or another version.
    """
    superlink.require_flwr()
    environment = superlink.environment(home)
    answers = superlink_answers(home, config)
    folder = home.path.absolute()
    return (
        Child(
            SUPERLINK,
            superlink.superlink_command(home, config),
            folder / "log" / "superlink.log",
            env=environment,
            cwd=folder,
            is_ready=answers,
            ready_within=READY_WITHIN_SECONDS,
            is_healthy=answers,
        ),
        Child(
            SUPEREXEC,
            superlink.superexec_command(home, config),
            folder / "log" / "superexec.log",
            env=environment,
            cwd=folder,
            after=(SUPERLINK,),
        ),
        Child(
            EDGE,
            (sys.executable, "-m", "server.edge_server", str(folder)),
            folder / "log" / "edge.log",
            env=environment,
            cwd=folder,
            after=(SUPERLINK,),
            is_ready=edge_answers(home, config),
            ready_within=READY_WITHIN_SECONDS,
            # Only that it answers: a 503 is the SuperLink's trouble, and mended there.
            is_healthy=edge_answers(home, config),
        ),
    )


def superlink_answers(home: FederationHome, config: CoordinatorConfig) -> Callable[[], bool]:
    """Whether the SuperLink says 200 to GET /health, as a question to be asked again and again."""

    def answers() -> bool:
        context = _trusting(home.loopback_ca)
        return context is not None and status(config.superlink_port, context) == 200

    return answers


def edge_answers(home: FederationHome, config: CoordinatorConfig) -> Callable[[], bool]:
    """Whether the edge answers GET /health at all, under the certificate that it should show."""

    def answers() -> bool:
        context = _trusting(home.ca)
        if context is None:
            return False
        # Its certificate names public hosts; this asks by loopback.
        context.check_hostname = False
        host = config.bind if config.bind not in ("0.0.0.0", "::") else superlink.LOOPBACK  # noqa: S104 - compared, not bound
        return status(config.port, context, host) is not None

    return answers


def status(port: int, context: ssl.SSLContext, host: str = superlink.LOOPBACK) -> int | None:
    """Status of GET /health, or None if nobody answers as expected."""
    connection = http.client.HTTPSConnection(host, port, timeout=PROBE_SECONDS, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _trusting(ca: Path) -> ssl.SSLContext | None:
    try:
        return ssl.create_default_context(cafile=os.fspath(ca))
    except (OSError, ssl.SSLError):
        return None
