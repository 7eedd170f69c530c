"""`status.json`, as an onlooker reads it: what `hedgerow coordinator up` sees by now."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federation.errors import IntegrityError

LARGEST = 4 * 1024 * 1024
FRESH_SECONDS = 30.0
"""Older than this it tells of the past: the coordinator is not running."""


class _Part(BaseModel):
    """What is written besides is for others."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class SiteSeen(_Part):
    """A site as the SuperLink sees it.

    Attributes:
        state: `online`, or why it is not.
        last_seen: seconds since the epoch; None if never.
        certificate_days: until its certificate in the roster ends.
        countersigned: whether it signed the roster and rules in force.
    """

    name: str
    state: str
    last_seen: float | None = None
    certificate_days: float
    countersigned: bool = True


class CertificateAge(_Part):
    """Days until a certificate ends; negative once it has."""

    name: str
    days: float


class ProcessSeen(_Part):
    """One of the coordinator's processes; `reason` says why it is not ready."""

    name: str
    phase: str
    restarts: int = 0
    reason: str = ""


class OperationStatus(_Part):
    """The file.

    Attributes:
        time: UTC, ISO 8601, of writing.
        superlink: whether it answers.
        warnings: what somebody should look at, in words.
    """

    version: Literal[1]
    time: str
    superlink: bool
    processes: Annotated[tuple[ProcessSeen, ...], Field(max_length=100)] = ()
    sites: Annotated[tuple[SiteSeen, ...], Field(max_length=10_000)] = ()
    certificates: Annotated[tuple[CertificateAge, ...], Field(max_length=1_000)] = ()
    warnings: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


def read_status(path: Path) -> OperationStatus | None:
    """The status that stands there, if there is one.

    Raises:
        IntegrityError: it is not what `coordinator up` writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise IntegrityError(f"{path} is larger than {LARGEST:,} bytes")
    try:
        return OperationStatus.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{path} is not what hedgerow coordinator up writes") from error
