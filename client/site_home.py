"""The folder a site keeps for its agent: policy, identity key, pinned roster, journal.

site.toml  identity.pem  roster.json  journal.sqlite
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from client.agent import SiteAgent, SiteAssets, TaskLoader
from client.journal import Journal
from federation.durable_file import write_atomically
from federation.entropy import Entropy
from federation.errors import IntegrityError, UsageError
from federation.roster import Roster
from federation.site_policy import SitePolicy
from privacy.ledger import Budget, Ledger


@dataclass(frozen=True, slots=True)
class SiteHome:
    """Paths of one site's folder."""

    path: Path

    @property
    def policy(self) -> Path:
        """The site's own rules."""
        return self.path / "site.toml"

    @property
    def identity(self) -> Path:
        """The private key that speaks for the site; never leaves this folder."""
        return self.path / "identity.pem"

    @property
    def roster(self) -> Path:
        """The pinned public keys of all sites."""
        return self.path / "roster.json"

    @property
    def journal(self) -> Path:
        """What was irrevocably said."""
        return self.path / "journal.sqlite"

    @property
    def faults(self) -> Path:
        """What went wrong here, in full; for the site's own eyes."""
        return self.path / "faults.log"

    def note_fault(self, text: str) -> None:
        """Add to `faults`."""
        descriptor = os.open(self.faults, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{utc_now()}\n{text}\n")

    def create_identity(self) -> bytes:
        """Make the folder and a fresh identity key; returns the public key, 32 bytes."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(self.identity, pem, mode=0o600)
        return key.public_key().public_bytes_raw()

    def read_identity(self) -> Ed25519PrivateKey:
        """The private key.

        Raises:
            UsageError: there is none.
            IntegrityError: the file holds something else.
        """
        try:
            key = load_pem_private_key(self.identity.read_bytes(), password=None)
        except OSError as error:
            raise UsageError(f"cannot read the key {self.identity}: {error.strerror}") from error
        except ValueError as error:
            raise IntegrityError(f"{self.identity} holds no private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise IntegrityError(f"{self.identity} holds no Ed25519 key")
        return key


def create_ledger(home: SiteHome, path: Path) -> None:
    """Open an account: a new ledger with the budget that the site's policy sets."""
    policy = SitePolicy.read(home.policy)
    key = home.read_identity()
    epsilon = float("inf") if policy.epsilon_budget is None else policy.epsilon_budget
    budget = Budget(epsilon, policy.delta)
    Ledger.create(path, key, (policy.site, policy.dataset), budget, utc_now).close()


def open_agent(
    home: SiteHome,
    ledger: Path,
    load_task: TaskLoader,
    training_entropy: Entropy,
    clock: Callable[[], float] = time.time,
) -> SiteAgent:
    """The agent of a site.

    Args:
        home: with all four files but the journal, which is made if missing.
        ledger: of the policy's dataset; its whole chain is verified.
        load_task: finds and constructs the task of an agreement.
        training_entropy: of batches and DP noise.
        clock: seconds since the epoch.

    Raises:
        HedgerowError: a file is missing, wrong or damaged; the text names it.
    """
    key = home.read_identity()
    return SiteAgent(
        SiteAssets(
            policy=SitePolicy.read(home.policy),
            identity=key,
            roster=Roster.read(home.roster),
            ledger=Ledger.open(ledger, key, utc_now),
            journal=Journal(home.journal),
            load_task=load_task,
            training_entropy=training_entropy,
            clock=clock,
            note_fault=home.note_fault,
        )
    )


def utc_now() -> str:
    """The time as ledgers write it: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
