"""Starting and resuming a simulated run from what was typed; imports torch, so import it late."""

from dataclasses import dataclass
from pathlib import Path

from federation.config import FederationConfig
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.rounds import Observer
from simulations.simulate import require_resumable, run
from simulations.sites import prepare, read_config


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A prepared or interrupted run, ready to play."""

    folder: RunFolder
    config: FederationConfig

    def play(self, observe: Observer) -> Summary:
        """Run it to its end; see `simulations.simulate.run`."""
        return run(self.folder, self.config, observe)


def start(config: FederationConfig, path: Path | None, out: Path) -> ReadyRun:
    """A new run.

    Args:
        config: what is run.
        path: of the file it was read from; a task of one's own is looked for beside it.
        out: where run folders are kept.

    Raises:
        HedgerowError: configuration, task or data is wrong; then no run folder is made.
    """
    task_folder = Path.cwd() if path is None else path.resolve().parent
    folder = prepare(config, out, task_folder if ":" in config.task.name else None)
    return ReadyRun(folder, read_config(folder.path))


def go_on(folder: RunFolder, config: FederationConfig) -> ReadyRun:
    """An interrupted run.

    Args:
        folder: of the run.
        config: that stands there, with overrides.

    Raises:
        UsageError: an override would change the agreement.
        IntegrityError: the configuration is not the one that the run began with.
    """
    require_resumable(folder, config)
    return ReadyRun(folder, config)
