"""One process at a time: a lock on a file, which ends at the latest with the process that holds it.

It is advisory (flock): it keeps apart those who ask for it.
"""

import fcntl
import os
import time
from pathlib import Path

from federation.errors import UsageError

LOOK_AGAIN_SECONDS = 0.05


def hold(path: Path, patience: float = 0.0) -> int:
    """Take the lock; returns an open file descriptor, and closing it lets go.

    Args:
        path: of the lock's file, made if missing.
        patience: seconds to wait for another process to let go.

    Raises:
        BlockingIOError: another process still holds it.
        UsageError: the file cannot be opened.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"cannot open {path}: {error.strerror}") from error
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(lock)
                raise
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            return lock


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; a look that `hold` with some patience does not notice.

    Raises:
        UsageError: the file is there and cannot be opened.
    """
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
