"""The folder of a sweep: what was planned, every run, and what it came to.

sweeps/<utc>-<name>-<short id>/
sweep.json  outcomes/<trial>-s<seed>.json  runs/<trial>-s<seed>/<run folder>  logs/
results.json  results.csv  results.parquet  sweep.html
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.file_lock import hold
from simulations.sweep.outcome import Outcome
from simulations.sweep.plan import SweepPlan

PATIENCE_SECONDS = 30.0
"""For workers of a sweep that was killed: they end by themselves within seconds."""


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Paths of one sweep; every write through it is atomic."""

    path: Path

    @classmethod
    def create(cls, parent: Path, plan: SweepPlan, now: datetime) -> "SweepFolder":
        """A new folder that holds the plan and nothing else.

        Raises:
            UsageError: it cannot be made there.
        """
        folder = cls(parent / f"{now:%Y%m%dT%H%M%SZ}-{plan.name}-{secrets.token_hex(3)}")
        try:
            for made in (folder.path / "outcomes", folder.path / "runs", folder.path / "logs"):
                made.mkdir(parents=True, mode=0o700)
            write_atomically(folder.plan, plan.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            raise UsageError(
                f"cannot write a sweep under {parent}: {error.strerror}; choose --out"
            ) from error
        return folder

    @property
    def plan(self) -> Path:
        """What is run; written first, never changed."""
        return self.path / "sweep.json"

    def read_plan(self) -> SweepPlan:
        """What was planned.

        Raises:
            UsageError: this is no folder of a sweep.
            IntegrityError: the plan is not what was written.
        """
        try:
            data = self.plan.read_bytes()
        except OSError as error:
            raise UsageError(f"{self.path} is no sweep: it holds no sweep.json") from error
        try:
            return SweepPlan.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityError(f"{self.plan} is not what was written") from error

    def runs(self, run: str) -> Path:
        """Where the run folder of a run is kept, by its name."""
        return self.path / "runs" / run

    def log(self, slot: int) -> Path:
        """What a worker wrote that was meant for nobody."""
        return self.path / "logs" / f"worker-{slot}.log"

    def _outcome(self, run: str) -> Path:
        return self.path / "outcomes" / f"{run}.json"

    def write_outcome(self, outcome: Outcome) -> None:
        """Record how a run ended."""
        write_atomically(
            self._outcome(outcome.run), outcome.model_dump_json(indent=1).encode() + b"\n"
        )

    def read_outcome(self, run: str) -> Outcome | None:
        """How a run ended; None if it has not.

        Raises:
            IntegrityError: the record is not what was written.
        """
        try:
            return Outcome.model_validate_json(self._outcome(run).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise IntegrityError(
                f"{self._outcome(run)} is not what was written; delete it, and the run is looked "
                "at again when the sweep is resumed"
            ) from error

    @contextmanager
    def sole_user(self) -> Iterator[int]:
        """Hold the sweep's lock; its descriptor is handed to workers, which hold it, too.

        Raises:
            UsageError: another process works on the sweep.
        """
        try:
            lock = hold(self.path / ".lock", PATIENCE_SECONDS)
        except BlockingIOError as error:
            raise UsageError(f"{self.path} is in use by another process") from error
        try:
            yield lock
        finally:
            os.close(lock)


def run_name(trial: int, seed: int) -> str:
    """Of one run.

    >>> run_name(3, 2026)
    '003-s2026'
    """
    return f"{trial:03d}-s{seed}"


def is_sweep(path: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (path / "sweep.json").is_file()


def runs_of_sweep(path: Path) -> list[Path]:
    """The run folders of a sweep, in the order of trials and seeds."""
    found = path.glob("runs/*/*/config.toml")
    named = [one.parent for one in found if re.fullmatch(r"\d+-s\d+", one.parent.parent.name)]
    return sorted(named, key=lambda one: tuple(map(int, one.parent.name.split("-s"))))
