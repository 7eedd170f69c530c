"""`failure.json`: why the ServerApp ended, for the command that waits for it in another process.

Flower keeps a text, meant for people; the command owes its caller the exit code of the error, and
has to tell an error, which comes again, from a process that was killed, which is started again.
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from federation.durable_file import write_atomically
from federation.errors import HedgerowError, IntegrityError, StorageError

LONGEST_TEXT = 4_000
DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


class RunEnded(HedgerowError):
    """The run's own error, told once more with the exit code of the original."""

    def __init__(self, text: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(text)


@contextmanager
def failure_told(path: Path) -> Iterator[None]:
    """Write what goes wrong inside to `path`, and let it go on."""
    path.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        # On a full disk this fails, too; the error itself still reaches Flower's log.
        with suppress(OSError):
            write_atomically(path, _told(error))
        raise


def read_failure(path: Path) -> RunEnded | None:
    """What ended the run; None if its process did not come to say.

    Raises:
        IntegrityError: the file is not what was written.
    """
    try:
        told = json.loads(path.read_bytes())
        return RunEnded(str(told["text"]), int(told["exit_code"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is not what was written") from error


def _told(error: Exception) -> bytes:
    if isinstance(error, HedgerowError):
        code, text = error.exit_code, str(error)
    elif isinstance(error, OSError) and error.errno in DISK_REFUSES:
        code, text = StorageError.exit_code, f"the disk refuses: {error.strerror}"
    else:
        code, text = HedgerowError.exit_code, f"this is a bug: {type(error).__name__}: {error}"
    return json.dumps({"text": text[:LONGEST_TEXT], "exit_code": code}).encode()
