"""The folder a coordinator keeps for one federation.

coordinator.toml  consortium.pub  roster.json  run-rules.json  membership.json  run-rules.toml
revoked.json  ca/  tls/  consortium/  sites/  countersignatures/  packages/  app/  superlink/  runs/
audit.jsonl  log/
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from federation import revocation
from federation.audit_log import AuditLog
from federation.bounded_file import read_bounded
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.file_lock import hold
from federation.membership import read_membership
from federation.revocation import RevocationList
from server.coordinator_config import CoordinatorConfig

PATIENCE_SECONDS = 10.0
"""How long a command waits for another one that changes the same folder."""


@dataclass(frozen=True, slots=True)
class FederationHome:
    """Paths of one federation's folder at its coordinator."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Ports, host names, validities."""
        return self.path / "coordinator.toml"

    @property
    def given(self) -> ConsortiumFiles:
        """What the consortium signed: its key, the roster, the run rules, the release."""
        return ConsortiumFiles(self.path)

    @property
    def rules_draft(self) -> Path:
        """The run rules as people edit them; `roster sign` signs them."""
        return self.path / "run-rules.toml"

    @property
    def revoked(self) -> Path:
        """Whom the operator revoked; the next release says so under the consortium's signature."""
        return self.path / "revoked.json"

    @property
    def consortium_key(self) -> Path:
        """The consortium's private key, unless it is kept elsewhere, as it should be."""
        return self.path / "consortium" / "consortium.key"

    @property
    def ca(self) -> Path:
        """The CA that the server's certificate is of; sites pin it."""
        return self.path / "ca" / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Its private key; not there with an existing CA."""
        return self.path / "ca" / "ca.key"

    @property
    def server_certificate(self) -> Path:
        """What the public port shows; with an existing CA followed by its intermediates."""
        return self.path / "tls" / "server.pem"

    @property
    def server_key(self) -> Path:
        """Private key of the server's certificate."""
        return self.path / "tls" / "server.key"

    @property
    def server_request(self) -> Path:
        """Certificate signing request for an existing CA."""
        return self.path / "tls" / "server.csr"

    @property
    def loopback_ca(self) -> Path:
        """What processes of this machine verify the SuperLink by; its key was thrown away."""
        return self.path / "tls" / "loopback-ca.pem"

    @property
    def loopback_certificate(self) -> Path:
        """Of the SuperLink behind the edge: for localhost, 127.0.0.1 and ::1 alone."""
        return self.path / "tls" / "loopback.pem"

    @property
    def loopback_key(self) -> Path:
        """Its private key."""
        return self.path / "tls" / "loopback.key"

    @property
    def sites(self) -> Path:
        """One accepted request per site."""
        return self.path / "sites"

    def request(self, site: str) -> Path:
        """The request that a site was enrolled with."""
        return self.sites / f"{site}.request"

    def countersignature(self, site: str) -> Path:
        """A site's signature on roster and rules."""
        return self.path / "countersignatures" / f"{site}.json"

    def package(self, site: str) -> Path:
        """What a site installs."""
        return self.path / "packages" / f"{site}.hedgerow"

    def bundle(self, version: str) -> Path:
        """The app bundle of one version of hedgerow."""
        return self.path / "app" / f"hedgerow-{version}.fab"

    @property
    def superlink(self) -> Path:
        """Flower's database, secrets and home; holds updates in transit: masked, and 0700."""
        return self.path / "superlink"

    @property
    def database(self) -> Path:
        """Of the SuperLink."""
        return self.superlink / "state.db"

    @property
    def superexec_secret(self) -> Path:
        """Shared by the SuperLink and its SuperExec."""
        return self.superlink / "superexec.secret"

    @property
    def flwr_home(self) -> Path:
        """FLWR_HOME of the coordinator's Flower processes."""
        return self.superlink / "flwr"

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.path / "runs"

    @property
    def audit(self) -> Path:
        """Hash-chained log of what was done here."""
        return self.path / "audit.jsonl"

    @property
    def log(self) -> Path:
        """Folder of structured logs."""
        return self.path / "log"

    @property
    def lock(self) -> Path:
        """Held while a command changes this folder."""
        return self.path / ".lock"

    def config(self) -> CoordinatorConfig:
        """The settings.

        Raises:
            UsageError: this is no federation's folder, or the file cannot be read.
            ConfigError: a setting is wrong.
        """
        if not self.config_file.is_file():
            raise UsageError(
                f"{self.path} is no federation's folder: it holds no coordinator.toml; "
                "hedgerow coordinator init makes one"
            )
        return CoordinatorConfig.read(self.config_file)

    @classmethod
    def opened(cls, path: Path) -> Self:
        """The federation's folder at a path, whose settings can be read.

        Raises:
            UsageError, ConfigError: as `config`.
        """
        home = cls(path)
        home.config()
        return home

    def note(self, event: str, **details: str | float) -> None:
        """Add to the audit log."""
        AuditLog(self.audit).append(event, **details)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """While one command changes the folder, no other does.

        Raises:
            UsageError: another one is at it, or this is no federation's folder.
        """
        self.config()
        try:
            lock = hold(self.lock, PATIENCE_SECONDS)
        except BlockingIOError as error:
            raise UsageError(f"another command is changing {self.path}; try again") from error
        try:
            yield
        finally:
            os.close(lock)

    def revocations(self) -> RevocationList:
        """All keys that were revoked or exchanged, whether or not that is signed yet.

        Raises:
            UsageError: the list cannot be read.
            IntegrityError: it is none.
        """
        listed = RevocationList()
        if self.revoked.exists():
            data = read_bounded(self.revoked, revocation.LARGEST_BYTES, "the revoked keys")
            try:
                listed = RevocationList.from_bytes(data)
            except IntegrityError as error:
                raise IntegrityError(f"{self.revoked}: {error}") from error
        members = read_membership(self.given)
        if members is None:
            return listed
        # What was signed comes first, and cannot be dropped by editing the list.
        return members.release.revoked.with_added(listed.revoked)

    def write_revocations(self, revoked: RevocationList) -> None:
        """Replace the list."""
        write_atomically(self.revoked, revoked.to_bytes())

    def node_keys(self) -> dict[str, str]:
        """Per site whose node may connect its OpenSSH public line: signed, and not revoked since.

        Raises:
            UsageError, IntegrityError: as `revocations`.
        """
        members = read_membership(self.given)
        revoked = set(self.revoked_node_keys())
        known = members.release.node_keys if members else {}
        return {site: line for site, line in known.items() if line not in revoked}

    def revoked_node_keys(self) -> tuple[str, ...]:
        """The public lines of nodes that must never connect again.

        Raises:
            UsageError, IntegrityError: as `revocations`.
        """
        return tuple(sorted(self.revocations().keys("node")))

    def create(self, config: CoordinatorConfig) -> None:
        """Make the folders, for their owner alone, and the settings.

        Raises:
            UsageError: there is something at the path already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} exists and is not empty; a federation gets a new folder")
        folders = (
            "ca", "tls", "consortium", "sites", "countersignatures", "packages", "app",
            "superlink", "superlink/flwr", "runs", "log",
        )  # fmt: skip
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        for folder in folders:
            (self.path / folder).mkdir(mode=0o700)
        config.write(self.config_file)
