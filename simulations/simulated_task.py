"""The task of a simulated run, with everything that the simulation does to its rows."""

from federation.config import FederationConfig
from federation.run_folder import RunFolder
from federation.task import Task
from federation.task_loading import load_task


def simulated_task(folder: RunFolder, config: FederationConfig) -> Task:  # noqa: ARG001
    """The task as the sites of a run have it."""
    return load_task(config.task.name, config.task.options)
