"""The folder a site keeps for its agent: policy, key, what the consortium gave it, journal.

site.toml  identity.pem  consortium.pub  roster.json  run-rules.json  journal.sqlite
windows/<name>.json  cohort.json  local-layers/<run>.safetensors
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from federation.cohort_record import OwnCohort
from federation.consortium_files import ConsortiumFiles
from federation.drift_summary import WindowDrift
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.evaluation_record import file_name
from federation.timestamp import utc_now


@dataclass(frozen=True, slots=True)
class SiteHome:
    """Paths of one site's folder."""

    path: Path

    def require(self) -> None:
        """Return if this is the folder of a site.

        Raises:
            UsageError: it is not.
        """
        if not self.policy.is_file():
            raise UsageError(
                f"{self.path} is no site's home: it holds no site.toml; hedgerow site init makes "
                "one"
            )

    @property
    def policy(self) -> Path:
        """The site's own rules."""
        return self.path / "site.toml"

    @property
    def identity(self) -> Path:
        """The private key that speaks for the site; never leaves this folder."""
        return self.path / "identity.pem"

    @property
    def given(self) -> ConsortiumFiles:
        """What the consortium gave the site: the key that is pinned, certificates, run rules."""
        return ConsortiumFiles(self.path)

    @property
    def journal(self) -> Path:
        """What was irrevocably said."""
        return self.path / "journal.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the site's one agent while it runs."""
        return self.path / ".lock"

    @property
    def faults(self) -> Path:
        """What went wrong here, in full; for the site's own eyes."""
        return self.path / "faults.log"

    def note_fault(self, text: str) -> None:
        """Add to `faults`."""
        descriptor = os.open(self.faults, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{utc_now()}\n{text}\n")

    def keep_window_report(self, report: WindowDrift) -> None:
        """Keep what changed in the site's own rows, for the site's own eyes."""
        folder = self.path / "windows"
        folder.mkdir(exist_ok=True, mode=0o700)
        text = report.model_dump_json(indent=1).encode() + b"\n"
        write_atomically(folder / f"{file_name(report.window)}.json", text, mode=0o600)

    def layers(self, run: str) -> Path:
        """A run's layers that stay at the site, as they were judged; for the site's own use."""
        return self.path / "local-layers" / f"{file_name(run)}.safetensors"

    def keep_layers(self, run: str, layers: bytes) -> None:
        """Keep a run's layers that stay at the site."""
        path = self.layers(run)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        write_atomically(path, layers, mode=0o600)

    @property
    def cohort(self) -> Path:
        """In which discovered cohort the site is; for the site's own eyes."""
        return self.path / "cohort.json"

    @property
    def ledger(self) -> Path:
        """The ledger of the site's dataset, where the site is deployed."""
        return self.path / "ledger.sqlite"

    @property
    def node_key(self) -> Path:
        """The private key that the site's node proves itself to the SuperLink with."""
        return self.path / "node-key"

    @property
    def connection(self) -> Path:
        """Where the coordinator is, as the consortium signed it."""
        return self.path / "connection.toml"

    @property
    def authority(self) -> Path:
        """The CA that the coordinator's certificate must be of."""
        return self.path / "ca.pem"

    @property
    def approvals(self) -> Path:
        """Which app bundles and which tasks' code the site approved."""
        return self.path / "approvals.json"

    @property
    def bundles(self) -> Path:
        """App bundles that were seen, for people to look at; none is ever executed from here."""
        return self.path / "bundles"

    @property
    def tasks(self) -> Path:
        """Code of the site's own tasks that is not installed as a package."""
        return self.path / "tasks"

    @property
    def socket(self) -> Path:
        """Where the agent listens to the node."""
        return self.path / "agent.sock"

    @property
    def node_state(self) -> Path:
        """Whether the node is online, and if not, why."""
        return self.path / "node.json"

    @property
    def audit(self) -> Path:
        """What was done at the site, chained by hash."""
        return self.path / "audit.jsonl"

    def log(self, process: str) -> Path:
        """The structured log of one of the site's processes."""
        return self.path / "log" / f"{process}.jsonl"

    def keep_cohort(self, own: OwnCohort) -> None:
        """Keep the latest; it never leaves this folder."""
        text = own.model_dump_json(indent=1).encode() + b"\n"
        write_atomically(self.cohort, text, mode=0o600)

    @property
    def node_key_public(self) -> Path:
        """The public half of the node key, one line of OpenSSH."""
        return self.path / "node-key.pub"

    @property
    def next_node_key(self) -> Path:
        """The private node key that is to be in force with the next release."""
        return self.path / "node-key.next"

    @property
    def next_identity(self) -> Path:
        """The identity key that is to be in force with the next release."""
        return self.path / "identity.next.pem"

    def request(self, site: str) -> Path:
        """How the site asked to be enrolled with the keys in force."""
        return self.path / f"{site}.request"

    def exchange(self, site: str) -> Path:
        """How it asks to have its keys exchanged, until the consortium has done so."""
        return self.path / f"{site}.rotate.request"

    def countersignature(self, site: str) -> Path:
        """The site's signature on the roster that it installed."""
        return self.path / f"{site}.countersign"

    def create_identity(self) -> bytes:
        """Make the folder and a fresh identity key; returns the public key, 32 bytes."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        write_atomically(self.identity, identity_pem(key), mode=0o600)
        return key.public_key().public_bytes_raw()

    def read_identity(self) -> Ed25519PrivateKey:
        """The private key.

        Raises:
            UsageError: there is none.
            IntegrityError: the file holds something else.
        """
        return _read_identity(self.identity)

    def read_next_identity(self) -> Ed25519PrivateKey | None:
        """The private key that is to be in force next, if one is.

        Raises:
            UsageError, IntegrityError: as `read_identity`.
        """
        return _read_identity(self.next_identity) if self.next_identity.exists() else None


def identity_pem(key: Ed25519PrivateKey) -> bytes:
    """An identity key as its file holds it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_identity(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(
            f"cannot read the key {path}: {error.strerror}; it is put back from its offline copy, "
            "never made anew: the ledger is signed by it"
        ) from error
    except ValueError as error:
        raise IntegrityError(f"{path} holds no private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IntegrityError(f"{path} holds no Ed25519 key")
    return key
