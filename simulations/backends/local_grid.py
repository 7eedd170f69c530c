"""What a Grid without a SuperLink needs whoever plays its nodes: a run, nodes, and message ids."""

import itertools
from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from simulations.backends.flower_internals import (
    SERVER_NODE,
    assume_identity,
    empty_run,
    set_message_id,
)


class LocalGrid(Grid):
    """A Grid in this process whose nodes are all there from the start."""

    def __init__(self, run_id: int, nodes: range) -> None:
        """Let this process create messages for the nodes.

        Args:
            run_id: of the run that the grid serves.
            nodes: their ids.
        """
        self._run, self._nodes, self._ids = empty_run(run_id), nodes, itertools.count(1)
        assume_identity(run_id, SERVER_NODE)

    def set_run(self, run: Run) -> None:
        """Serve another run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid serves."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return list(self._nodes)

    def identify(self, message: Message) -> str:
        """Give a message the next id, as a SuperLink would; returns it."""
        name = f"instruction-{next(self._ids)}"
        set_message_id(message, name)
        return name
