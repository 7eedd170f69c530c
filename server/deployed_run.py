"""A run on real sites, as its command sees it: rounds as they are recorded, then the summary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from federation.agreement import Agreement
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.deployed_work import DeployedWork, Patience, Tell
from server.flower_control import FlowerControl
from server.rounds import Observer, Progress
from server.run_record import finished_rounds


@dataclass
class DeployedRun:
    """A prepared or interrupted run folder, and the SuperLink it runs on.

    Attributes:
        control: of the SuperLink.
        folder: of the run.
        bundle: the app bundle that is shipped; every site has to have approved it.
        tell: gets a line of text on what happens apart from rounds.
    """

    control: FlowerControl
    folder: RunFolder
    bundle: bytes
    tell: Tell
    patience: Patience = field(default_factory=Patience)

    def play(self, observe: Observer) -> Summary:
        """Run it to its end; returns the summary that stands in the folder then.

        Args:
            observe: told of every round that is recorded from now on.

        Raises:
            Interrupted: Ctrl-C, or somebody stopped it; it can be resumed.
            HedgerowError: the run's own error, with its own exit code.
        """
        rounds = _Rounds(self.folder, observe)
        DeployedWork(self.control, rounds, self.bundle, self.tell, self.patience).to_the_end()
        return self.folder.read_summary()


class _Rounds:
    """Work that trains; tells of rounds as they are recorded, each once."""

    def __init__(self, folder: RunFolder, observe: Observer) -> None:
        self.folder, self._observe = folder, observe
        self._seen = len(finished_rounds(folder))
        self._size = -1

    @property
    def failure(self) -> Path:
        """See `Work`."""
        return self.folder.failure

    @property
    def settings(self) -> Mapping[str, str]:
        """See `Work`."""
        return {"run": str(self.folder.path.absolute())}

    def is_done(self) -> bool:
        """Whether the run has its summary."""
        return self.folder.summary.is_file()

    def tell_news(self) -> bool:
        """Tell of those that are new; whether there were any."""
        size = self.folder.rounds.stat().st_size if self.folder.rounds.exists() else 0
        if size == self._size:
            return False
        self._size = size
        records = finished_rounds(self.folder)
        new = records[self._seen :]
        if not new:
            return False
        agreement = Agreement.from_bytes(self.folder.agreement.read_bytes())
        done = len(records) - len(new)
        for number, record in enumerate(new, start=done + 1):
            completed = sum(one.round.status == "completed" for one in records[:number])
            self._observe(Progress(agreement, record, completed))
        self._seen = len(records)
        return True
