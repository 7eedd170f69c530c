"""A site's agent as its own process that meets with the faults a test wrote down for it.

`python scripted_agent.py HOME`: the product's agent, opened as `hedgerow site agent` opens it, with
a script around its answers. The script is a JSON file beside the home (see `Script`), read anew for
each request, so that a test can add to it while the agent runs and an agent that was killed goes on
with what is left of it. What the agent made and gave is noted there, too, for the test to check.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from client import deployed_agent, home_opening, site_processes
from client.round_vectors import RoundVectors
from client.site_home import SiteHome
from federation.durable_file import append_durably, write_atomically
from federation.envelope import Received


@dataclass(frozen=True)
class Step:
    """One fault, met once.

    Attributes:
        phase: of the request, or of its rider, that it befalls.
        do: `agent`, `node` or `both` are killed; `wait`: until the test opens the gate; `none`.
        when: `before` the answer is made, or `after`, when it is made and not given yet.
        round: of the request; 0 for any.
    """

    phase: str
    do: str
    when: str = "before"
    round: int = 0


class Script:
    """The files of one site's script.

    Attributes:
        gate: a FIFO that a waiting agent reads from.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._steps = home.with_suffix(".script.json")
        self._skew = home.with_suffix(".skew")
        self._vectors = home.with_suffix(".vectors.jsonl")
        self._met = home.with_suffix(".met.jsonl")
        self.gate = home.with_suffix(".gate")

    def write(self, *steps: Step) -> None:
        """Replace the script."""
        write_atomically(self._steps, json.dumps([asdict(one) for one in steps]).encode())

    @property
    def steps(self) -> list[Step]:
        """What is still to come, in order."""
        try:
            return [Step(**one) for one in json.loads(self._steps.read_bytes())]
        except FileNotFoundError:
            return []

    def taken(self, phase: str, round_: int, when: str) -> Step | None:
        """The next step, if it is for this request; it is crossed out."""
        steps = self.steps
        if not steps or (steps[0].phase, steps[0].when) != (phase, when):
            return None
        if steps[0].round not in (0, round_):
            return None
        self.write(*steps[1:])
        append_durably(self._met, json.dumps(asdict(steps[0]) | {"at": round_}).encode())
        return steps[0]

    @property
    def met(self) -> list[dict]:
        """The steps that were taken, with the round each befell as `at`."""
        return _lines(self._met)

    def skew_clock(self, seconds: float) -> None:
        """Set how far the agent's clock is ahead, from its next request on."""
        write_atomically(self._skew, str(seconds).encode())

    @property
    def skew(self) -> float:
        try:
            return float(self._skew.read_text())
        except FileNotFoundError:
            return 0.0

    def note_vector(self, run: str, round_: int, entry: int, digest: str) -> None:
        made = {"run": run, "round": round_, "entry": entry, "sha256": digest}
        append_durably(self._vectors, json.dumps(made).encode())

    @property
    def vectors(self) -> list[dict]:
        """What was made to be masked: run, round, ledger entry (0: uncharged) and SHA-256."""
        return _lines(self._vectors)

    def open_gate(self) -> None:
        """Let an agent that waits go on; blocks until one waits."""
        if not self.gate.exists():
            os.mkfifo(self.gate)
        self.gate.write_bytes(b"go on")

    def wait_at_gate(self) -> None:
        with suppress(FileExistsError):
            os.mkfifo(self.gate)
        self.gate.read_bytes()


def _lines(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []


def process_of(home: Path, command: str) -> int | None:
    """The process that is `hedgerow site COMMAND HOME`, or the scripted agent of that home."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if str(home) not in words or any("child_keeper" in word for word in words):
                continue
            if command in words or (command == "agent" and str(Path(__file__)) in words):
                return int(path.parent.name)
    return None


def _meet(script: Script, step: Step) -> None:
    if step.do == "wait":
        script.wait_at_gate()
    if step.do in ("node", "both"):
        node = process_of(script.home, "node")
        if node is not None:
            os.kill(node, signal.SIGKILL)
            # So that who looks there afterwards reads what the next node says.
            (script.home / "node.json").unlink(missing_ok=True)
    if step.do in ("agent", "both"):
        os.kill(os.getpid(), signal.SIGKILL)


def _scripted(script: Script, answer: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def scripted(data: bytes) -> bytes:
        received = Received.from_bytes(data)
        heads = [received.head, *([received.rider.head] if received.rider else [])]
        places = [(str(head.phase), head.round) for head in heads]
        for when in ("before", "after"):
            if when == "after":
                reply = answer(data)
            for phase, round_ in places:
                step = script.taken(phase, round_, when)
                if step is not None:
                    _meet(script, step)
        return reply

    return scripted


def main(home: Path) -> None:
    """As `client.site_processes.serve_agent`, with the script around it."""
    script = Script(home)
    contribute, complete = RoundVectors.contribute, home_opening._deployed

    def noted(self, bench, terms, kind, given):
        entry, vector = contribute(self, bench, terms, kind, given)
        digest = hashlib.sha256(vector.buffer).hexdigest()
        script.note_vector(terms.run, terms.round, entry, digest)
        return entry, vector

    def skewed(home_, assets):
        return replace(complete(home_, assets), clock=lambda: time.time() + script.skew)

    opened = deployed_agent.open_deployed_agent

    def open_scripted(home_):
        deployed = opened(home_)
        return replace(deployed, answer=_scripted(script, deployed.answer))

    RoundVectors.contribute, home_opening._deployed = noted, skewed
    deployed_agent.open_deployed_agent = open_scripted
    site_processes.serve_agent(SiteHome(home))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
