"""How many days certificates are still good: those of TLS, and those of a consortium's sites."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from federation.errors import IntegrityError
from federation.roster import Roster

DAY = 86_400.0


def days_of_pem(path: Path, now: float) -> float | None:
    """Days until the first certificate in a PEM file ends; None if there is no such file.

    Args:
        path: of the file.
        now: seconds since the epoch.

    Raises:
        IntegrityError: it holds no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path} holds no certificate") from error
    left = certificate.not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    return left.total_seconds() / DAY


def days_of_sites(roster: Roster, now: float) -> dict[str, float]:
    """Per site, days until the consortium's certificate ends."""
    return {one.site: (one.not_after - now) / DAY for one in roster.certificates}
