"""A deployed federation whose processes a test kills at a moment of its choice, and what is left.

Agents are seeded, so whatever was killed, the model has to come out as that of the embedded run;
and their ledgers have to hold the charges of that run, each once.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deployment import Process
from loopback_federation import HEDGEROW, SPLIT_SEED, LoopbackFederation

from client.site_home import SiteHome
from federation import config_file
from federation.run_folder import RunFolder
from privacy.ledger import verify
from simulations.example_config import example
from simulations.simulate import run
from simulations.sites import prepare

AGENT = Path(__file__).with_name("signalling_agent.py")
PATIENCE = 120.0

SERVERAPP, SUPERLINK, SUPEREXEC, EDGE = "serverapp", "superlink", "superexec", "edge"
MARKS = {
    SERVERAPP: b"flwr-serverapp",
    SUPERLINK: b"flower-superlink",
    SUPEREXEC: b"flower-superexec",
    EDGE: b"server.edge_server",
}
"""In the command line of each process that `coordinator up` has started, itself or not."""

Charges = list[tuple[str, object]]


def eventually(claim: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether `claim` comes true in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass(frozen=True)
class Undisturbed:
    """What the embedded run of the same settings came to.

    Attributes:
        settings: the federation.toml.
        model: bytes of the model's file.
        charges: per site, the kinds and rounds of its ledger's entries, in order.
    """

    settings: Path
    sites: tuple[str, ...]
    model: bytes
    charges: dict[str, Charges]


def undisturbed(folder: Path, sites: Sequence[str], *settings: str, task: str) -> Undisturbed:
    """Play the run in this process, with nobody killed."""
    path = folder / "federation.toml"
    path.write_text(example(task))
    wanted = [
        f"run.seed={SPLIT_SEED}",
        "simulation.baselines=false",
        f"federation.sites={json.dumps(list(sites))}",
        *settings,
    ]
    path.write_text(config_file.write_text(config_file.read(path, wanted)))
    embedded = prepare(config_file.read(path), folder / "embedded")
    run(embedded, config_file.read(embedded.config), lambda _: None)
    charged = {
        site: charges(SiteHome(embedded.site_home(site)), embedded.ledger(site)) for site in sites
    }
    return Undisturbed(path, tuple(sites), embedded.model.read_bytes(), charged)


def charges(home: SiteHome, ledger: Path) -> Charges:
    """Kind and round of every entry that stands in a ledger, after its chain was verified."""
    return [
        (entry.kind, entry.body.get("round"))
        for entry in verify(ledger, home.read_identity().public_key())
        if entry.kind in ("reserve", "commit", "void")
    ]


class FaultyFederation(LoopbackFederation):
    """Processes that can be found, held at a moment, and killed."""

    def start_signalling_site(self, site: str, seed: int = SPLIT_SEED) -> Process:
        """Its agent, which says what it is asked; its node runs beside it."""
        home = self.homes[site]
        line = [sys.executable, str(AGENT), str(home), str(seed)]
        agent = Process(line, self._environment, self.folder)
        self._processes.append(agent)
        agent.wait_for("listens")
        self.start("site", "node", home, says="online")
        return agent

    def start_run(self, *words: object) -> Process:
        """`hedgerow coordinator run`, which goes on by itself."""
        return self.start("coordinator", "run", self.fed, *words)

    # -- moments ------------------------------------------------------------------------------

    def hold(self, site: str, round_: int, phase: str) -> None:
        """Have the site's agent stop when it is asked that."""
        aside = self.homes[site] / "hold.part"
        aside.write_text(f"{round_} {phase}")
        aside.replace(self.homes[site] / "hold")

    def let_go(self, site: str) -> None:
        """Have it answer."""
        (self.homes[site] / "hold").unlink()

    def wait_held(self, site: str, round_: int, phase: str) -> None:
        """Return when its agent has stopped there."""
        said = f"holds {round_} {phase}\n"
        told = self.agents[site].lines
        assert eventually(lambda: said in told), "".join(told)

    # -- processes ----------------------------------------------------------------------------

    def find(self, role: str) -> list[int]:
        """Living processes of a role that belong to this coordinator."""
        folder, found = str(self.fed).encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (path / "cmdline").read_bytes()
                if MARKS[role] in line and b"child_keeper" not in line:
                    ours = folder in line or folder in (path / "environ").read_bytes()
                    state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    if ours and state not in "ZX":
                        found.append(int(path.name))
        return found

    def kill(self, role: str) -> None:
        """SIGKILL all processes of a role, and return when they are gone."""
        assert eventually(lambda: self.find(role)), f"no {role} runs"
        for pid in self.find(role):
            kill(pid)

    def kill_up(self) -> None:
        """SIGKILL `coordinator up`, and return when nothing that it ran is left."""
        kill(self.up.pid)
        assert eventually(lambda: not any(self.find(role) for role in MARKS))

    def resident(self, role: str) -> int:
        """Bytes of memory that the processes of a role hold."""
        pages = 0
        for pid in self.find(role):
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    # -- outcomes -----------------------------------------------------------------------------

    def charges(self, site: str) -> Charges:
        home = SiteHome(self.homes[site])
        return charges(home, home.ledger)

    def assert_as_if_undisturbed(self, expected: Undisturbed) -> None:
        """The model is the same bit for bit, and every site paid the same, once."""
        folder = RunFolder.open(self.last_run)
        assert folder.read_summary().run.status == "completed"
        for site in expected.sites:
            assert self.charges(site) == expected.charges[site], site
        assert folder.model.read_bytes() == expected.model

    def assert_nothing_is_left(self) -> None:
        """After `end`: no process, and no file that was written aside."""
        assert eventually(lambda: self.left() == [], 30), self.left()
        assert half_written(self.folder) == []


ASIDE = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names under which `write_atomically` writes aside."""


def half_written(folder: Path) -> list[Path]:
    """Files that were written aside and never took their place, and sockets that nobody serves."""
    return [path for path in folder.rglob("*") if path.is_socket() or ASIDE.fullmatch(path.name)]


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], PATIENCE)
        finally:
            os.close(handle)


@contextmanager
def faulty(folder: Path, expected: Undisturbed, task: str = "heart") -> Iterator[FaultyFederation]:
    """A federation with its coordinator and all sites up; nothing of it is left afterwards."""
    federation = FaultyFederation(folder, expected.sites, task)
    try:
        federation.up = federation.start_coordinator()
        federation.agents = {
            site: federation.start_signalling_site(site) for site in expected.sites
        }
        yield federation
    finally:
        for site in expected.sites:
            (federation.homes[site] / "hold").unlink(missing_ok=True)
        federation.end()
    federation.assert_nothing_is_left()


def ended(process: Process, seconds: float = 300.0) -> int:
    """Exit status of a command, with its output shown where it did not end."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError("".join(process.lines)) from None


__all__ = ["HEDGEROW", "FaultyFederation", "Undisturbed", "ended", "eventually", "faulty", "kill"]
