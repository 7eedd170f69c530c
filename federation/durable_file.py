"""Files that are whole or not there: written aside, flushed to the disk, then renamed."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` with `data`; after a crash the old file or the new one stands there, whole.

    Args:
        path: its folder must exist.
        data: the whole content.
        mode: permission bits; secrets use 0o600.

    Raises:
        OSError: the disk refuses; `path` is then untouched.
    """
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_durably(path: Path, line: bytes) -> None:
    """Append one line, without its newline, and flush it to the disk.

    Raises:
        OSError: the disk refuses.
        ValueError: `line` holds a newline.
    """
    if b"\n" in line:
        raise ValueError("one line at a time")
    with path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
