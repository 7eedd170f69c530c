"""A task as a run trains it: with the layers that stay at the sites, and with its mitigation."""

from federation.config import Mitigation
from federation.local_layers import personalised
from federation.mitigated_task import mitigated
from federation.task import Task
from federation.training_choice import Training


def as_trained(task: Task, training: Training, mitigation: Mitigation | None) -> Task:
    """The task as every side of a run takes it; itself where nothing is asked for.

    Args:
        task: as the user wrote it.
        training: as configured or agreed.
        mitigation: as agreed: with weights, for reweighing.

    Raises:
        ConfigError: the layers or the mitigation are impossible for this task.
    """
    return mitigated(personalised(task, training.local_layers), mitigation)
