"""Reading a file that somebody else wrote: never more of it than such a file can hold."""

from pathlib import Path

from federation.errors import UsageError


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """The whole content of a file.

    Args:
        path: of the file.
        most: bytes that it may hold.
        what: it is, for errors: `the site request`.

    Raises:
        UsageError: it cannot be read, or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    if len(data) > most:
        raise UsageError(f"{path} is longer than {most} bytes; it is not {what}")
    return data
