"""`audit.jsonl`: what was done here, one line an event, each hash-chained to the one before.

An altered, added, moved or lost line shows; a tail that was cut off whole does not, so compare
`verify`'s number and hash with a note kept elsewhere. No secrets and no row values belong in it.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field

from federation import canonical
from federation.durable_file import sync_folder
from federation.errors import IntegrityError, StorageError, UsageError
from federation.file_lock import hold
from federation.section import Section
from federation.timestamp import utc_now

LONGEST_LINE = 65_536
"""Bytes, with the newline."""
PATIENCE_SECONDS = 30.0
"""For another process to finish its line."""
BEGINNING = "0" * 64
"""What the first entry names as the one before."""

Detail = str | int | float | bool | list[str] | None
"""What an event may be told with."""


class AuditEntry(Section):
    """One line."""

    seq: Annotated[int, Field(ge=1)]
    """Counts up from 1."""
    time: str
    """UTC, ISO 8601."""
    event: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """What was done, in one word."""
    details: dict[str, Detail]
    """To what, by whom, how much."""
    previous: canonical.Digest
    """`hash` of the entry before."""
    hash: canonical.Digest
    """SHA-256 of the canonical encoding of all the other fields."""

    def expected_hash(self) -> str:
        """What `hash` has to be."""
        return canonical.digest(self.model_dump(mode="json", exclude={"hash"}))


class AuditLog:
    """One file; several processes may append to it."""

    def __init__(self, path: Path, clock: Callable[[], str] = utc_now) -> None:
        self.path = path
        self._clock = clock

    def append(self, event: str, /, **details: Detail) -> AuditEntry:
        """Write one event, and flush it to the disk before returning it.

        A last line that a crash cut off is dropped first; one that is whole but for its newline
        is kept.

        Raises:
            ValueError: no such name for an event, a detail that JSON cannot say, or too long.
            IntegrityError: the last line is not what was written.
            StorageError: the disk refuses; the log is then as it was.
        """
        lock = _hold(self.path)
        with os.fdopen(lock, "r+b", buffering=0) as file:
            last = _mend_and_read_last(file, self.path)
            entry = _entry(last, self._clock(), event, details)
            end = file.seek(0, os.SEEK_END)
            try:
                _write_whole(file, canonical.encode(entry.model_dump(mode="json")) + b"\n")
                os.fsync(file.fileno())
                if last is None:
                    sync_folder(self.path.parent)  # the file may be new
            except OSError as error:
                file.truncate(end)
                raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        return entry

    def entries(self) -> tuple[AuditEntry, ...]:
        """All entries in order, each verified with its place in the chain.

        Without the lock: a line that is just being written is not among them.

        Raises:
            IntegrityError: a line is not what was written; the text names the first one.
            UsageError: the file cannot be read.
        """
        return tuple(self._verified())

    def verify(self) -> tuple[int, str]:
        """Number and hash of the last entry, where all is as it was written.

        Raises:
            IntegrityError: as `entries`; or there is none, where every folder was made with one.
            UsageError: as `entries`.
        """
        head = 0, BEGINNING
        for entry in self._verified():
            head = entry.seq, entry.hash
        if head[0] == 0:
            raise IntegrityError(f"{self.path} holds no entry: what was noted here is lost")
        return head

    def _verified(self) -> Iterator[AuditEntry]:
        seq, previous = 0, BEGINNING
        for number, line in enumerate(self._lines(), start=1):
            try:
                entry = _parse(line)
                _require_follows(entry, seq, previous)
            except ValueError as error:
                raise IntegrityError(f"{self.path}, line {number}: {error}") from error
            seq, previous = entry.seq, entry.hash
            yield entry

    def _lines(self) -> Iterator[bytes]:
        """Each line without its newline; a torn last one is left out."""
        try:
            with self.path.open("rb") as file:
                while line := file.readline(LONGEST_LINE + 1):
                    if line.endswith(b"\n"):
                        yield line[:-1]
                    elif len(line) > LONGEST_LINE or _is_json(line):
                        yield line
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error


def _hold(path: Path) -> int:
    try:
        return hold(path, PATIENCE_SECONDS)
    except BlockingIOError as error:
        raise StorageError(
            f"cannot write {path}: another process has held it for {PATIENCE_SECONDS:g} s"
        ) from error


def _entry(last: AuditEntry | None, now: str, event: str, details: dict[str, Detail]) -> AuditEntry:
    seq, previous = (last.seq, last.hash) if last else (0, BEGINNING)
    content = {
        "seq": seq + 1, "time": now, "event": event, "details": details, "previous": previous,
    }  # fmt: skip
    entry = AuditEntry.model_validate(content | {"hash": canonical.digest(content)})
    if len(canonical.encode(entry.model_dump(mode="json"))) >= LONGEST_LINE:
        raise ValueError(f"{event}: an entry has {LONGEST_LINE} bytes at most")
    return entry


def _parse(line: bytes) -> AuditEntry:
    """The entry on a line.

    Raises:
        ValueError: it is none, or not the one whose hash it bears.
    """
    if len(line) >= LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    entry = canonical.decode(AuditEntry, line)
    if entry.hash != entry.expected_hash():
        raise ValueError("its hash is not that of what it says: it was altered")
    return entry


def _require_follows(entry: AuditEntry, seq: int, previous: str) -> None:
    if entry.seq != seq + 1 or entry.previous != previous:
        raise ValueError(
            f"entry {entry.seq} does not follow entry {seq}: lines were lost, added or moved"
        )


def _mend_and_read_last(file: BinaryIO, path: Path) -> AuditEntry | None:
    """The last whole entry, with nothing but a newline after it; None of an empty file.

    Raises:
        IntegrityError: the last line that ends in a newline is no entry.
    """
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2 * LONGEST_LINE)
    file.seek(start)
    tail = _read_whole(file, end - start)
    whole, _, torn = tail.rpartition(b"\n")
    if torn and _is_json(torn):
        file.seek(end)
        _write_whole(file, b"\n")
        whole = torn
    elif torn:
        file.truncate(end - len(torn))
    if not whole:
        return None
    try:
        return _parse(whole.rpartition(b"\n")[2])
    except ValueError as error:
        raise IntegrityError(f"{path}, last line: {error}") from error


def _read_whole(file: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_whole(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
