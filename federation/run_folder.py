"""The run folder: what a run leaves behind, and what a resumed run starts from.

runs/<utc>-<name>-<short id>/
config.toml  environment.json  agreement.json  rounds.jsonl  partition.npz
consortium.pub  roster.json  run-rules.json  witness.json
model.safetensors  summary.json  report.html  failure.json
ledgers/<site>.sqlite  sites/<site>/  checkpoints/round-<k>.safetensors
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from federation import canonical
from federation.durable_file import append_durably, write_atomically
from federation.errors import IntegrityError, UsageError
from federation.file_lock import hold, is_held
from federation.summary import PartitionFacts, Summary

CHECKPOINTS = "checkpoints/round-*.safetensors"

PROBE_SECONDS = 0.5
"""For who only asks whether the folder is in use, and holds its lock for that moment."""


class Environment(BaseModel):
    """On what a run was prepared: `environment.json`.

    Attributes:
        versions: per package.
        platform: of the machine.
        git_commit: of the source tree; None for an installed package.
        seed: of the run.
        config_digest: SHA-256 of the canonical configuration.
        roster_digest: SHA-256 over the consortium's key and the certificates.
        task_folder: where the user's task module lies, if it is not installed.
        partition: how a simulation shared rows out, and the digest of the file that says which.
        availability_digest: SHA-256 of the trace by which simulated sites are online, if one was
            given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    versions: dict[str, str]
    platform: str
    git_commit: str | None
    seed: int
    config_digest: str
    roster_digest: str
    task_folder: str | None
    partition: PartitionFacts | None = None
    availability_digest: str | None = None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run; every write through it is atomic or a durable append."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str, now: datetime) -> "RunFolder":
        """A new empty run folder under `parent`.

        Raises:
            UsageError: the folder cannot be made there.
        """
        path = parent / f"{now:%Y%m%dT%H%M%SZ}-{name}-{secrets.token_hex(3)}"
        try:
            for folder in ("ledgers", "sites", "checkpoints"):
                (path / folder).mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"cannot write a run folder under {parent}: {error.strerror}; choose --out"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run folder.

        Raises:
            UsageError: `path` is no run folder.
        """
        if not (path / "config.toml").is_file():
            raise UsageError(
                f"{path} is no run folder: it holds no config.toml (a run that was killed while it "
                "was prepared is started again, not resumed)"
            )
        return cls(path)

    @contextmanager
    def sole_user(self) -> Iterator[None]:
        """Hold the folder's lock.

        Raises:
            UsageError: another process holds it; two on one run would get in each other's way. Or
                nothing can be written here.
        """
        try:
            lock = hold(self._lock, PROBE_SECONDS)
        except BlockingIOError as error:
            raise UsageError(f"{self.path} is in use by another process") from error
        try:
            yield
        finally:
            os.close(lock)

    @property
    def is_in_use(self) -> bool:
        """Whether a process holds the folder's lock now; nothing is written."""
        return is_held(self._lock)

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    @property
    def witness(self) -> Path:
        """How far every site's ledger had come, as signed by its owner and by those who saw it."""
        return self.path / "witness.json"

    @property
    def id(self) -> str:
        """Name of the folder; names the run in every message and ledger entry."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The configuration as it ran."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, commit, seeds and digests."""
        return self.path / "environment.json"

    @property
    def agreement(self) -> Path:
        """What all sites agreed to, byte for byte; a resumed run goes on under it."""
        return self.path / "agreement.json"

    @property
    def partition(self) -> Path:
        """Which rows each simulated site has, where a simulation shared them out."""
        return self.path / "partition.npz"

    @property
    def rounds(self) -> Path:
        """One JSON object a line, in the order of recording."""
        return self.path / "rounds.jsonl"

    @property
    def model(self) -> Path:
        """The final model's parameters."""
        return self.path / "model.safetensors"

    @property
    def summary(self) -> Path:
        """The summary, schema `hedgerow/summary/1`."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """The report, made from the summary alone."""
        return self.path / "report.html"

    @property
    def failure(self) -> Path:
        """Why the ServerApp of a deployed run ended without a summary; gone once it starts anew."""
        return self.path / "failure.json"

    def ledger(self, site: str) -> Path:
        """A simulated site's ledger."""
        return self.path / "ledgers" / f"{site}.sqlite"

    @property
    def holds_sites(self) -> bool:
        """Whether its sites live in it: those of a simulation do, real ones are elsewhere."""
        return (self.path / "sites").is_dir()

    def site_home(self, site: str) -> Path:
        """A simulated site's own folder: key, policy, journal, the consortium's files."""
        return self.path / "sites" / site

    def checkpoint(self, after_round: int) -> Path:
        """Model and optimizer state after a round."""
        return self.path / "checkpoints" / f"round-{after_round:04d}.safetensors"

    def latest_checkpoint(self) -> int:
        """After how many rounds the latest checkpoint is; 0 if there is none."""
        found = (path.stem.removeprefix("round-") for path in self.path.glob(CHECKPOINTS))
        return max((int(number) for number in found if number.isdigit()), default=0)

    def append_round(self, record: object) -> None:
        """Add one line to `rounds.jsonl`, durably."""
        append_durably(self.rounds, json.dumps(record, sort_keys=True, allow_nan=False).encode())

    def read_rounds(self) -> list[dict[str, object]]:
        """All whole lines of `rounds.jsonl`; a torn last line (a crash while writing) is dropped.

        Raises:
            IntegrityError: a line before the last is not JSON.
        """
        if not self.rounds.exists():
            return []
        lines = self.rounds.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise IntegrityError(f"{self.rounds}, line {number}: not JSON") from error
        return records

    def rewrite_rounds(self, records: list[dict[str, object]]) -> None:
        """Replace `rounds.jsonl`, for instance without the torn line of a crash."""
        lines = [json.dumps(record, sort_keys=True, allow_nan=False) + "\n" for record in records]
        write_atomically(self.rounds, "".join(lines).encode())

    def write_environment(self, environment: Environment) -> None:
        """Write `environment.json`."""
        content = canonical.encode(environment.model_dump(mode="json"))
        write_atomically(self.environment, content + b"\n")

    def read_environment(self) -> Environment:
        """Read `environment.json`.

        Raises:
            IntegrityError: it is missing or not what was written.
        """
        try:
            return Environment.model_validate_json(self.environment.read_bytes())
        except OSError as error:
            raise IntegrityError(f"cannot read {self.environment}: {error.strerror}") from error
        except ValidationError as error:
            raise IntegrityError(f"{self.environment} is not what was written") from error

    def write_summary(self, summary: Summary) -> None:
        """Write `summary.json`."""
        write_atomically(self.summary, summary.model_dump_json(indent=1).encode() + b"\n")

    def read_summary(self) -> Summary:
        """Read `summary.json`.

        Raises:
            UsageError: there is none.
            IntegrityError: it does not follow its schema.
        """
        if not self.summary.is_file():
            raise UsageError(f"{self.path} holds no summary.json: the run has not ended yet")
        try:
            return Summary.model_validate_json(self.summary.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise IntegrityError(f"{self.summary}: {where}: {first['msg']}") from error
