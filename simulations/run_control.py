"""Starting and resuming a simulated run from what was typed; imports torch, so import it late."""

import os
from dataclasses import dataclass
from pathlib import Path

from federation import config_file
from federation.config import FederationConfig
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.rounds import Observer
from simulations.defaults import default_config
from simulations.simulate import config_to_resume, run
from simulations.sites import prepare, read_config

# A simulation talks to nobody: no telemetry, no update check, no installs at run time.
OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A prepared or interrupted run, ready to play."""

    folder: RunFolder
    config: FederationConfig

    def play(self, observe: Observer) -> Summary:
        """Run it to its end; see `simulations.simulate.run`."""
        os.environ.update(OFFLINE)
        return run(self.folder, self.config, observe)


def start(path: Path | None, task: str, overrides: list[str], out: Path) -> ReadyRun:
    """A new run of the configuration at `path`, or of a task's built-in federation.

    Raises:
        HedgerowError: configuration, task or data is wrong; then no run folder is made.
    """
    config = default_config(task, overrides) if path is None else config_file.read(path, overrides)
    task_folder = Path.cwd() if path is None else path.resolve().parent
    folder = prepare(config, out, task_folder if ":" in config.task.name else None)
    return ReadyRun(folder, read_config(folder.path))


def go_on(path: Path, overrides: list[str]) -> ReadyRun:
    """An interrupted run.

    Raises:
        UsageError: `path` is no run folder, or an override would change the agreement.
    """
    return ReadyRun(RunFolder.open(path), config_to_resume(path, overrides))
