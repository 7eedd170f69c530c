"""What a file holds, read again only after it changed: for whoever looks every two seconds."""

from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from federation.errors import IntegrityError

LARGEST = 256 * 1024 * 1024

Read = TypeVar("Read")
_Stamp = tuple[int, int, int]


def kept(path: Path, read: Callable[..., Read], *given: Hashable) -> Read | None:
    """What `read` makes of a file; None if there is none.

    Args:
        path: of the file.
        read: of the file's path and what is given; the same function at every look.
        given: what else its result depends on.

    Raises:
        IntegrityError: it cannot be read, or is too large for what it should be.
    """
    stamp = _stamp(path)
    return None if stamp is None else cast("Read", _kept(path, read, given, stamp))


def _stamp(path: Path) -> _Stamp | None:
    """What changes with the file: time, size, inode."""
    try:
        known = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    if known.st_size > LARGEST:
        raise IntegrityError(f"{path} is larger than {LARGEST:,} bytes")
    return known.st_mtime_ns, known.st_size, known.st_ino


@lru_cache(maxsize=512)
def _kept(
    path: Path, read: Callable[..., object], given: tuple[Hashable, ...], _stamp: _Stamp
) -> object:
    return read(path, *given)
