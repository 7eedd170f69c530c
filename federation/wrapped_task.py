"""A task that is another one but for some of it: its rows, its loss or its model."""

from dataclasses import dataclass

from torch import Tensor, nn

from federation.schema import TaskSchema
from federation.task import SiteData, SiteRequest, Task


@dataclass(frozen=True)
class WrappedTask:
    """The same one; who changes something of it does so in a subclass.

    Attributes:
        task: what it is made of.
    """

    task: Task

    @property
    def schema(self) -> TaskSchema:
        """As the task's."""
        return self.task.schema

    @property
    def sites(self) -> tuple[str, ...]:
        """As the task's."""
        return self.task.sites

    def build_model(self) -> nn.Module:
        """As the task's."""
        return self.task.build_model()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """As the task's."""
        return self.task.loss(output, target)

    def probabilities(self, output: Tensor) -> Tensor:
        """As the task's."""
        return self.task.probabilities(output)

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's."""
        return self.task.load(request)
