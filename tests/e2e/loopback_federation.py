"""A whole federation on loopback, set up by the product's own commands and run by its processes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deployment import (
    BIN,
    LOOPBACK,
    STARTING_SECONDS,
    Process,
    flower_environment,
    free_port,
)
from faulty_line import FaultyLine  # noqa: TC002 - a type that readers look up here

import hedgerow
from federation import config_file
from federation.consortium_files import ConsortiumFiles
from federation.site_connection import SiteConnection
from federation.site_policy import SitePolicy
from federation.task import SiteRequest
from federation.task_loading import load_task
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome
from simulations.example_config import example

HEDGEROW = (sys.executable, "-P", "-m", "hedgerow")
AGENT = Path(__file__).with_name("seeded_agent.py")
SITE = Path(__file__).with_name("scripted_site.py")
SPLIT_SEED = 7
PORTS = ("superlink_port", "health_port", "metrics_port", "console_port")


def until(claim: Callable[[], bool], run: Process | None = None, seconds: float = 240) -> None:
    """Return when `claim` holds; fails if it never does, or if the run ends before."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert run is None or run.status is None, run.text
        assert time.monotonic() < deadline, run.text if run else "it never came to that"
        time.sleep(0.05)


def command(*words: object) -> None:
    """A command of the product, in this process: what it refuses, it raises."""
    hedgerow.command_line(str(words[0])).main([str(word) for word in words], standalone_mode=False)


class LoopbackFederation:
    """Folders of a coordinator and its sites, and the processes that were started over them.

    Attributes:
        fed: the coordinator's folder.
        homes: per site its home.
        lines: of sites whose node a test put behind a line that it can break.
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str],
        task: str = "heart",
        epsilon: float = 4.0,
        split_seed: int = SPLIT_SEED,
    ) -> None:
        self.folder, self.fed = folder, folder / "fed"
        self.homes = {site: folder / site for site in sites}
        self._processes: list[Process] = []
        self.lines: dict[str, FaultyLine] = {}
        self._environment = flower_environment(folder / "flwr-unused")
        command("coordinator", "init", self.fed, "--name", "demo", "--host", "localhost",
                "--port", free_port())  # fmt: skip
        settings = FederationHome(self.fed).config_file
        config = CoordinatorConfig.read(settings)
        ours = {name: free_port() for name in PORTS} | {"bind": "127.0.0.1"}
        config.model_copy(update=ours).write(settings)
        loaded = load_task(task, {})
        for site, home in self.homes.items():
            rows = len(loaded.load(SiteRequest(site, split_seed)).train)
            command("site", "init", home, "--name", site, "--federation", "demo", "--task", task,
                    "--dataset", f"{task}/{site}", "--rows", rows, "--epsilon", epsilon,
                    "--split-seed", split_seed)  # fmt: skip
        command("coordinator", "enroll", self.fed,
                *(home / f"{site}.request" for site, home in self.homes.items()))  # fmt: skip
        command("coordinator", "bundle", self.fed)
        self.release(task)

    def release(self, task: str = "heart") -> None:
        """Sign the roster, and have every site join, countersign and approve."""
        command("coordinator", "roster", "sign", self.fed)
        for site, home in self.homes.items():
            package = self.fed / "packages" / f"{site}.hedgerow"
            command("site", "join", home, package, "--roster-digest", self.roster_digest)
            (bundle,) = (self.fed / "app").glob("*.fab")
            command("site", "approve", home, bundle, "--yes")
            command("site", "approve-task", home, task, "--yes")
        signed = [home / f"{site}.countersign" for site, home in self.homes.items()]
        command("coordinator", "roster", "accept", self.fed, *signed)

    @property
    def roster_digest(self) -> str:
        return ConsortiumFiles(self.fed).read_roster_of_any_time().digest()

    # -- processes ----------------------------------------------------------------------------

    def start(self, *words: object, says: str | None = None) -> Process:
        """A command of the product as a process; waits until it says `says`."""
        process = Process(self.line(*words), self._environment, self.folder)
        self._processes.append(process)
        if says:
            process.wait_for(says)
        return process

    @staticmethod
    def line(*words: object) -> list[str]:
        """A command of the product, as a process is given it."""
        return [*HEDGEROW, *map(str, words)]

    def start_coordinator(self) -> Process:
        return self.start("coordinator", "up", self.fed, says="all processes are ready")

    def start_site(self, site: str) -> Process:
        return self.start("site", "up", self.homes[site], says="node: online")

    def start_guarded_site(self, site: str) -> Process:
        """A site with Flower's own SuperNode, and the guard behind it."""
        home, there = self.homes[site], SiteConnection.read(self.homes[site] / "connection.toml")
        secret, runtime = home / "supernode.secret", f"{LOOPBACK}:{free_port()}"
        secret.write_bytes(os.urandom(32))
        agent = self.start("site", "agent", home, says="listens")
        supernode = Process(
            [
                str(BIN / "flower-supernode"), "--superlink", there.superlink,
                "--root-certificates", str(home / "ca.pem"),
                "--auth-supernode-private-key", str(home / "node-key"),
                "--host", LOOPBACK, "--port", runtime.rsplit(":", 1)[1],
                "--isolation", "process", "--superexec-auth-secret-file", str(secret),
            ],
            self._environment,
            self.folder,
        )  # fmt: skip
        self._processes.append(supernode)
        supernode.wait_for("SuperNode ID")
        self.start("site", "guard", home, "--supernode", runtime, "--secret", secret,
                   says="guard behind")  # fmt: skip
        return agent

    def start_seeded_site(self, site: str, seed: int) -> tuple[Process, Process]:
        """Agent and node of a site whose batches and noise come from a seed: in tests only."""
        home = self.homes[site]
        line = [sys.executable, str(AGENT), str(home), str(home / "ledger.sqlite"), str(seed)]
        agent = Process(line, self._environment, self.folder)
        self._processes.append(agent)
        agent.wait_for("listens")
        return agent, self.start("site", "node", home, says="online")

    def start_script(self, script: Path, *words: object, says: str | None = None) -> Process:
        """A script of these tests as a process."""
        line = [sys.executable, str(script), *map(str, words)]
        process = Process(line, self._environment, self.folder)
        self._processes.append(process)
        if says:
            process.wait_for(says)
        return process

    def route(self, site: str, port: int) -> None:
        """Have a site's node connect to this port of this machine."""
        self.route_home(self.homes[site], port)

    @staticmethod
    def route_home(home: Path, port: int) -> None:
        """As `route`, for a home that may be a copy."""
        path = home / "connection.toml"
        there = SiteConnection.read(path)
        there.model_copy(update={"superlink": f"localhost:{port}"}).write(path)

    def start_scripted_sites(self, *sites: str) -> dict[str, Process]:
        """These sites, or all, with agents that meet with what scripted_agent.py reads."""
        started = {s: self.start_script(SITE, self.homes[s]) for s in sites or self.homes}
        return self._online(started)

    def start_sites(self) -> dict[str, Process]:
        """`hedgerow site up` for all sites."""
        return self._online({s: self.start("site", "up", h) for s, h in self.homes.items()})

    @staticmethod
    def _online(started: dict[str, Process]) -> dict[str, Process]:
        for process in started.values():
            process.wait_for("node: online", seconds=STARTING_SECONDS * len(started))
        return started

    def settings(self, *overrides: str, task: str = "heart") -> Path:
        """A federation.toml for all sites of this federation."""
        path = self.folder / "federation.toml"
        text = example(task)
        if 'privacy.mode="off"' in overrides:
            text = re.sub(r"(?m)^epsilon = .*\n", "", text)
        path.write_text(text)
        sites = f"federation.sites={json.dumps(list(self.homes))}"
        config = config_file.read(path, [sites, "simulation.baselines=false", *overrides])
        path.write_text(config_file.write_text(config))
        return path

    def run(self, config: Path, *options: str, seconds: float = 400) -> subprocess.CompletedProcess:
        """`hedgerow coordinator run` to its end."""
        return self.coordinator("run", self.fed, config, *options, seconds=seconds)

    def coordinator(self, *words: object, seconds: float = 400) -> subprocess.CompletedProcess:
        """A command of the coordinator to its end."""
        return subprocess.run(
            [*HEDGEROW, "coordinator", *map(str, words)],
            cwd=self.folder, env=self._environment, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip

    @contextmanager
    def running(self, config: Path, *options: str) -> Iterator[Process]:
        """`hedgerow coordinator run` while a test does something to it; then it is ended."""
        process = self.start("coordinator", "run", self.fed, config, *options)
        try:
            yield process
        finally:
            process.end()

    @property
    def last_run(self) -> Path:
        return max((self.fed / "runs").iterdir())

    def set_policy(self, site: str, **values: object) -> None:
        """Change a site's own rules; its ledger keeps the budget it was opened with."""
        path = self.homes[site] / "site.toml"
        SitePolicy.read(path).model_copy(update=values).write(path)

    def end(self) -> None:
        """End every process that was started here, directly or not."""
        for process in reversed(self._processes):
            process.end()
        for process in self._processes:
            process.close()

    def left(self) -> list[str]:
        """Command lines of living processes that name a folder of this federation."""
        mark, found = str(self.folder).encode(), []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                line = path.read_bytes()
                # This process's own workers name all that it has ever imported from.
                is_own = int(path.parent.name) == os.getpid() or b"multiprocessing." in line
                if mark in line and not is_own:
                    found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        return found
