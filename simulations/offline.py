"""A simulation talks to nobody: no telemetry, no update check, no installs at run time."""

import os

OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def go_offline() -> None:
    """For this process, and for those that it starts from now on."""
    os.environ.update(OFFLINE)
