"""Structured logs: one JSON object a line, of declared fields only.

{"time": ..., "level": ..., "event": ..., "fields": {...}}

A log is read by more people than the rows are, and is shipped to other machines: so no text that
was composed at run time goes out, nor the text of an exception, which can hold row values.
"""

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from federation.errors import StorageError

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None

FIELDS = frozenset({
    "address", "attempt", "bundle", "bytes", "bytes_in", "bytes_out", "certificate", "code",
    "coordinator", "count", "days", "disk_free", "epsilon_budget", "epsilon_spent", "error",
    "exit_code", "federation", "fingerprint", "flwr", "hedgerow", "host", "kind", "level",
    "limit", "logger", "memory", "method", "node", "path", "phase", "pid", "port", "process",
    "reason", "remedy", "replied", "restarts", "round", "rounds", "run", "seconds", "seq",
    "signal", "site", "sites", "stage", "state", "status", "task", "threads", "undeclared",
    "version", "waited",
})  # fmt: skip
"""Names that any log of ours may hold. `reason` and `remedy` are texts of our own refusals."""

LARGEST_FILE = 10_000_000
"""Bytes; then the file is kept as NAME.1 and a new one begun."""
KEPT_FILES = 5
LONGEST_TEXT = 500
"""Characters of a value; what is longer is cut."""
_RECORD = "hedgerow_fields"


class DeclaredFields(logging.Filter):
    """Leaves in a record the fields that were declared, and the names of those that were not."""

    def __init__(self, declared: frozenset[str]) -> None:
        super().__init__()
        self._declared = declared

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record then holds declared fields only."""
        given = getattr(record, _RECORD, None)
        if given is None:  # another library's: what it says is not ours to judge
            record.msg, given = "library", {"logger": record.name}
        record.args = ()
        fields = {name: _sayable(value) for name, value in given.items() if name in self._declared}
        undeclared = sorted(given.keys() - self._declared)
        if undeclared:
            fields["undeclared"] = ", ".join(undeclared)[:LONGEST_TEXT]
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__name__
        record.exc_info = record.exc_text = record.stack_info = None
        setattr(record, _RECORD, fields)
        return True


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": str(record.msg),
            "fields": getattr(record, _RECORD, {}),
        }
        return json.dumps(line, ensure_ascii=True, allow_nan=False)


class _OwnersFile(RotatingFileHandler):
    """A rotating file that only its owner reads; a full disk stops no process."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", write_through=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say on standard error which event was lost, and not what it held."""
        wrong = sys.exc_info()[0]
        kind = wrong.__name__ if wrong else "unknown"
        print(f"cannot log {record.msg}: {kind}", file=sys.stderr)  # noqa: T201 - the last resort


class JsonLog:
    """A log to say events to: `log.info("round_recorded", run=run, round=3, seconds=1.2)`."""

    def __init__(self, name: str, handler: logging.Handler, level: Level) -> None:
        # Not in the tree of loggers: nobody else's configuration reaches it, and it reaches none.
        self._logger = logging.Logger(name, level.upper())  # noqa: LOG001 - as said
        self._logger.addHandler(handler)
        self.handler = handler
        """For other libraries' loggers: of their records only level and logger are written."""

    def debug(self, event: str, /, **fields: Value) -> None:
        """Say what only someone searching for a fault wants to know."""
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Value) -> None:
        """Say what went as it should."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Value) -> None:
        """Say what went wrong and was mended, or will go wrong."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Value) -> None:
        """Say what went wrong; of the exception that is being handled, its type is added."""
        failing = sys.exc_info()[0] is not None
        self._say(logging.ERROR, event, fields, with_error=failing)

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost."""
        with contextlib.suppress(OSError):
            self.handler.close()

    def _say(
        self, level: int, event: str, fields: Mapping[str, Value], *, with_error: bool = False
    ) -> None:
        self._logger.log(level, event, extra={_RECORD: dict(fields)}, exc_info=with_error)


def open_log(
    path: Path,
    level: Level = "info",
    fields: frozenset[str] = FIELDS,
    largest_file: int = LARGEST_FILE,
) -> JsonLog:
    """A log in a file that its owner alone reads.

    Args:
        path: its folder is made if missing, 0700.
        level: what is less is not written.
        fields: names that may be written; of others the name alone is.
        largest_file: bytes after which a new file is begun; `KEPT_FILES` older ones are kept.

    Raises:
        StorageError: the file cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _OwnersFile(path, maxBytes=largest_file, backupCount=KEPT_FILES, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write the log {path}: {error.strerror}") from error
    handler.addFilter(DeclaredFields(fields))
    handler.setFormatter(JsonLines())
    return JsonLog(path.stem, handler, level)


def _sayable(value: object) -> Value:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    return type(value).__name__  # an array's or an exception's text can hold rows
