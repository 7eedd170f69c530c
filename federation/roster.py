"""The roster: which public identity key speaks for which site; each site pins its own copy."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation import canonical
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Roster:
    """The sites of one federation and their Ed25519 public keys (RFC 8032), 32 bytes each."""

    federation: str
    keys: Mapping[str, bytes]

    def digest(self) -> str:
        """What two sites compare by phone: SHA-256 over the federation's name and every key."""
        return canonical.digest(self._plain())

    def public_keys(self) -> dict[str, Ed25519PublicKey]:
        """The keys, ready to verify with."""
        return {site: Ed25519PublicKey.from_public_bytes(key) for site, key in self.keys.items()}

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(path, canonical.encode(self._plain()) + b"\n")

    @classmethod
    def read(cls, path: Path) -> "Roster":
        """Read what `write` wrote.

        Raises:
            UsageError: there is no such file.
            IntegrityError: it is no roster.
        """
        try:
            plain = json.loads(path.read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read the roster {path}: {error.strerror}") from error
        except ValueError as error:
            raise IntegrityError(f"{path} is no roster: not JSON") from error
        if not _is_roster(plain):
            raise IntegrityError(f"{path} is no roster: expected federation and sites with keys")
        keys = {site: bytes.fromhex(key) for site, key in plain["sites"].items()}
        return cls(plain["federation"], keys)

    def _plain(self) -> dict[str, object]:
        return {
            "federation": self.federation,
            "sites": {site: key.hex() for site, key in self.keys.items()},
        }


def _is_roster(plain: object) -> bool:
    return (
        isinstance(plain, dict)
        and set(plain) == {"federation", "sites"}
        and isinstance(plain["federation"], str)
        and isinstance(plain["sites"], dict)
        and all(isinstance(k, str) and _KEY.fullmatch(k) for k in plain["sites"].values())
    )
