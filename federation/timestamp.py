"""The time as ledgers, records and logs write it."""

from datetime import UTC, datetime


def utc_now() -> str:
    """UTC, ISO 8601, to the second: later ones sort later."""
    return datetime.now(UTC).isoformat(timespec="seconds")
