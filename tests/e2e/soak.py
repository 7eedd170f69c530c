"""A soak: a deployed federation that trains for long while its processes are killed at random.

    python tests/e2e/soak.py --rounds 72 --sites 5 --kills 40 --minutes 120 --seed 6

Sites and coordinator run as they are deployed: `site up` and `coordinator up`, with the operating
system's randomness. This stands where systemd would: what ends and was not told to is started
again, and a run that was interrupted is resumed. At the end, the rounds, the ledgers, the
processes, the descriptors and the files are held against each other, and a summary is printed as
JSON. Exit status 1 if anything was lost, spent unseen or left behind.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import dp_accounting
from dp_accounting.pld import PLDAccountant
from faulty_federation import half_written
from loopback_federation import HEDGEROW, SPLIT_SEED, LoopbackFederation

from client.site_home import SiteHome
from federation import config_file
from federation.errors import HedgerowError, Interrupted, RoundFailed
from federation.run_folder import RunFolder
from federation.timestamp import utc_now
from privacy.ledger import Ledger, verify
from privacy.ledger_entry import Entry
from server.run_record import RoundRecord, finished_rounds
from simulations.example_config import example

TASK = "acs-employment"
SITES = tuple(f"region-{number:02d}" for number in range(1, 13))
COORDINATOR, RUN = "coordinator", "run"
PARTS = {
    "superlink": "flower-superlink",
    "superexec": "flower-superexec",
    "serverapp": "flwr-serverapp",
    "edge": "server.edge_server",
    "up": "coordinator up",
    "run": "coordinator run",
    "agent": "site agent",
    "node": "site node",
    "site": "site up",
}
"""What may be killed, and how its command line is told."""
AT_SITES = ("agent", "node", "site")
RESUMED = {RoundFailed.exit_code, Interrupted.exit_code, 128 + signal.SIGKILL, -signal.SIGKILL}
"""Exit statuses of `coordinator run` after which an operator types `--resume`."""
LOOK_SECONDS = 0.2
SETTLE_SECONDS = 60.0
MOST_DESCRIPTORS_MORE = 24
"""That a process may hold at the end beyond what it held when it was first seen at rest."""


@dataclass
class Standing:
    """A command that is started again whenever it ended, as systemd would."""

    words: tuple[str, ...]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    def keep(self, environment: dict[str, str], folder: Path) -> None:
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [*HEDGEROW, *self.words], env=environment, cwd=folder, stdout=log, stderr=log
                )
            self.starts += 1

    def end(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(SETTLE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Told:
    """What happened on the way."""

    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    exits: list[int] = field(default_factory=list)
    largest: dict[str, int] = field(default_factory=dict)
    descriptors: dict[str, tuple[int, int]] = field(default_factory=dict)


class Soak:
    """The federation, what keeps it up, and what breaks it."""

    def __init__(self, folder: Path, sites: int, rounds: int, seed: int) -> None:
        self.sites, self.rounds, self.chance = SITES[:sites], rounds, random.Random(seed)
        self.federation = LoopbackFederation(folder, self.sites, TASK, epsilon=8.0)
        self.folder, self.told = folder, Told()
        self.config = folder / "federation.toml"
        self.config.write_text(example(TASK))
        settings = [
            f"run.rounds={rounds}",
            "run.attempts_per_round=5",
            f"run.seed={SPLIT_SEED}",
            "simulation.baselines=false",
            "federation.round_timeout_seconds=60",
            f"federation.sites={json.dumps(list(self.sites))}",
            "privacy.epsilon=6.0",
            "privacy.delta=0.00001",
            "training.local_steps=2",
        ]
        self.config.write_text(config_file.write_text(config_file.read(self.config, settings)))
        up = ("coordinator", "up", str(self.federation.fed))
        self.standing = {COORDINATOR: Standing(up, folder / "up.out")}
        for site in self.sites:
            words = ("site", "up", str(self.federation.homes[site]))
            self.standing[site] = Standing(words, folder / f"{site}.out")
        self.running: subprocess.Popen[bytes] | None = None

    # -- running ------------------------------------------------------------------------------

    def play(self, kills: int, seconds: float) -> bool:
        """Run to the end or until the time is up; whether all rounds were run."""
        moments = sorted(self.chance.uniform(0.2, self.rounds) for _ in range(kills))
        end, began, last, done = time.monotonic() + seconds, time.monotonic(), 0.0, 0
        pace: list[float] = []
        while time.monotonic() < end:
            self.keep_up()
            if self.has_ended():
                return True
            now = self.completed()
            if now != done:
                pace.append((time.monotonic() - began - last) / (now - done))
                last, done = time.monotonic() - began, now
                self.look()
            within = (time.monotonic() - began - last) / (statistics.median(pace or [10.0]) + 0.1)
            # A round that takes long for what was killed in it is not killed again and again.
            due = done + min(0.95, within)
            while moments and moments[0] <= due and self.is_on_its_way():
                moments.pop(0)
                self.kill_something()
            time.sleep(LOOK_SECONDS)
        return False

    def keep_up(self) -> None:
        for standing in self.standing.values():
            standing.keep(self.federation._environment, self.folder)

    def has_ended(self) -> bool:
        """Start the run, or resume it; whether it has come to its end.

        Raises:
            HedgerowError: it ended with an error that no operator would answer with --resume.
        """
        if self.running is not None:
            status = self.running.poll()
            if status is None:
                return False
            self.told.exits.append(status)
            if status == 0:
                return True
            text = (self.folder / "run.out").read_text()[-3000:]
            # No SuperLink, while `coordinator up` is being started again: 2, as any wrong usage.
            is_down = status == 2 and "no SuperLink answers" in text
            if status not in RESUMED and not is_down:
                raise HedgerowError(f"coordinator run ended with status {status}:\n{text}")
        elif not self.is_up():
            return False
        folder = self.run_folder
        what = ("--resume", folder.id) if folder else (str(self.config),)
        self.told.resumed += folder is not None
        with (self.folder / "run.out").open("ab") as log:
            self.running = subprocess.Popen(
                [*HEDGEROW, "coordinator", "run", str(self.federation.fed), *what],
                env=self.federation._environment, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        return False

    def is_up(self) -> bool:
        """Whether the coordinator has said so; sites may come later."""
        up = self.standing[COORDINATOR].log
        return up.exists() and "all processes are ready" in up.read_text()

    def is_on_its_way(self) -> bool:
        return self.run_folder is not None and self.run_folder.agreement.exists()

    @property
    def run_folder(self) -> RunFolder | None:
        with suppress(ValueError, FileNotFoundError):
            path = max(self.federation.fed.joinpath("runs").iterdir())
            return RunFolder(path) if (path / "config.toml").exists() else None
        return None

    def completed(self) -> int:
        folder = self.run_folder
        return 0 if folder is None else len(completed_rounds(folder))

    def kill_something(self) -> None:
        part = self.chance.choice(list(PARTS))
        pids = sorted(pid for pid, name in self.processes() if name.split("@")[0] == part)
        if not pids:
            self.told.missed[part] += 1
            return
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(pids), signal.SIGKILL)
        self.told.kills[part] += 1

    # -- looking ------------------------------------------------------------------------------

    def processes(self) -> Iterator[tuple[int, str]]:
        """Every process of the federation, by its part; those at sites as part@site."""
        ours = str(self.folder)
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                part = next((part for part, mark in PARTS.items() if mark in line), None)
                if part is None or "child_keeper" in line:
                    continue
                if ours in line or ours in (path / "environ").read_bytes().decode():
                    site = next((s for s in self.sites if f"/{s}" in line), "")
                    yield int(path.name), f"{part}@{site}" if part in AT_SITES else part

    def look(self) -> None:
        """Note memory and open descriptors of everything that runs."""
        for pid, name in self.processes():
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                size = pages * os.sysconf("SC_PAGE_SIZE") // 2**20
                self.told.largest[name] = max(size, self.told.largest.get(name, 0))
                held = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                key = f"{name}:{pid}"
                first, _ = self.told.descriptors.get(key, (held, held))
                self.told.descriptors[key] = (first, held)

    # -- the end ------------------------------------------------------------------------------

    def end(self) -> None:
        """End everything in order, with time to finish."""
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.running.wait(SETTLE_SECONDS)
            self.running.kill()
            self.running.wait()
        for standing in reversed(self.standing.values()):
            standing.end()

    def left_processes(self) -> list[str]:
        deadline = time.monotonic() + SETTLE_SECONDS
        # Whoever started this, such as a shell, may name its folder, too.
        while left := [line for line in self.federation.left() if "soak.py" not in line]:
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        return left

    def faults(self) -> list[str]:
        """Everything that is not as it should be."""
        folder = self.run_folder
        assert folder is not None
        found = [f"process left: {line}" for line in self.left_processes()]
        found += [f"file left: {path}" for path in half_written(self.folder)]
        found += [
            f"{name} holds {last} descriptors, {first} at first"
            for name, (first, last) in self.told.descriptors.items()
            if last > first + MOST_DESCRIPTORS_MORE
        ]
        rounds = completed_rounds(folder)
        if sorted(rounds) != list(range(1, len(rounds) + 1)):
            found.append(f"rounds were lost: {sorted(rounds)}")
        for site in self.sites:
            found += budget_faults(SiteHome(self.federation.homes[site]), site, folder, rounds)
        return found

    def summary(self, all_run: bool, seconds: float, faults: list[str]) -> dict[str, object]:
        folder, told = self.run_folder, self.told
        assert folder is not None
        records = finished_rounds(folder)
        lost = sum(len(record.round.dropped) for record in records)
        return {
            "rounds_wanted": self.rounds,
            "rounds_completed": len(completed_rounds(folder)),
            "all_rounds_run": all_run,
            "failed_rounds_tried_again": sum(r.round.status == "failed" for r in records),
            "sites": len(self.sites),
            "contributions_missed": lost,
            "minutes": round(seconds / 60, 1),
            "kills": dict(sorted(told.kills.items())),
            "kills_in_all": told.kills.total(),
            "kills_that_found_nothing": dict(told.missed),
            "run_resumed": told.resumed,
            "starts": {name: one.starts for name, one in self.standing.items()},
            "largest_mebibytes": dict(sorted(told.largest.items())),
            "superlink_database_mebibytes": round(
                sum(p.stat().st_size for p in self.federation.fed.rglob("state.db*")) / 2**20, 1
            ),
            "ledgers": {site: spent(SiteHome(self.federation.homes[site])) for site in self.sites},
            "faults": faults,
        }


def completed_rounds(folder: RunFolder) -> dict[int, RoundRecord]:
    """Completed training rounds by number."""
    if not folder.rounds.exists():
        return {}
    return {
        record.round.round: record
        for record in finished_rounds(folder)
        if (record.round.kind, record.round.status) == ("train", "completed")
    }


def budget_faults(
    home: SiteHome, site: str, folder: RunFolder, rounds: dict[int, RoundRecord]
) -> list[str]:
    """What a site's ledger counts too little, or twice, by what the coordinator recorded."""
    entries = verify(home.ledger, home.read_identity().public_key())
    reserved = reservations(entries, folder.id)
    released = {entry.body["reservation"] for entry in entries if entry.kind == "commit"}
    found = [
        f"{site}: round {number} is charged {len(seqs)} times"
        for number, seqs in reserved.items()
        if len(seqs) > 1
    ]
    for number, record in rounds.items():
        if site in record.round.survivors and not released & set(reserved.get(number, ())):
            found.append(f"{site}: its part in round {number} is not charged as released")
    ledger = Ledger.open(home.ledger, home.read_identity(), utc_now)
    try:
        told, delta = ledger.spent().epsilon, ledger.account().in_force().record.delta
    finally:
        ledger.close()
    again = recomputed_epsilon(entries, delta)
    if told < again * (1 - 1e-3):
        found.append(f"{site}: the ledger says epsilon {told:.6f}, its charges come to {again:.6f}")
    return found


def reservations(entries: tuple[Entry, ...], run: str) -> dict[int, list[int]]:
    """Per round, the entries that charge it and were not voided."""
    voided = {entry.body["reservation"] for entry in entries if entry.kind == "void"}
    found: dict[int, list[int]] = {}
    for entry in entries:
        if entry.kind == "reserve" and entry.body["run"] == run and entry.seq not in voided:
            found.setdefault(int(str(entry.body["round"])), []).append(entry.seq)
    return found


def recomputed_epsilon(entries: tuple[Entry, ...], delta: float) -> float:
    """What all standing charges cost by dp_accounting, from the parameters in the entries alone."""
    voided = {entry.body["reservation"] for entry in entries if entry.kind == "void"}
    accountant = PLDAccountant()
    kinds: Counter[tuple[float, float, int]] = Counter()
    for entry in entries:
        if entry.kind == "reserve" and entry.seq not in voided:
            event = entry.body["event"]
            assert isinstance(event, dict)
            assert event["mechanism"] == "poisson_sampled_gaussian", event
            kinds[event["sampling_rate"], event["noise_multiplier"], event["count"]] += 1
    for (rate, noise, steps), times in kinds.items():
        gaussian = dp_accounting.GaussianDpEvent(noise)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, gaussian), steps * times)
    return float(accountant.get_epsilon(delta)) if kinds else 0.0


def spent(home: SiteHome) -> dict[str, float | int]:
    entries = verify(home.ledger, home.read_identity().public_key())
    kinds = Counter(entry.kind for entry in entries)
    ledger = Ledger.open(home.ledger, home.read_identity(), utc_now)
    try:
        return {
            "reserved": kinds["reserve"],
            "committed": kinds["commit"],
            "voided": kinds["void"],
            "epsilon": round(ledger.spent().epsilon, 4),
        }
    finally:
        ledger.close()


def main() -> int:
    """Play, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=72)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--folder", type=Path, help="kept afterwards; else a temporary one")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as temporary:
        folder = wanted.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, wanted.sites, wanted.rounds, wanted.seed)
        began, all_run, trouble = time.monotonic(), False, []
        try:
            all_run = soak.play(wanted.kills, 60 * wanted.minutes)
        except HedgerowError as error:
            trouble = [str(error)]
        finally:
            soak.end()
        faults = trouble + soak.faults()
        summary = soak.summary(all_run, time.monotonic() - began, faults)
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
