"""`status.json`: what `hedgerow coordinator up` sees, written anew every few seconds."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from federation.config import Section
from federation.errors import IntegrityError

LARGEST = 4 * 1024 * 1024
FRESH_SECONDS = 30.0
"""Older than this it tells of the past: the coordinator is not running."""


class SiteSeen(Section):
    """A site as the SuperLink sees it.

    Attributes:
        last_seen: UTC, ISO 8601; None if never.
    """

    site: str
    online: bool
    last_seen: str | None = None


class CertificateAge(Section):
    """How long a certificate is still good; negative once it is not."""

    what: str
    days_left: float


class OperationStatus(Section):
    """The whole file.

    Attributes:
        time: UTC, ISO 8601, of writing.
        runs: ids of runs that are under way.
    """

    version: Literal[1]
    time: str
    superlink: Literal["up", "down"]
    sites: Annotated[tuple[SiteSeen, ...], Field(max_length=10_000)] = ()
    certificates: Annotated[tuple[CertificateAge, ...], Field(max_length=10_000)] = ()
    runs: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


def read_status(path: Path) -> OperationStatus | None:
    """The status that stands there, if there is one.

    Raises:
        IntegrityError: it is not what `coordinator up` writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise IntegrityError(f"{path} is larger than {LARGEST:,} bytes")
    try:
        return OperationStatus.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{path} is not what hedgerow coordinator up writes") from error
