"""The time as ledgers, records and logs write it."""

from datetime import UTC, datetime


def utc_now() -> str:
    """UTC, ISO 8601, to the second: later ones sort later."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def utc_text(moment: float) -> str:
    """Seconds since the epoch as `utc_now` writes the time.

    >>> utc_text(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
