"""What a site keeps of a secure sum between two messages: its seed and what it has answered to.

A session is begun once per round and each entry is written once, before its answer leaves: so no
answer is ever given twice, whoever asks, in whatever process. What a site knows in the middle of a
session follows from the entries (`journaled_site`); nothing else is kept, and nothing is kept in
Flower's `Context.state`, because that travels to the SuperNode and is not durable there.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from federation.durable_file import sync_folder
from federation.errors import ProtocolViolation, StorageError

_ROUND_DIGITS = 10


class SessionJournal(Protocol):
    """Entries of one round of one line of rounds; a line is one site's part in one run."""

    def begin(self, line: str, round_: int, entries: Mapping[str, bytes]) -> None:
        """Begin a round with its first entries; earlier rounds of the line are ended.

        Raises:
            ProtocolViolation: it or a later one was begun before.
        """
        ...

    def record(self, line: str, round_: int, entry: str, data: bytes) -> None:
        """Keep one entry for good.

        Raises:
            ProtocolViolation: it was recorded before, or the round is not open.
        """
        ...

    def read(self, line: str, round_: int, entry: str) -> bytes:
        """What was recorded.

        Raises:
            ProtocolViolation: nothing was, or the round is not open.
        """
        ...

    def end(self, line: str, round_: int) -> None:
        """Forget the entries of a round, not that it was begun."""
        ...


class MemoryJournal:
    """Kept by this process alone: for engines whose process answers all of a node's messages.

    That is the embedded grid of `hedgerow simulate` and an in-process test. Flower itself starts a
    new process for every message on a SuperNode, and on Ray gives a message to any free actor: take
    a `FolderJournal` there.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, dict[str, bytes]]] = {}

    def begin(self, line: str, round_: int, entries: Mapping[str, bytes]) -> None:
        """See `SessionJournal`."""
        if line in self._open and round_ <= self._open[line][0]:
            raise _begun(round_)
        self._open[line] = round_, dict(entries)

    def record(self, line: str, round_: int, entry: str, data: bytes) -> None:
        """See `SessionJournal`."""
        entries = self._entries(line, round_)
        if entry in entries:
            raise _answered(entry)
        entries[entry] = data

    def read(self, line: str, round_: int, entry: str) -> bytes:
        """See `SessionJournal`."""
        entries = self._entries(line, round_)
        if entry not in entries:
            raise _out_of_order(entry)
        return entries[entry]

    def end(self, line: str, round_: int) -> None:
        """See `SessionJournal`."""
        if line in self._open and self._open[line][0] == round_:
            self._open[line] = round_, {}

    def _entries(self, line: str, round_: int) -> dict[str, bytes]:
        begun, entries = self._open.get(line, (0, {}))
        if begun != round_ or not entries:
            raise _not_open(round_)
        return entries


class FolderJournal:
    """Kept in a folder of the site's own, readable by its user only: survives the process.

    One file per entry, made with `O_CREAT | O_EXCL` and flushed before the answer leaves; a round's
    folder stays as the mark that it was begun. The seed lies there from the first answer of a round
    to its last, then it is deleted; what the disk itself keeps of deleted files it cannot undo.

    Args:
        folder: made if it is missing; on several machines, one that all of them see.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, line: str, round_: int, entries: Mapping[str, bytes]) -> None:
        """See `SessionJournal`."""
        rounds = self._line(line)
        try:
            rounds.mkdir(mode=0o700, parents=True, exist_ok=True)
            begun = sorted(int(path.name) for path in rounds.iterdir())
            if begun and round_ <= begun[-1]:
                raise _begun(round_)
            self._round(line, round_).mkdir(mode=0o700)
            sync_folder(rounds)
        except FileExistsError as error:
            raise _begun(round_) from error
        except OSError as error:
            raise _refused(rounds, error) from error
        for earlier in begun:
            self.end(line, earlier)
        for entry, data in entries.items():
            self.record(line, round_, entry, data)

    def record(self, line: str, round_: int, entry: str, data: bytes) -> None:
        """See `SessionJournal`."""
        path = self._round(line, round_) / entry
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        except FileExistsError as error:
            raise _answered(entry) from error
        except FileNotFoundError as error:
            raise _not_open(round_) from error
        except OSError as error:
            raise _refused(path, error) from error

    def read(self, line: str, round_: int, entry: str) -> bytes:
        """See `SessionJournal`."""
        path = self._round(line, round_) / entry
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise _out_of_order(entry) from error
        except OSError as error:
            raise _refused(path, error) from error

    def end(self, line: str, round_: int) -> None:
        """See `SessionJournal`."""
        folder = self._round(line, round_)
        try:
            for path in folder.iterdir() if folder.is_dir() else ():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(folder, error) from error

    def _line(self, line: str) -> Path:
        # Hashed: a line holds names that others chose, and no name may lead out of the folder.
        return self._folder / hashlib.sha256(line.encode()).hexdigest()

    def _round(self, line: str, round_: int) -> Path:
        return self._line(line) / f"{round_:0{_ROUND_DIGITS}}"


def _begun(round_: int) -> ProtocolViolation:
    return ProtocolViolation(f"round {round_}: it or a later one was begun before")


def _answered(entry: str) -> ProtocolViolation:
    return ProtocolViolation(f"{entry}: answered before")


def _out_of_order(entry: str) -> ProtocolViolation:
    return ProtocolViolation(f"{entry}: not answered yet, or the session is over")


def _not_open(round_: int) -> ProtocolViolation:
    return ProtocolViolation(f"round {round_}: no session is open")


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(f"the session journal {path} cannot be used: {error.strerror}")
