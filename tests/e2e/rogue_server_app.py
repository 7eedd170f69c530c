"""A ServerApp that relays whatever bytes a test lays into a spool, to whichever node it names.

In place of `server/app.py` of an app bundle it is what a coordinator's own code may be: anything.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

SPOOL_FOLDER = "SPOOL"
LOOK_SECONDS = 0.05
PATIENCE = 120.0

app = ServerApp()


@app.main()
def main(grid: Grid, _: Context) -> None:
    """Until it is stopped."""
    folder = Path(SPOOL_FOLDER)
    while True:
        _lay(folder / "nodes", json.dumps(sorted(grid.get_node_ids())).encode())
        for asked in sorted(folder.glob("*.question")):
            node = int(asked.stem.split("-")[1])
            _lay(asked.with_suffix(".reply"), _asked(grid, node, asked.read_bytes()))
            asked.unlink()
        time.sleep(LOOK_SECONDS)


def _asked(grid: Grid, node: int, body: bytes) -> bytes:
    """What came back; an error with an exclamation mark before it."""
    content = RecordDict({"hedgerow": ConfigRecord({"request": body})})
    (pushed,) = grid.push_messages([Message(content, node, "query.enlist", ttl=60.0)])
    while True:
        for message in grid.pull_messages([pushed]):
            if message.has_error():
                return b"!" + message.error.reason.encode()
            return bytes(message.content["hedgerow"]["reply"])
        time.sleep(LOOK_SECONDS)


def _lay(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.part")
    aside.write_bytes(content)
    aside.replace(path)


@dataclass
class Spool:
    """The test's end of it."""

    folder: Path
    asked: int = 0

    @classmethod
    def create(cls, folder: Path) -> "Spool":
        folder.mkdir()
        return cls(folder)

    def nodes(self, count: int) -> list[int]:
        """Nodes that are online, once there are so many."""
        path = self.folder / "nodes"
        self._wait(lambda: path.exists() and len(json.loads(path.read_bytes())) >= count)
        return list(json.loads(path.read_bytes()))

    def ask(self, node: int, body: bytes) -> bytes:
        self.asked += 1
        question = self.folder / f"{self.asked:04d}-{node}.question"
        _lay(question, body)
        reply = question.with_suffix(".reply")
        self._wait(reply.exists)
        return reply.read_bytes()

    @staticmethod
    def _wait(claim) -> None:
        deadline = time.monotonic() + PATIENCE
        while not claim():
            assert time.monotonic() < deadline, "the rogue ServerApp does not answer"
            time.sleep(LOOK_SECONDS)
