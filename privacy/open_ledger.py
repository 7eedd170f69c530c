"""A site's ledger, opened by a command to be written to, with the site's key out of a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from federation.errors import UsageError
from federation.timestamp import utc_now
from privacy.ledger import Ledger


@contextmanager
def open_ledger(path: Path, key: Path) -> Iterator[Ledger]:
    """A site's ledger, checked, and closed at the end.

    Args:
        path: of the ledger.
        key: of the site's identity, PEM, Ed25519, without a password.

    Raises:
        UsageError: there is no ledger, or no such key, at a path.
        IntegrityError: the ledger is damaged, or another key's.
    """
    ledger = Ledger.open(path, _identity(key), utc_now)
    try:
        yield ledger
    finally:
        ledger.close()


def _identity(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"cannot read the key {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 key")
    return key
